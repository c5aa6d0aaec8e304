-- What keeps notes from being left behind: triggers that note something for routers (`unique.sql`, `references.sql`) do so
-- only in a transaction whose router has said that it will collect it. On every shard, before those. Runs again without harm.
--
-- A router plans a statement with the keys it knows of. One that was planned before a key was made, and waited for the
-- table's lock meanwhile, would be noted and never settled; so would what somebody writes on a shard directly. Numbers of
-- keys grow and are never given twice, so a router tells all that it knows by the highest one.

-- The highest number that a key has had.
CREATE TABLE IF NOT EXISTS oskol.key_numbers (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    highest int4 NOT NULL
);
GRANT SELECT ON oskol.key_numbers TO PUBLIC;
INSERT INTO oskol.key_numbers (highest) VALUES (0) ON CONFLICT DO NOTHING;

-- The number of a new key: `wanted` on a shard that is to have those of the others, else the next one.
CREATE OR REPLACE FUNCTION oskol.number_key(wanted int4 DEFAULT NULL) RETURNS int4
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    UPDATE oskol.key_numbers n SET highest = greatest(n.highest, coalesce(wanted, n.highest + 1))
        RETURNING coalesce(wanted, n.highest)
$$;
REVOKE ALL ON FUNCTION oskol.number_key(int4) FROM PUBLIC;

-- A router says that it will collect what this transaction notes of keys up to number `known`. Sealed with the shard's token
-- and the transaction's own number, as whoever runs the statement can read the setting, and could make one.
CREATE OR REPLACE PROCEDURE oskol.collect(token text, known text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM oskol.check_router(token);
    PERFORM set_config('oskol.collects', known || ':'
        || encode(sha256(convert_to(concat(token, known, '/', pg_current_xact_id()), 'UTF8')), 'hex'), true);
END
$$;

-- Whether this session is a router's, for its clients.
CREATE OR REPLACE FUNCTION oskol.is_routed() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM oskol.admitted a JOIN pg_stat_get_activity(pg_backend_pid()) s
        ON s.pid = a.pid AND s.backend_start = a.started);
END
$$;
REVOKE ALL ON FUNCTION oskol.is_routed() FROM PUBLIC;

-- What keeps unique keys and routing indexes stands for indexes: whoever writes as a replica, or switches all triggers of a table
-- off, as tools do that load rows, has them kept all the same. As for foreign keys, their triggers may be switched off, as
-- PostgreSQL's can.
CREATE OR REPLACE FUNCTION oskol.enable_triggers() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET allow_system_table_mods = on AS $$
BEGIN
    -- What is known of a table is read anew when its row of pg_class changes, not when one of pg_trigger does.
    WITH enabled AS (UPDATE pg_trigger t SET tgenabled = 'A' FROM pg_proc p WHERE p.oid = t.tgfoid
            AND p.pronamespace = 'oskol'::regnamespace AND t.tgenabled <> 'A'
            AND (t.tgname = 'oskol_move' OR t.tgname ~ '^oskol_(unique|route)_[0-9]+_') RETURNING t.tgrelid)
        UPDATE pg_class c SET relhastriggers = c.relhastriggers WHERE c.oid IN (SELECT tgrelid FROM enabled);
END
$$;
REVOKE ALL ON FUNCTION oskol.enable_triggers() FROM PUBLIC;

CREATE OR REPLACE FUNCTION oskol.on_trigger_switch() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM oskol.enable_triggers();
END
$$;
DROP EVENT TRIGGER IF EXISTS oskol_triggers;
CREATE EVENT TRIGGER oskol_triggers ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION oskol.on_trigger_switch();
ALTER EVENT TRIGGER oskol_triggers ENABLE ALWAYS;

-- Whether what is written now is not the users' change but rows that come or go with their entries: the mover's. It says so
-- itself (`oskol.moving`), as looking who is connected costs more than moving a row; only a superuser is believed.
CREATE OR REPLACE FUNCTION oskol.is_replica() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN current_setting('session_replication_role') = 'replica'
        AND (current_setting('is_superuser') = 'on' AND current_setting('oskol.moving', true) IS NOT DISTINCT FROM 'on'
            OR NOT oskol.is_routed());
END
$$;
REVOKE ALL ON FUNCTION oskol.is_replica() FROM PUBLIC;

-- Nobody would look at what is noted of a table.
CREATE OR REPLACE FUNCTION oskol.refuse_note(written oid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF oskol.is_routed() THEN
        RAISE EXCEPTION 'the keys of table "%" have changed since the statement was planned', (SELECT c.relname FROM pg_class c WHERE c.oid = written)
            USING ERRCODE = '40001', HINT = 'Run the transaction again.',
            DETAIL = 'It waited for the table while a key was added that holds over all shards. [keys-changed]';
    END IF;
    RAISE EXCEPTION 'table "%" has keys that hold over all shards and cannot be written to on one of them', (SELECT c.relname FROM pg_class c WHERE c.oid = written)
        USING ERRCODE = '0A000', HINT = 'Connect to the router.',
        DETAIL = 'What is written here directly would not be compared with the rows of the other shards. [direct-write]';
END
$$;
REVOKE ALL ON FUNCTION oskol.refuse_note(oid) FROM PUBLIC;

-- Called by what notes something of a key, as its owner: an error where no router will collect it.
CREATE OR REPLACE FUNCTION oskol.check_collected(number int4, written oid) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    told text := pg_catalog.current_setting('oskol.collects', true);
    known text := pg_catalog.split_part(told, ':', 1);
    sealed text;
BEGIN
    IF told <> '' THEN
        SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
            pg_catalog.concat(s.token, known, '/', pg_catalog.pg_current_xact_id()), 'UTF8')), 'hex')
            INTO sealed FROM oskol.secret s;
        IF told = known || ':' || sealed THEN
            IF known::int4 >= number THEN
                RETURN;
            END IF;
        END IF;
    END IF;
    PERFORM oskol.refuse_note(written);
END
$$;
REVOKE ALL ON FUNCTION oskol.check_collected(int4, oid) FROM PUBLIC;
