-- Unique keys that hold over all shards, though they do not contain the shard key. On every shard.
-- Runs again without harm.
--
-- Each key has an entry for each of its values: `(value, shard key of its row)` in a table of the key's own,
-- on the shard that the value's bucket is on, under a unique index like the user's. Triggers on the user's
-- table note in `oskol.changes` which entries a statement makes and takes away; the router reads them in the
-- same transaction (`oskol.take_changes`) and has them made where they belong (`oskol.enter_N`). Registry and
-- numbers are the same on every shard: whatever changes them is run on all shards alike, under the DDL lock.
DROP EVENT TRIGGER IF EXISTS oskol_unique;

CREATE TABLE IF NOT EXISTS oskol.unique_keys (
    number int4 PRIMARY KEY,
    relation oid NOT NULL,
    index oid NOT NULL UNIQUE,
    -- Attribute number of the shard key.
    key int2 NOT NULL
);
-- Rows that were there before the key is kept have no entry yet (CREATE UNIQUE INDEX CONCURRENTLY).
ALTER TABLE oskol.unique_keys ADD COLUMN IF NOT EXISTS filling boolean NOT NULL DEFAULT false;
GRANT SELECT ON oskol.unique_keys TO PUBLIC;

-- Rows live within one transaction only: made by triggers, taken away before COMMIT.
CREATE UNLOGGED TABLE IF NOT EXISTS oskol.changes (
    sequence int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number int4 NOT NULL,
    adds boolean NOT NULL,
    bucket int4 NOT NULL,
    -- As text, the shard key last.
    entry text[] NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_analyze_threshold = 2147483647);

