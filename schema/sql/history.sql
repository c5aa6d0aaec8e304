-- How far this shard has come with what all shards do together. Runs again without harm.

CREATE TABLE IF NOT EXISTS oskol.applied (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- Of the last change of the schema, and a digest of all of them in their order.
    number int8 NOT NULL DEFAULT 0,
    digest int8 NOT NULL DEFAULT 0,
    -- The shard map's epoch after the last move of buckets from or to this shard.
    moved int8 NOT NULL DEFAULT 0
);
INSERT INTO oskol.applied (one) VALUES (true) ON CONFLICT DO NOTHING;
GRANT SELECT ON oskol.applied TO PUBLIC;

-- Part of the transaction that has changed the schema, on every shard. The home shard keeps the statement itself, and what
-- the others have run for it (a JSON array of texts; '' where one shard cannot do it again by itself). Gives the number.
CREATE OR REPLACE FUNCTION oskol.note_schema_change(token text, statement text, kind text, settings text, steps text)
RETURNS int8
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    reached oskol.applied;
    caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    PERFORM oskol.check_router(token);
    UPDATE oskol.applied a SET number = a.number + 1,
        digest = hashtextextended(note_schema_change.statement, a.digest) RETURNING a.* INTO reached;
    IF (SELECT m.shard <> m.home FROM oskol.meta m) THEN
        RETURN reached.number;
    END IF;
    INSERT INTO oskol.schema_history (number, role, kind, statement, digest, settings, steps)
        VALUES (reached.number, caller, note_schema_change.kind, note_schema_change.statement, reached.digest,
        note_schema_change.settings::jsonb, nullif(note_schema_change.steps, '')::jsonb);
    DELETE FROM oskol.schema_history h WHERE h.number <= reached.number - 10000;
    RETURN reached.number;
END
$$;
REVOKE ALL ON FUNCTION oskol.note_schema_change(text, text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION oskol.note_schema_change(text, text, text, text, text) TO PUBLIC;

-- What a statement of DDL means depends on these.
CREATE OR REPLACE FUNCTION oskol.schema_settings() RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT pg_catalog.json_object_agg(s.name, pg_catalog.current_setting(s.name))::pg_catalog.text
    FROM pg_catalog.pg_settings s WHERE s.name IN ('search_path', 'DateStyle', 'IntervalStyle', 'TimeZone',
        'check_function_bodies', 'standard_conforming_strings', 'default_tablespace', 'default_table_access_method',
        'default_toast_compression', 'xmloption', 'bytea_output', 'extra_float_digits', 'lc_monetary', 'lc_numeric', 'lc_time')
$$;
GRANT EXECUTE ON FUNCTION oskol.schema_settings() TO PUBLIC;

-- An error where this shard lacks what the cluster counts on: it was restored from before that, or has lost it otherwise. A
-- router that has not heard of a change yet is no reason: it knows of less than the shard.
CREATE OR REPLACE FUNCTION oskol.check_applied(number int8, digest int8, moved int8) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    stands oskol.applied;
    kept_out text := format('shard %s is kept out', (SELECT m.shard FROM oskol.meta m));
BEGIN
    SELECT a.* INTO STRICT stands FROM oskol.applied a;
    IF (stands.number > check_applied.number OR (stands.number, stands.digest) = (check_applied.number, check_applied.digest))
        AND stands.moved >= check_applied.moved THEN
        RETURN;
    END IF;
    IF NOT pg_is_in_recovery() THEN
        -- What is decided, and prepared here, is about to be committed.
        PERFORM set_config('lock_timeout', '2s', true);
        BEGIN
            SELECT a.* INTO STRICT stands FROM oskol.applied a FOR SHARE;
        EXCEPTION WHEN lock_not_available THEN
            RAISE EXCEPTION '% until a transaction in doubt has ended', kept_out USING ERRCODE = '57P03',
                DETAIL = 'A change that the home shard has committed is prepared here, and not yet committed.',
                HINT = 'Try again: routers finish it once all its shards can be reached.';
        END;
    END IF;
    IF stands.number < check_applied.number THEN
        RAISE EXCEPTION '%: it lacks changes of the schema', kept_out USING ERRCODE = '57P03',
            DETAIL = format('It has made %s changes, the home shard %s.', stands.number, check_applied.number),
            HINT = 'If it has lost nothing but these, use oskol shard catch-up; else restore all shards to one moment.';
    ELSIF stands.number = check_applied.number AND stands.digest <> check_applied.digest THEN
        RAISE EXCEPTION '%: other changes of the schema were made on it than on the home shard', kept_out
            USING ERRCODE = '57P03', DETAIL = format('Both have made %s.', stands.number),
            HINT = 'Restore all shards to one moment.';
    ELSIF stands.moved < check_applied.moved THEN
        RAISE EXCEPTION '%: it is as it was before buckets were moved from or to it', kept_out USING ERRCODE = '57P03',
            DETAIL = format('It knows of the shard map''s epoch %s, and has taken part in a move at %s.', stands.moved,
                check_applied.moved),
            HINT = 'Restore all shards to one moment.';
    END IF;
END
$$;