-- The entries that this transaction has still to take away (`which` is gone), to make (come) or both (empty), in order: at
-- most `amount`, from behind `after`, the highest sequence that was taken before.
DROP FUNCTION IF EXISTS oskol.take_changes(boolean, int8, int8);
CREATE OR REPLACE FUNCTION oskol.take_changes(token text, which text, after text, amount text)
RETURNS TABLE (sequence int8, number int4, adds boolean, bucket int4, entry text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM oskol.check_router(token);
    -- A transaction that only reads notes nothing, and may take nothing away.
    IF current_setting('transaction_read_only')::boolean AND NOT EXISTS (SELECT FROM oskol.changes) THEN
        RETURN;
    END IF;
    RETURN QUERY WITH taken AS (
        DELETE FROM oskol.changes c USING (SELECT o.sequence FROM oskol.changes o
            WHERE o.sequence > after::int8 AND (which = '' OR o.adds = (which = 'come'))
            ORDER BY o.sequence LIMIT amount::int8) o
        WHERE c.sequence = o.sequence RETURNING c.*)
        SELECT t.sequence, t.number, t.adds, t.bucket, to_json(t.entry)::text FROM taken t ORDER BY t.sequence;
END
$$;

-- Forgets what this transaction has made and taken away again: the triggers of a deferrable key tell of each step.
CREATE OR REPLACE FUNCTION oskol.net_changes(token text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM oskol.check_router(token);
    IF current_setting('transaction_read_only')::boolean AND NOT EXISTS (SELECT FROM oskol.changes) THEN
        RETURN;
    END IF;
    DELETE FROM oskol.changes c USING (
        SELECT n.sequence, row_number() OVER (PARTITION BY n.number, n.entry, n.adds ORDER BY n.sequence) AS ordinal,
            least(count(*) FILTER (WHERE n.adds) OVER same, count(*) FILTER (WHERE NOT n.adds) OVER same) AS pairs
            FROM oskol.changes n WINDOW same AS (PARTITION BY n.number, n.entry)) p
        WHERE c.sequence = p.sequence AND p.ordinal <= p.pairs;
END
$$;

-- Takes away what belongs to one key.
CREATE OR REPLACE FUNCTION oskol.drop_unique_key(gone int4) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
BEGIN
    DELETE FROM oskol.unique_keys u WHERE u.number = gone;
    EXECUTE format('DROP FUNCTION IF EXISTS oskol.note_%1$s() CASCADE', gone);
    EXECUTE format('DROP FUNCTION IF EXISTS oskol.enter_%1$s(text, json, json)', gone);
    EXECUTE format('DROP FUNCTION IF EXISTS oskol.fill_%1$s(text, json)', gone);
    EXECUTE format('DROP FUNCTION IF EXISTS oskol.holder_%1$s(json)', gone);
    EXECUTE format('DROP FUNCTION IF EXISTS oskol.hold_%1$s(json)', gone);
    EXECUTE format('DROP FUNCTION IF EXISTS oskol.wanted_%1$s(json)', gone);
    EXECUTE (SELECT coalesce(string_agg(format('DROP FUNCTION %s', p.oid::regprocedure), ';'), '')
        FROM pg_proc p WHERE p.pronamespace = 'oskol'::regnamespace AND p.proname = 'route_' || gone);
    EXECUTE format('DROP TABLE IF EXISTS oskol.unique_%1$s', gone);
END
$$;
REVOKE ALL ON FUNCTION oskol.drop_unique_key(int4) FROM PUBLIC;

-- Takes away what belongs to indexes that are gone.
CREATE OR REPLACE FUNCTION oskol.forget_unique_keys() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM oskol.drop_unique_key(u.number) FROM oskol.unique_keys u
        WHERE NOT EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = u.index AND i.indrelid = u.relation);
END
$$;
REVOKE ALL ON FUNCTION oskol.forget_unique_keys() FROM PUBLIC;

-- The columns of one unique index, as the texts that its objects are made of.
CREATE OR REPLACE FUNCTION oskol.unique_key_columns(key_index oid)
RETURNS TABLE (ordinal int4, expression text, type text, declared text, hashed text, operators text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT o.ordinal, pg_get_indexdef(i.indexrelid, o.ordinal, false), t.name,
        t.name || CASE WHEN t.collation <> 0 THEN (SELECT format(' COLLATE %I.%I', n.nspname, l.collname)
            FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace WHERE l.oid = t.collation)
            ELSE '' END,
        -- An enum's own hash is that of an oid, which differs from shard to shard.
        CASE WHEN e.typtype = 'e' THEN 'v' || o.ordinal || '::text' ELSE 'v' || o.ordinal END,
        (SELECT format('%I.%I', n.nspname, c.opcname) FROM pg_opclass c
            JOIN pg_namespace n ON n.oid = c.opcnamespace WHERE c.oid = i.indclass[o.ordinal - 1])
    FROM pg_index i, generate_series(1, i.indnkeyatts::int4) AS o (ordinal),
    LATERAL (SELECT format_type(a.atttypid, -1) AS name, a.atttypid AS id, x.attcollation AS collation
        FROM pg_attribute a, pg_attribute x
        WHERE a.attrelid = CASE WHEN i.indkey[o.ordinal - 1] = 0 THEN i.indexrelid ELSE i.indrelid END
        AND a.attnum = CASE WHEN i.indkey[o.ordinal - 1] = 0 THEN o.ordinal ELSE i.indkey[o.ordinal - 1] END
        AND x.attrelid = i.indexrelid AND x.attnum = o.ordinal) AS t
    JOIN pg_type e ON e.oid = t.id
    WHERE i.indexrelid = key_index ORDER BY o.ordinal
$$;
REVOKE ALL ON FUNCTION oskol.unique_key_columns(oid) FROM PUBLIC;

-- The SELECT of all entries of the rows of `source`: bucket and entry.
CREATE OR REPLACE FUNCTION oskol.unique_key_query(key_index oid, key int2, source text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    listed record;
    wanted pg_index;
BEGIN
    SELECT * INTO wanted FROM pg_index i WHERE i.indexrelid = key_index;
    SELECT string_agg(format('(%s) AS v%s', c.expression, c.ordinal), ', ') AS made,
        string_agg(c.hashed, ', ') AS hashed,
        string_agg(format('v%s::text', c.ordinal), ', ') AS texts,
        string_agg(format('v%s IS NOT NULL', c.ordinal), ' AND ') AS present
        INTO listed FROM oskol.unique_key_columns(key_index) c;
    RETURN format(
        'SELECT (hash_record_extended(ROW(%1$s), 0) & 4095)::int4 AS bucket, ARRAY[%2$s, k::text] AS entry '
        'FROM (SELECT %3$s, %4$I AS k FROM %5$s WHERE %6$s) AS made WHERE %7$s',
        listed.hashed, listed.texts, listed.made,
        (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = wanted.indrelid AND a.attnum = unique_key_query.key),
        source, coalesce(pg_get_expr(wanted.indpred, wanted.indrelid), 'true'),
        CASE WHEN wanted.indnullsnotdistinct THEN 'true' ELSE listed.present END);
END
$$;
REVOKE ALL ON FUNCTION oskol.unique_key_query(oid, int2, text) FROM PUBLIC;

-- The function `note_N`, which notes the entries that `come` and `gone` (SELECTs of bucket and entry) give. Where not `is_all`
-- an UPDATE notes what differs only. `entries`: the table that TRUNCATE empties.
CREATE OR REPLACE FUNCTION oskol.write_note_function(number int4, come text, gone text, is_all boolean, entries text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format($outer$
        CREATE OR REPLACE FUNCTION oskol.note_%1$s() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD'
        SET intervalstyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 SET timezone = 'UTC' AS $inner$
        DECLARE
            is_noted boolean;
        BEGIN
            IF oskol.is_replica() THEN
                RETURN NULL;
            END IF;
            IF TG_OP = 'INSERT' THEN
                INSERT INTO oskol.changes (number, adds, bucket, entry) SELECT %1$s, true, bucket, entry FROM (%2$s) c;
                is_noted := FOUND;
            ELSIF TG_OP = 'DELETE' THEN
                INSERT INTO oskol.changes (number, adds, bucket, entry) SELECT %1$s, false, bucket, entry FROM (%3$s) g;
                is_noted := FOUND;
            ELSIF TG_OP = 'UPDATE' THEN
                INSERT INTO oskol.changes (number, adds, bucket, entry)
                    SELECT %1$s, false, bucket, entry FROM (%3$s %4$s) g;
                is_noted := FOUND;
                INSERT INTO oskol.changes (number, adds, bucket, entry)
                    SELECT %1$s, true, bucket, entry FROM (%2$s %5$s) c;
                is_noted := is_noted OR FOUND;
            ELSE
                -- A router has TRUNCATE reach every shard, and each clears its own entries.
                IF NOT oskol.is_routed() THEN
                    PERFORM oskol.refuse_note(TG_RELID);
                END IF;
                TRUNCATE %6$s;
            END IF;
            IF is_noted THEN
                PERFORM oskol.check_collected(%1$s, TG_RELID);
            END IF;
            RETURN NULL;
        END
        $inner$ $outer$, number, come, gone, CASE WHEN is_all THEN '' ELSE 'EXCEPT ALL ' || come END,
        CASE WHEN is_all THEN '' ELSE 'EXCEPT ALL ' || gone END, entries);
END
$$;
REVOKE ALL ON FUNCTION oskol.write_note_function(int4, text, text, boolean, text) FROM PUBLIC;

-- What notes the changes of one key. Written anew after every ALTER, as columns may have other names then.
-- A deferrable key is looked at row by row, when it is due. While a key is being filled an UPDATE notes all its rows: one
-- that has moved behind the place where the filling is would have no entry.
CREATE OR REPLACE FUNCTION oskol.write_note(number int4, key_index oid, key int2) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    is_deferrable boolean := (SELECT NOT i.indimmediate FROM pg_index i WHERE i.indexrelid = key_index);
    is_all boolean := coalesce((SELECT u.filling FROM oskol.unique_keys u WHERE u.number = write_note.number), false);
BEGIN
    PERFORM oskol.write_note_function(number,
        oskol.unique_key_query(key_index, key, CASE WHEN is_deferrable THEN '(SELECT NEW.*) AS come' ELSE 'come' END),
        oskol.unique_key_query(key_index, key, CASE WHEN is_deferrable THEN '(SELECT OLD.*) AS gone' ELSE 'gone' END),
        is_all, format('oskol.unique_%s', number));
END
$$;
REVOKE ALL ON FUNCTION oskol.write_note(int4, oid, int2) FROM PUBLIC;

-- Makes and takes away entries on this shard. A value that is there already is a unique violation, after
-- waiting for the transaction that made it. So is an entry to be taken away that is not to be seen yet: the shard
-- of its row has committed what made it, and this one is about to.
CREATE OR REPLACE FUNCTION oskol.write_enter(number int4, key_index oid, key_type text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    listed record;
BEGIN
    SELECT string_agg(format('(e->>%s)::%s', c.ordinal - 1, c.type), ', ') AS given,
        string_agg(format('(u.v%1$s = (e->>%2$s)::%3$s OR u.v%1$s IS NULL AND e->>%2$s IS NULL)',
            c.ordinal, c.ordinal - 1, c.type), ' AND ') AS same, count(*) AS columns
        INTO listed FROM oskol.unique_key_columns(key_index) c;
    IF NOT (SELECT i.indnullsnotdistinct FROM pg_index i WHERE i.indexrelid = key_index) THEN
        SELECT string_agg(format('u.v%s = (e->>%s)::%s', c.ordinal, c.ordinal - 1, c.type), ' AND ')
            INTO listed.same FROM oskol.unique_key_columns(key_index) c;
    END IF;
    EXECUTE format($outer$
        CREATE OR REPLACE FUNCTION oskol.enter_%1$s(token text, gone json, come json) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD'
        SET intervalstyle = 'postgres' SET timezone = 'UTC' AS $inner$
        DECLARE
            taken bigint;
        BEGIN
            PERFORM oskol.check_router(token);
            DELETE FROM oskol.unique_%1$s u USING json_array_elements(gone) e
                WHERE %2$s AND u.key = (e->>%3$s)::%4$s;
            GET DIAGNOSTICS taken = ROW_COUNT;
            IF taken < json_array_length(gone) THEN
                INSERT INTO oskol.unique_%1$s SELECT %5$s, (e->>%3$s)::%4$s FROM json_array_elements(gone) e ORDER BY 1
                    ON CONFLICT DO NOTHING;
                DELETE FROM oskol.unique_%1$s u USING json_array_elements(gone) e
                    WHERE %2$s AND u.key = (e->>%3$s)::%4$s;
            END IF;
            INSERT INTO oskol.unique_%1$s SELECT %5$s, (e->>%3$s)::%4$s FROM json_array_elements(come) e ORDER BY 1;
        END
        $inner$ $outer$, number, listed.same, listed.columns, key_type, listed.given);
    -- Of rows that were there before the key was kept: whoever has written one since has made the same entry.
    EXECUTE format($outer$
        CREATE OR REPLACE FUNCTION oskol.fill_%1$s(token text, come json) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD'
        SET intervalstyle = 'postgres' SET timezone = 'UTC' AS $inner$
        BEGIN
            PERFORM oskol.check_router(token);
            INSERT INTO oskol.unique_%1$s SELECT %5$s, (e->>%3$s)::%4$s FROM json_array_elements(come) e ORDER BY 1
                ON CONFLICT DO NOTHING;
            INSERT INTO oskol.unique_%1$s SELECT %5$s, (e->>%3$s)::%4$s FROM json_array_elements(come) e
                WHERE NOT EXISTS (SELECT FROM oskol.unique_%1$s u WHERE %2$s AND u.key = (e->>%3$s)::%4$s) ORDER BY 1;
        END
        $inner$ $outer$, number, listed.same, listed.columns, key_type, listed.given);
END
$$;
REVOKE ALL ON FUNCTION oskol.write_enter(int4, oid, text) FROM PUBLIC;

-- The bucket of the row that has a value: what routers are told instead of the entry, which not everybody may see.
CREATE OR REPLACE FUNCTION oskol.write_route(number int4, key_index oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    listed record;
BEGIN
    -- Integers come as int8 and strings as text, so that a value which the column cannot hold equals none.
    SELECT string_agg(CASE WHEN c.type IN ('smallint', 'integer') THEN 'bigint' WHEN c.type LIKE 'character varying%'
            THEN 'text' ELSE c.type END, ', ' ORDER BY c.ordinal) AS types,
        string_agg(format('u.v%1$s = $%1$s', c.ordinal), ' AND ' ORDER BY c.ordinal) AS same
        INTO listed FROM oskol.unique_key_columns(key_index) c;
    EXECUTE format($outer$
        CREATE OR REPLACE FUNCTION oskol.route_%1$s(%2$s) RETURNS int4
        LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $inner$
        BEGIN
            RETURN (SELECT (hash_record_extended(ROW(u.key), 0) & 4095)::int4 FROM oskol.unique_%1$s u WHERE %3$s);
        END
        $inner$ $outer$, number, listed.types, listed.same);
END
$$;
REVOKE ALL ON FUNCTION oskol.write_route(int4, oid) FROM PUBLIC;

-- For a row that is in conflict with a new one: `holder_N`, the bucket of the row that has the values of an entry,
-- `hold_N`, which locks that row, with the caller's own rights, and tells whether it is there, and `wanted_N`, the entries
-- that rows would have if they were inserted (a JSON array of objects, by the columns' names). Written anew after every ALTER.
CREATE OR REPLACE FUNCTION oskol.write_hold(number int4, key_index oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    entered text;
    stored text;
    wanted pg_index;
BEGIN
    SELECT * INTO wanted FROM pg_index i WHERE i.indexrelid = key_index;
    SELECT string_agg(format('(u.v%1$s = (entry->>%2$s)::%3$s%4$s)', c.ordinal, c.ordinal - 1, c.type,
            CASE WHEN wanted.indnullsnotdistinct
            THEN format(' OR u.v%s IS NULL AND entry->>%s IS NULL', c.ordinal, c.ordinal - 1) ELSE '' END), ' AND '),
        string_agg(format('((%1$s) = ($1->>%2$s)::%3$s%4$s)', c.expression, c.ordinal - 1, c.type,
            CASE WHEN wanted.indnullsnotdistinct
            THEN format(' OR (%s) IS NULL AND $1->>%s IS NULL', c.expression, c.ordinal - 1) ELSE '' END), ' AND ')
        INTO entered, stored FROM oskol.unique_key_columns(key_index) c;
    EXECUTE format($outer$
        CREATE OR REPLACE FUNCTION oskol.holder_%1$s(entry json) RETURNS int4
        LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
        SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET timezone = 'UTC' AS $inner$
        BEGIN
            RETURN (SELECT (hash_record_extended(ROW(u.key), 0) & 4095)::int4 FROM oskol.unique_%1$s u WHERE %2$s);
        END
        $inner$ $outer$, number, entered);
    EXECUTE format($outer$
        CREATE OR REPLACE FUNCTION oskol.hold_%1$s(entry json) RETURNS boolean
        LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
        SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET timezone = 'UTC' AS $inner$
        DECLARE
            held boolean;
        BEGIN
            EXECUTE format(%2$L, %3$s::oid::regclass) INTO held USING entry;
            RETURN held IS NOT NULL;
        END
        $inner$ $outer$, number, format('SELECT true FROM ONLY %%s WHERE %s AND %s FOR NO KEY UPDATE',
            replace(stored, '%', '%%'),
            replace(coalesce(pg_get_expr(wanted.indpred, wanted.indrelid), 'true'), '%', '%%')), wanted.indrelid);
    EXECUTE (SELECT format($outer$
        CREATE OR REPLACE FUNCTION oskol.wanted_%1$s(given json) RETURNS TABLE (at int8, bucket int4, entry text)
        LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD'
        SET intervalstyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 SET timezone = 'UTC' AS $inner$
        BEGIN
            RETURN QUERY EXECUTE format(%2$L, %3$s::oid::regclass) USING given;
        END
        $inner$ $outer$, number, replace(replace(format(
            'SELECT made.oskol_at, (hash_record_extended(ROW(%1$s), 0) & 4095)::int4, to_json(ARRAY[%2$s])::text '
            'FROM (SELECT oskol_at, %3$s FROM (SELECT row_number() OVER () AS oskol_at, r.* '
            'FROM json_populate_recordset(NULL::@oskol_table@, $1) r) given WHERE %4$s) made WHERE %5$s',
            string_agg(c.hashed, ', ' ORDER BY c.ordinal), string_agg(format('v%s::text', c.ordinal), ', ' ORDER BY c.ordinal),
            string_agg(format('(%s) AS v%s', c.expression, c.ordinal), ', ' ORDER BY c.ordinal),
            coalesce(pg_get_expr(wanted.indpred, wanted.indrelid), 'true'),
            CASE WHEN wanted.indnullsnotdistinct THEN 'true'
                ELSE string_agg(format('v%s IS NOT NULL', c.ordinal), ' AND ') END), '%', '%%'), '@oskol_table@', '%s'),
            wanted.indrelid)
        FROM oskol.unique_key_columns(key_index) c);
END
$$;
REVOKE ALL ON FUNCTION oskol.write_hold(int4, oid) FROM PUBLIC;

-- What notes and enters a key runs with a superuser's rights, and so would code of others that the key calls: a
-- function or operator in its expressions or condition, the checks of a domain.
CREATE OR REPLACE FUNCTION oskol.check_unique_key(key_index oid) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    culprit text;
BEGIN
    SELECT used.name INTO culprit FROM (
            SELECT p.oid::regprocedure::text, p.proowner FROM pg_depend d JOIN pg_proc p ON p.oid = d.refobjid
                WHERE d.classid = 'pg_class'::regclass AND d.objid = key_index
                AND d.refclassid = 'pg_proc'::regclass
            UNION ALL SELECT o.oid::regoperator::text, p.proowner FROM pg_depend d
                JOIN pg_operator o ON o.oid = d.refobjid JOIN pg_proc p ON p.oid = o.oprcode
                WHERE d.classid = 'pg_class'::regclass AND d.objid = key_index
                AND d.refclassid = 'pg_operator'::regclass
            UNION ALL SELECT t.oid::regtype::text, t.typowner FROM pg_index i
                JOIN pg_attribute a ON a.attrelid = i.indexrelid
                    OR a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
                JOIN pg_type y ON y.oid = a.atttypid JOIN pg_type t ON t.oid IN (y.oid, y.typelem)
                WHERE i.indexrelid = key_index AND t.typtype IN ('d', 'c', 'r', 'm')) AS used (name, owner)
        JOIN pg_roles r ON r.oid = used.owner WHERE NOT r.rolsuper LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'unique key "%" cannot be kept over all shards', key_index::regclass
            USING ERRCODE = 'feature_not_supported',
            DETAIL = format('It calls %s, whose owner is no superuser, and would run it with a superuser''s rights. '
                '[unique-key-code]', culprit),
            HINT = 'Let a superuser own what the key calls, include the shard key in it, or store the value in a column.';
    END IF;
END
$$;
REVOKE ALL ON FUNCTION oskol.check_unique_key(oid) FROM PUBLIC;

-- The triggers that call `note_N`, whose names begin with `prefix`: after a statement, or after each row.
CREATE OR REPLACE FUNCTION oskol.write_note_triggers(number int4, kept oid, prefix text, by_row boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET allow_system_table_mods = on AS $$
DECLARE
    event record;
BEGIN
    FOR event IN SELECT * FROM (VALUES ('INSERT', 'REFERENCING NEW TABLE AS come'),
        ('DELETE', 'REFERENCING OLD TABLE AS gone'),
        ('UPDATE', 'REFERENCING OLD TABLE AS gone NEW TABLE AS come'), ('TRUNCATE', '')) AS e (name, tables)
    LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s %s FOR EACH %s EXECUTE FUNCTION oskol.note_%s()',
            prefix || lower(event.name), event.name, kept::regclass, CASE WHEN by_row THEN '' ELSE event.tables END,
            CASE WHEN by_row AND event.name <> 'TRUNCATE' THEN 'ROW' ELSE 'STATEMENT' END, number);
    END LOOP;
    -- Not a trigger of the user's: not shown, not dumped, not switched off with the user's own.
    UPDATE pg_trigger t SET tgisinternal = true WHERE t.tgrelid = kept AND starts_with(t.tgname, prefix);
    PERFORM oskol.enable_triggers();
END
$$;
REVOKE ALL ON FUNCTION oskol.write_note_triggers(int4, oid, text, boolean) FROM PUBLIC;

-- What calls `note_N`: after a statement, or, of a deferrable key, for each row when the user's constraint is due.
CREATE OR REPLACE FUNCTION oskol.write_unique_triggers(number int4, kept oid, key_index oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET allow_system_table_mods = on AS $$
DECLARE
    wanted pg_constraint;
    prefix text := format('oskol_unique_%s_', number);
BEGIN
    SELECT * INTO wanted FROM pg_constraint k WHERE k.conindid = key_index AND k.conrelid = kept AND k.contype IN ('p', 'u')
        AND k.condeferrable;
    PERFORM oskol.write_note_triggers(number, kept, prefix, wanted.oid IS NOT NULL);
    -- SET CONSTRAINTS finds it by its constraint.
    UPDATE pg_trigger t SET tgconstraint = wanted.oid, tgdeferrable = true, tginitdeferred = wanted.condeferred
        WHERE wanted.oid IS NOT NULL AND t.tgrelid = kept AND (t.tgtype & 1) = 1 AND starts_with(t.tgname, prefix);
END
$$;
REVOKE ALL ON FUNCTION oskol.write_unique_triggers(int4, oid, oid) FROM PUBLIC;

-- Begins to keep one unique index; the entries of the rows that are there are noted, or, `later`, are not yet.
-- `wanted`: its number, on a shard that is to have those of the others.
DROP FUNCTION IF EXISTS oskol.keep_unique_key(oid, oid, int2);
DROP FUNCTION IF EXISTS oskol.keep_unique_key(oid, oid, int2, int4);
CREATE OR REPLACE FUNCTION oskol.keep_unique_key(kept oid, key_index oid, key int2, wanted int4 DEFAULT NULL,
    later boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET allow_system_table_mods = on AS $$
#variable_conflict use_variable
DECLARE
    number int4 := oskol.number_key(wanted);
    key_type text := (SELECT format_type(a.atttypid, -1) FROM pg_attribute a
        WHERE a.attrelid = kept AND a.attnum = key);
    event record;
    listed record;
BEGIN
    PERFORM oskol.check_unique_key(key_index);
    INSERT INTO oskol.unique_keys (number, relation, index, key, filling) VALUES (number, kept, key_index, key, later);
    SELECT string_agg(format('v%s %s', c.ordinal, c.declared), ', ') AS columns,
        string_agg(format('v%s %s', c.ordinal, c.operators), ', ') AS indexed
        INTO listed FROM oskol.unique_key_columns(key_index) c;
    EXECUTE format('CREATE TABLE oskol.unique_%s (%s, key %s NOT NULL)', number, listed.columns, key_type);
    EXECUTE format('CREATE UNIQUE INDEX unique_%1$s_values ON oskol.unique_%1$s (%2$s) %3$s', number, listed.indexed,
        (SELECT CASE WHEN i.indnullsnotdistinct THEN 'NULLS NOT DISTINCT' ELSE '' END
            FROM pg_index i WHERE i.indexrelid = key_index));
    PERFORM oskol.write_note(number, key_index, key);
    PERFORM oskol.write_enter(number, key_index, key_type);
    PERFORM oskol.write_route(number, key_index);
    PERFORM oskol.write_hold(number, key_index);
    IF later THEN
        UPDATE pg_index i SET indisvalid = false WHERE i.indexrelid = key_index;
        RETURN;
    END IF;
    PERFORM oskol.write_unique_triggers(number, kept, key_index);
    EXECUTE format('INSERT INTO oskol.changes (number, adds, bucket, entry) SELECT %s, true, bucket, entry FROM (%s) c',
        number, oskol.unique_key_query(key_index, key, kept::regclass::text));
END
$$;
REVOKE ALL ON FUNCTION oskol.keep_unique_key(oid, oid, int2, int4, boolean) FROM PUBLIC;

-- Sees to it that all unique keys of a sharded table that do not contain its shard key are kept, and those
-- that are kept go by the columns' names of today. The caller must own the table.
CREATE OR REPLACE FUNCTION oskol.keep_unique_keys(schema text, name text, key text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
    kept pg_class;
    key_number int2;
    missing oid;
BEGIN
    SELECT c.* INTO kept FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = schema AND c.relname = name;
    IF NOT FOUND OR NOT pg_has_role(caller, kept.relowner, 'MEMBER') THEN
        RETURN;
    END IF;
    SELECT a.attnum INTO key_number FROM pg_attribute a WHERE a.attrelid = kept.oid AND a.attname = key;
    PERFORM oskol.forget_unique_keys();
    PERFORM oskol.write_note(u.number, u.index, u.key), oskol.write_hold(u.number, u.index)
        FROM oskol.unique_keys u WHERE u.relation = kept.oid;
    FOR missing IN SELECT i.indexrelid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = kept.oid AND i.indisunique AND i.indisvalid
        AND key_number <> ALL ((i.indkey::int2[])[0:i.indnkeyatts - 1])
        AND NOT EXISTS (SELECT FROM oskol.unique_keys u WHERE u.index = i.indexrelid)
        ORDER BY c.relname
    LOOP
        PERFORM oskol.keep_unique_key(kept.oid, missing, key_number);
    END LOOP;
END
$$;

-- A table that is placed anew begins without entries. The caller must own it.
CREATE OR REPLACE FUNCTION oskol.leave_unique_keys(schema text, name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    PERFORM oskol.drop_unique_key(u.number) FROM oskol.unique_keys u JOIN pg_class c ON c.oid = u.relation
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = schema AND c.relname = name AND pg_has_role(caller, c.relowner, 'MEMBER');
END
$$;

-- An index that is dropped takes its entries along, whatever dropped it.
CREATE OR REPLACE FUNCTION oskol.on_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM oskol.unique_keys u WHERE NOT EXISTS
        (SELECT FROM pg_class c WHERE c.oid = u.index)) THEN
        PERFORM oskol.forget_unique_keys();
    END IF;
END
$$;

-- Keys of an older version.
DO $$
BEGIN
    PERFORM oskol.write_note(u.number, u.index, u.key), oskol.write_hold(u.number, u.index),
        oskol.write_enter(u.number, u.index, (SELECT format_type(a.atttypid, -1) FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = u.relation AND a.attnum = u.key)) FROM oskol.unique_keys u;
    EXECUTE (SELECT coalesce(string_agg(format('DROP FUNCTION IF EXISTS oskol.enter_%s(json, json)', u.number), ';'), '')
        FROM oskol.unique_keys u);
    -- Deferrable ones had triggers for each statement.
    EXECUTE (SELECT coalesce(string_agg(format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::pg_catalog.regclass), ';'), '')
        FROM oskol.unique_keys u JOIN pg_catalog.pg_index i ON i.indexrelid = u.index AND NOT i.indimmediate
        JOIN pg_catalog.pg_trigger t ON t.tgrelid = u.relation AND starts_with(t.tgname, format('oskol_unique_%s_', u.number)));
    PERFORM oskol.write_unique_triggers(u.number, u.relation, u.index)
        FROM oskol.unique_keys u JOIN pg_catalog.pg_index i ON i.indexrelid = u.index AND NOT i.indimmediate;
END
$$;

CREATE EVENT TRIGGER oskol_unique ON sql_drop EXECUTE FUNCTION oskol.on_drop();
ALTER EVENT TRIGGER oskol_unique ENABLE ALWAYS;
