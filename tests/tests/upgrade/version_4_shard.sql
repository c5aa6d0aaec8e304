-- What version 4 ran on every shard to make schema oskol. Never changed.
-- Objects of schema oskol in a database of every shard. Runs again without harm.
CREATE SCHEMA IF NOT EXISTS oskol;
GRANT USAGE ON SCHEMA oskol TO PUBLIC;

-- Who this server is, so that a wrong address in a configuration is found out. The epochs count on
-- the home shard only: `epoch` grows with every change of the catalog, `sequence_epoch` with every
-- change that makes leased ids void.
CREATE TABLE IF NOT EXISTS oskol.meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    cluster text NOT NULL,
    shard int4 NOT NULL,
    home int4 NOT NULL,
    version int4 NOT NULL,
    epoch int8 NOT NULL DEFAULT 1,
    sequence_epoch int8 NOT NULL DEFAULT 1,
    map_epoch int8 NOT NULL DEFAULT 1
);
GRANT SELECT ON oskol.meta TO PUBLIC;

-- Known to routers alone: it is read by their superuser, and passed as a parameter, which no view shows.
CREATE TABLE IF NOT EXISTS oskol.secret (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    token text NOT NULL
);
REVOKE ALL ON oskol.secret FROM PUBLIC;
INSERT INTO oskol.secret (token) VALUES (md5(gen_random_uuid()::text) || md5(gen_random_uuid()::text))
    ON CONFLICT DO NOTHING;

-- An error for whoever is no router.
CREATE OR REPLACE FUNCTION oskol.check_router(given text) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF given IS DISTINCT FROM (SELECT s.token FROM oskol.secret s) THEN
        RAISE EXCEPTION 'permission denied for a function of schema oskol' USING ERRCODE = '42501';
    END IF;
END
$$;

-- The outcome of global transactions whose lead is this shard. The primary key decides between a late
-- lead that commits and a recovery that aborts.
CREATE TABLE IF NOT EXISTS oskol.decision (
    gid text PRIMARY KEY,
    outcome text NOT NULL CHECK (outcome IN ('commit', 'abort')),
    decided timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
GRANT SELECT ON oskol.decision TO PUBLIC;

-- Ends connections that keep decisions out and have said nothing for `patience`: their router stands still.
CREATE OR REPLACE FUNCTION oskol.end_silent_holders(patience interval) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_terminate_backend(l.pid, 1000) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.mode = 'ExclusiveLock' AND l.granted AND l.objsubid = 1
    AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    AND l.classid::int8 << 32 | l.objid::int8 = 8030875938574
    AND a.state <> 'active' AND a.state_change < clock_timestamp() - patience
$$;
REVOKE ALL ON FUNCTION oskol.end_silent_holders(interval) FROM PUBLIC;

-- Called by the lead's own transaction: its commit is the decision. The lock keeps decisions out while somebody opens
-- snapshots over all shards (oskol.hold_decisions); it goes with the transaction, which commits in the same message.
CREATE OR REPLACE FUNCTION oskol.decide(gid text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock_shared(8030875938574) THEN
        PERFORM set_config('lock_timeout', '2s', true);
        BEGIN
            PERFORM pg_advisory_xact_lock_shared(8030875938574);
        EXCEPTION WHEN lock_not_available THEN
            PERFORM oskol.end_silent_holders('2s');
            PERFORM pg_advisory_xact_lock_shared(8030875938574);
        END;
    END IF;
    INSERT INTO oskol.decision (gid, outcome) VALUES (decide.gid, 'commit');
END
$$;

-- From now on no transaction is decided here, until oskol.release_decisions() or the end of the connection. Waits for those
-- that are being decided, for at most `patience` milliseconds, and as long again once others that stand still are ended.
CREATE OR REPLACE FUNCTION oskol.hold_decisions(patience int4) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT pg_try_advisory_lock(8030875938574) THEN
        PERFORM set_config('lock_timeout', patience::text, true);
        BEGIN
            PERFORM pg_advisory_lock(8030875938574);
        EXCEPTION WHEN lock_not_available THEN
            PERFORM oskol.end_silent_holders('2s');
            PERFORM pg_advisory_lock(8030875938574);
        END;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION oskol.release_decisions() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_advisory_unlock(8030875938574)
$$;

-- The outcome of a transaction in doubt: abort, unless the lead has decided. Waits for a lead that is
-- about to commit.
CREATE OR REPLACE FUNCTION oskol.settle(gid text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO oskol.decision (gid, outcome) VALUES (settle.gid, 'abort') ON CONFLICT DO NOTHING;
    RETURN (SELECT outcome FROM oskol.decision d WHERE d.gid = settle.gid);
END
$$;
REVOKE ALL ON FUNCTION oskol.settle(text) FROM PUBLIC;

-- What a fenced sequence was before, so that the fence can be taken down.
CREATE TABLE IF NOT EXISTS oskol.fences (
    sequence oid PRIMARY KEY,
    last_value int8 NOT NULL,
    is_called boolean NOT NULL,
    cycle boolean NOT NULL
);
GRANT SELECT ON oskol.fences TO PUBLIC;

-- Makes one sequence of a shard that is not the home shard fail: no value left, and no cycle.
CREATE OR REPLACE FUNCTION oskol.fence(sequence oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kind record;
    was_last int8;
    was_called boolean;
    edge int8;
BEGIN
    IF (SELECT m.shard = m.home FROM oskol.meta m) THEN
        RETURN;
    END IF;
    SELECT s.seqcycle, s.seqincrement, s.seqmin, s.seqmax, n.nspname, c.relname INTO STRICT kind
        FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE s.seqrelid = fence.sequence;
    EXECUTE format('SELECT last_value, is_called FROM %I.%I', kind.nspname, kind.relname)
        INTO was_last, was_called;
    edge := CASE WHEN kind.seqincrement > 0 THEN kind.seqmax ELSE kind.seqmin END;
    IF was_called AND was_last = edge AND NOT kind.seqcycle THEN
        RETURN;
    END IF;
    INSERT INTO oskol.fences AS f VALUES (fence.sequence, was_last, was_called, kind.seqcycle)
        ON CONFLICT ON CONSTRAINT fences_pkey DO UPDATE SET last_value = excluded.last_value,
        is_called = excluded.is_called, cycle = f.cycle OR excluded.cycle;
    IF kind.seqcycle THEN
        EXECUTE format('ALTER SEQUENCE %I.%I NO CYCLE', kind.nspname, kind.relname);
    END IF;
    PERFORM setval(fence.sequence::regclass, edge, true);
END
$$;
REVOKE ALL ON FUNCTION oskol.fence(oid) FROM PUBLIC;

-- Fences whatever sequence of this database is not fenced yet. Nothing on the home shard.
CREATE OR REPLACE FUNCTION oskol.fence_sequences() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (SELECT m.shard = m.home FROM oskol.meta m) THEN
        RETURN;
    END IF;
    PERFORM oskol.fence(s.seqrelid)
        FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'oskol')
        AND (s.seqcycle OR pg_sequence_last_value(s.seqrelid) IS DISTINCT FROM
             CASE WHEN s.seqincrement > 0 THEN s.seqmax ELSE s.seqmin END);
    DELETE FROM oskol.fences f
        WHERE NOT EXISTS (SELECT FROM pg_sequence s WHERE s.seqrelid = f.sequence);
END
$$;

CREATE OR REPLACE FUNCTION oskol.fence_sequence(schema text, name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM oskol.fence(format('%I.%I', schema, name)::regclass);
END
$$;

-- Takes the fence down: the sequence goes on where it stood.
CREATE OR REPLACE FUNCTION oskol.unfence_sequence(schema text, name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fenced regclass := format('%I.%I', schema, name)::regclass;
    was oskol.fences;
BEGIN
    DELETE FROM oskol.fences f WHERE f.sequence = fenced RETURNING f.* INTO was;
    IF was.sequence IS NOT NULL THEN
        IF was.cycle THEN
            EXECUTE format('ALTER SEQUENCE %I.%I CYCLE', schema, name);
        END IF;
        PERFORM setval(fenced, was.last_value, was.is_called);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION oskol.unfence_sequence(text, text) FROM PUBLIC;

-- Carried out by the router; a shard alone cannot.
CREATE OR REPLACE FUNCTION oskol.only_through_the_router(called text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% works only through the router', called USING ERRCODE = '0A000',
        HINT = 'Connect to the router, and call it as the only thing in a SELECT.';
END
$$;

CREATE OR REPLACE FUNCTION oskol.shard_table(
    relation text, key text, accept_unenforced boolean DEFAULT false) RETURNS void
LANGUAGE sql AS $$ SELECT oskol.only_through_the_router('oskol.shard_table') $$;

CREATE OR REPLACE FUNCTION oskol.reference_table(relation text) RETURNS void
LANGUAGE sql AS $$ SELECT oskol.only_through_the_router('oskol.reference_table') $$;

CREATE OR REPLACE FUNCTION oskol.local_table(relation text) RETURNS void
LANGUAGE sql AS $$ SELECT oskol.only_through_the_router('oskol.local_table') $$;
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
    RETURN QUERY WITH taken AS (
        DELETE FROM oskol.changes c USING (SELECT o.sequence FROM oskol.changes o
            WHERE o.sequence > after::int8 AND (which = '' OR o.adds = (which = 'come'))
            ORDER BY o.sequence LIMIT amount::int8) o
        WHERE c.sequence = o.sequence RETURNING c.*)
        SELECT t.sequence, t.number, t.adds, t.bucket, to_json(t.entry)::text FROM taken t ORDER BY t.sequence;
END
$$;

-- Takes away what belongs to one key.
CREATE OR REPLACE FUNCTION oskol.drop_unique_key(gone int4) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
BEGIN
    DELETE FROM oskol.unique_keys u WHERE u.number = gone;
    EXECUTE format('DROP FUNCTION IF EXISTS oskol.note_%1$s() CASCADE', gone);
    EXECUTE format('DROP FUNCTION IF EXISTS oskol.enter_%1$s(text, json, json)', gone);
    EXECUTE format('DROP FUNCTION IF EXISTS oskol.holder_%1$s(json)', gone);
    EXECUTE format('DROP FUNCTION IF EXISTS oskol.hold_%1$s(json)', gone);
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

-- What notes the changes of one key. Written anew after every ALTER, as columns may have other names then.
CREATE OR REPLACE FUNCTION oskol.write_note(number int4, key_index oid, key int2) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    come text := oskol.unique_key_query(key_index, key, 'come');
    gone text := oskol.unique_key_query(key_index, key, 'gone');
BEGIN
    EXECUTE format($outer$
        CREATE OR REPLACE FUNCTION oskol.note_%1$s() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD'
        SET intervalstyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 SET timezone = 'UTC' AS $inner$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                INSERT INTO oskol.changes (number, adds, bucket, entry) SELECT %1$s, true, bucket, entry FROM (%2$s) c;
            ELSIF TG_OP = 'DELETE' THEN
                INSERT INTO oskol.changes (number, adds, bucket, entry) SELECT %1$s, false, bucket, entry FROM (%3$s) g;
            ELSIF TG_OP = 'UPDATE' THEN
                INSERT INTO oskol.changes (number, adds, bucket, entry)
                    SELECT %1$s, false, bucket, entry FROM (%3$s EXCEPT ALL %2$s) g;
                INSERT INTO oskol.changes (number, adds, bucket, entry)
                    SELECT %1$s, true, bucket, entry FROM (%2$s EXCEPT ALL %3$s) c;
            ELSE
                -- TRUNCATE reaches every shard, and each clears its own entries.
                TRUNCATE oskol.unique_%1$s;
            END IF;
            RETURN NULL;
        END
        $inner$ $outer$, number, come, gone);
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

-- For a row that is in conflict with a new one: `holder_N`, the bucket of the row that has the values of an entry, and
-- `hold_N`, which locks that row, with the caller's own rights, and tells whether it is there. Written anew after
-- every ALTER.
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

-- Begins to keep one unique index; the entries of the rows that are there are noted.
-- `wanted`: its number, on a shard that is to have those of the others.
DROP FUNCTION IF EXISTS oskol.keep_unique_key(oid, oid, int2);
CREATE OR REPLACE FUNCTION oskol.keep_unique_key(kept oid, key_index oid, key int2, wanted int4 DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET allow_system_table_mods = on AS $$
#variable_conflict use_variable
DECLARE
    number int4 := coalesce(wanted, (SELECT coalesce(max(u.number), 0) + 1 FROM oskol.unique_keys u));
    key_type text := (SELECT format_type(a.atttypid, -1) FROM pg_attribute a
        WHERE a.attrelid = kept AND a.attnum = key);
    event record;
    listed record;
BEGIN
    PERFORM oskol.check_unique_key(key_index);
    INSERT INTO oskol.unique_keys VALUES (number, kept, key_index, key);
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
    FOR event IN SELECT * FROM (VALUES ('INSERT', 'REFERENCING NEW TABLE AS come'),
        ('DELETE', 'REFERENCING OLD TABLE AS gone'),
        ('UPDATE', 'REFERENCING OLD TABLE AS gone NEW TABLE AS come'), ('TRUNCATE', '')) AS e (name, tables)
    LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s %s FOR EACH STATEMENT EXECUTE FUNCTION oskol.note_%s()',
            format('oskol_unique_%s_%s', number, lower(event.name)), event.name, kept::regclass, event.tables, number);
    END LOOP;
    -- Not a trigger of the user's: not shown, not dumped, not switched off with the user's own.
    UPDATE pg_trigger t SET tgisinternal = true
        WHERE t.tgrelid = kept AND starts_with(t.tgname, format('oskol_unique_%s_', number));
    EXECUTE format('INSERT INTO oskol.changes (number, adds, bucket, entry) SELECT %s, true, bucket, entry FROM (%s) c',
        number, oskol.unique_key_query(key_index, key, kept::regclass::text));
END
$$;
REVOKE ALL ON FUNCTION oskol.keep_unique_key(oid, oid, int2, int4) FROM PUBLIC;

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
        WHERE i.indrelid = kept.oid AND i.indisunique
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
END
$$;

CREATE EVENT TRIGGER oskol_unique ON sql_drop EXECUTE FUNCTION oskol.on_drop();
-- Foreign keys whose rows are on different shards. On every shard, after unique.sql. Runs again without harm.
--
-- The user's constraint is made on every shard as it is written: it is what tools see, and it has PostgreSQL's own
-- triggers, deferrable or not. Where no shard alone can keep it, those triggers run functions of ours in place of
-- PostgreSQL's: they note in `oskol.key_changes` which rows refer to a parent from now on, and which parents are
-- gone, at the moment at which PostgreSQL would check. The router takes the notes in the same transaction and has
-- the other shards looked at: `parents_N` locks the parents, `children_N` looks for rows that still refer to one,
-- `act_N` carries out CASCADE and its like. Those run as the owner of their table, as PostgreSQL's own do, and
-- only for a router, which proves itself by the shard's token.
DROP EVENT TRIGGER IF EXISTS oskol_references;

CREATE TABLE IF NOT EXISTS oskol.foreign_keys (
    number int4 PRIMARY KEY,
    key oid NOT NULL UNIQUE,
    child oid NOT NULL,
    parent oid NOT NULL,
    -- Where the parent of a child is: 'home', 'key' (by its shard key), 'entry' (by the entry of a unique key), 'all'.
    parent_at text NOT NULL,
    -- Of that unique key.
    entry int4,
    -- Where the children of a parent are: 'home', 'key', 'all'; 'every' shard has all of them.
    child_at text NOT NULL,
    enforced boolean NOT NULL
);
GRANT SELECT ON oskol.foreign_keys TO PUBLIC;

-- Rows live within one transaction only, as those of `oskol.changes`.
CREATE UNLOGGED TABLE IF NOT EXISTS oskol.key_changes (
    sequence int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number int4 NOT NULL,
    -- 'c': a child has come; 'd', 'u': a parent is deleted or has another key.
    kind "char" NOT NULL,
    bucket int4,
    old text[] NOT NULL,
    new text[]
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_analyze_threshold = 2147483647);

-- What this transaction has noted, at most `amount` rows, each value once.
CREATE OR REPLACE FUNCTION oskol.take_key_changes(token text, amount text)
RETURNS TABLE (number int4, kind "char", bucket int4, old text, new text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM oskol.check_router(take_key_changes.token);
    RETURN QUERY WITH taken AS (
        DELETE FROM oskol.key_changes c USING (SELECT o.sequence FROM oskol.key_changes o
            ORDER BY o.sequence LIMIT amount::int8) o
        WHERE c.sequence = o.sequence RETURNING c.*)
        SELECT t.number, t.kind, t.bucket, to_json(t.old)::text, to_json(t.new)::text
        FROM taken t GROUP BY t.number, t.kind, t.bucket, t.old, t.new ORDER BY min(t.sequence);
END
$$;

-- In place of PostgreSQL's own check where there is nothing to do.
CREATE OR REPLACE FUNCTION oskol.pass_key() RETURNS trigger
LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;

-- Waits for transactions that have written to the table and are prepared: what they have done is decided, and about
-- to be seen.
CREATE OR REPLACE FUNCTION oskol.await_prepared(written oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    waiting text[] := (SELECT array_agg(l.virtualtransaction) FROM pg_locks l WHERE l.locktype = 'relation'
        AND l.relation = written AND l.mode = 'RowExclusiveLock' AND l.pid IS NULL
        AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()));
    rounds int4 := 0;
BEGIN
    WHILE waiting IS NOT NULL AND EXISTS (SELECT FROM pg_locks l WHERE l.virtualtransaction = ANY (waiting)) LOOP
        PERFORM pg_sleep(0.001);
        rounds := rounds + 1;
        IF rounds > 30000 THEN
            RAISE EXCEPTION 'a prepared transaction has not ended' USING ERRCODE = '55P03';
        END IF;
    END LOOP;
END
$$;

-- Whether the transaction of a row's xmin was over for a snapshot.
CREATE OR REPLACE FUNCTION oskol.is_seen(made xid, seen pg_snapshot) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_visible_in_snapshot(greatest(CASE WHEN f.made > f.top + 2147483648 THEN f.made - 4294967296
            WHEN f.made < f.top - 2147483648 THEN f.made + 4294967296 ELSE f.made END, 0)::text::xid8, seen)
    FROM (SELECT s.top, (s.top >> 32 << 32) | is_seen.made::text::int8 AS made
        FROM (SELECT pg_snapshot_xmax(seen)::text::int8 AS top) s) f
$$;

-- A type without domains around it, as a cast names it.
CREATE OR REPLACE FUNCTION oskol.plain_type(type oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE below AS (
        SELECT t.oid, t.typbasetype FROM pg_type t WHERE t.oid = type
        UNION ALL SELECT t.oid, t.typbasetype FROM below b JOIN pg_type t ON t.oid = b.typbasetype)
    SELECT format_type(b.oid, -1) FROM below b WHERE b.typbasetype = 0
$$;

-- The columns of a foreign key, pair by pair.
CREATE OR REPLACE FUNCTION oskol.foreign_key_columns(key oid)
RETURNS TABLE (ordinal int4, child name, parent name, child_number int2, parent_number int2,
    child_type text, parent_type text, operator text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT o.ordinal, c.attname, p.attname, c.attnum, p.attnum, oskol.plain_type(c.atttypid),
        oskol.plain_type(p.atttypid), format('OPERATOR(%I.%s)', n.nspname, q.oprname)
    FROM pg_constraint k, generate_series(1, array_length(k.conkey, 1)) AS o (ordinal),
    pg_attribute c, pg_attribute p, pg_operator q, pg_namespace n
    WHERE k.oid = key AND c.attrelid = k.conrelid AND c.attnum = k.conkey[o.ordinal]
    AND p.attrelid = k.confrelid AND p.attnum = k.confkey[o.ordinal]
    AND q.oid = k.conpfeqop[o.ordinal] AND n.oid = q.oprnamespace ORDER BY o.ordinal
$$;

-- Types whose values hash alike.
CREATE OR REPLACE FUNCTION oskol.hash_family(type text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN type IN ('smallint', 'integer', 'bigint') THEN 'integer'
        WHEN type IN ('text', 'character varying') THEN 'text' ELSE type END
$$;

-- The names that PostgreSQL's own messages have.
CREATE OR REPLACE FUNCTION oskol.raise_key(key oid, message text, detail text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    told record;
BEGIN
    SELECT n.nspname, c.relname, k.conname INTO told FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE k.oid = key;
    RAISE EXCEPTION USING ERRCODE = '23503', MESSAGE = message, DETAIL = detail, SCHEMA = told.nspname,
        TABLE = told.relname, CONSTRAINT = told.conname;
END
$$;

-- Whether the caller may be told of values of these columns.
CREATE OR REPLACE FUNCTION oskol.may_read(relation oid, columns int2[]) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT NOT c.relrowsecurity AND (has_table_privilege(who.caller, c.oid, 'SELECT')
        OR (SELECT bool_and(has_column_privilege(who.caller, c.oid, number, 'SELECT')) FROM unnest(columns) number))
    FROM pg_class c, (SELECT coalesce(nullif(current_setting('role'), 'none'), session_user)::name AS caller) who
    WHERE c.oid = relation
$$;

-- No parent has these values (a JSON array).
CREATE OR REPLACE FUNCTION oskol.raise_missing(missing int4, given json) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kept pg_constraint;
    told record;
BEGIN
    SELECT k.* INTO kept FROM oskol.foreign_keys f JOIN pg_constraint k ON k.oid = f.key WHERE f.number = missing;
    SELECT string_agg(c.child, ', ' ORDER BY c.ordinal) AS columns,
        string_agg(given->>(c.ordinal - 1), ', ' ORDER BY c.ordinal) AS content INTO told
        FROM oskol.foreign_key_columns(kept.oid) c;
    PERFORM oskol.raise_key(kept.oid, format('insert or update on table "%s" violates foreign key constraint "%s"',
            (SELECT c.relname FROM pg_class c WHERE c.oid = kept.conrelid), kept.conname),
        format(CASE WHEN oskol.may_read(kept.conrelid, kept.conkey) THEN 'Key (%s)=(%s) is not present in table "%s".'
            ELSE 'Key is not present in table "%3$s".' END, told.columns, told.content,
            (SELECT c.relname FROM pg_class c WHERE c.oid = kept.confrelid)));
END
$$;

-- Children still have these values.
CREATE OR REPLACE FUNCTION oskol.raise_referenced(referenced int4, given json) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kept pg_constraint;
    told record;
    child name;
BEGIN
    SELECT k.* INTO kept FROM oskol.foreign_keys f JOIN pg_constraint k ON k.oid = f.key WHERE f.number = referenced;
    child := (SELECT c.relname FROM pg_class c WHERE c.oid = kept.conrelid);
    SELECT string_agg(c.parent, ', ' ORDER BY c.ordinal) AS columns,
        string_agg(given->>(c.ordinal - 1), ', ' ORDER BY c.ordinal) AS content INTO told
        FROM oskol.foreign_key_columns(kept.oid) c;
    PERFORM oskol.raise_key(kept.oid, format(
            'update or delete on table "%s" violates foreign key constraint "%s" on table "%s"',
            (SELECT c.relname FROM pg_class c WHERE c.oid = kept.confrelid), kept.conname, child),
        format(CASE WHEN oskol.may_read(kept.confrelid, kept.confkey)
            THEN 'Key (%s)=(%s) is still referenced from table "%s".'
            ELSE 'Key is still referenced from table "%3$s".' END, told.columns, told.content, child));
END
$$;

-- The bucket of the row that `columns` of `source` (OLD or NEW) refer to, as an expression; NULL where it is told by
-- nothing.
CREATE OR REPLACE FUNCTION oskol.bucket_of(source text, columns name[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN cardinality(columns) > 0 THEN format('(hash_record_extended(ROW(%s), 0) & 4095)::int4',
        (SELECT string_agg(format('%s.%I', source, c.name), ', ' ORDER BY c.at)
            FROM unnest(columns) WITH ORDINALITY AS c (name, at))) ELSE 'NULL::int4' END
$$;

-- The trigger functions of a foreign key. `parent_bucket`: the child's columns, `child_bucket`: the parent's columns
-- that tell the other's bucket, or NULL.
CREATE OR REPLACE FUNCTION oskol.write_key_notes(number int4, key oid, parent_bucket name[], child_bucket name[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    kept pg_constraint;
    listed record;
    settings text := 'SET search_path = pg_catalog, pg_temp SET datestyle = ''ISO, YMD'' '
        'SET intervalstyle = ''postgres'' SET bytea_output = ''hex'' SET extra_float_digits = 1';
BEGIN
    SELECT * INTO kept FROM pg_constraint k WHERE k.oid = key;
    SELECT string_agg(format('NEW.%I', c.child), ', ' ORDER BY c.ordinal) AS child_new,
        string_agg(format('OLD.%I', c.child), ', ' ORDER BY c.ordinal) AS child_old,
        string_agg(format('NEW.%I::text', c.child), ', ' ORDER BY c.ordinal) AS child_texts,
        string_agg(format('NEW.%I IS NULL', c.child), ' OR ' ORDER BY c.ordinal) AS child_null,
        string_agg(format('NEW.%I IS NULL', c.child), ' AND ' ORDER BY c.ordinal) AS child_nulls,
        string_agg(format('NEW.%I', c.parent), ', ' ORDER BY c.ordinal) AS parent_new,
        string_agg(format('OLD.%I', c.parent), ', ' ORDER BY c.ordinal) AS parent_old,
        string_agg(format('NEW.%I::text', c.parent), ', ' ORDER BY c.ordinal) AS new_texts,
        string_agg(format('OLD.%I::text', c.parent), ', ' ORDER BY c.ordinal) AS old_texts,
        string_agg(format('OLD.%I IS NULL', c.parent), ' OR ' ORDER BY c.ordinal) AS parent_null
        INTO listed FROM oskol.foreign_key_columns(key) c;
    EXECUTE format($outer$
        CREATE OR REPLACE FUNCTION oskol.refer_%1$s() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER %2$s AS $inner$
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                IF record_image_eq(ROW(%3$s), ROW(%4$s)) THEN
                    RETURN NULL;
                END IF;
            END IF;
            IF %5$s THEN
                IF %6$L = 'f' AND NOT (%7$s) THEN
                    PERFORM oskol.raise_key(%8$s::oid,
                        format('insert or update on table "%%s" violates foreign key constraint "%%s"', TG_TABLE_NAME,
                            (SELECT k.conname FROM pg_constraint k WHERE k.oid = %8$s::oid)),
                        'MATCH FULL does not allow mixing of null and nonnull key values.');
                END IF;
                RETURN NULL;
            END IF;
            INSERT INTO oskol.key_changes (number, kind, bucket, old) VALUES (%1$s, 'c', %9$s, ARRAY[%10$s]);
            RETURN NULL;
        END
        $inner$ $outer$, number, settings, listed.child_old, listed.child_new, listed.child_null, kept.confmatchtype,
        listed.child_nulls, key, oskol.bucket_of('NEW', parent_bucket), listed.child_texts);
    EXECUTE format($outer$
        CREATE OR REPLACE FUNCTION oskol.leave_%1$s() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER %2$s AS $inner$
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                IF record_image_eq(ROW(%3$s), ROW(%4$s)) OR %5$s THEN
                    RETURN NULL;
                END IF;
                INSERT INTO oskol.key_changes (number, kind, bucket, old, new)
                    VALUES (%1$s, 'u', %6$s, ARRAY[%7$s], ARRAY[%8$s]);
            ELSIF NOT (%5$s) THEN
                INSERT INTO oskol.key_changes (number, kind, bucket, old) VALUES (%1$s, 'd', %6$s, ARRAY[%7$s]);
            END IF;
            RETURN NULL;
        END
        $inner$ $outer$, number, settings, listed.parent_old, listed.parent_new, listed.parent_null,
        oskol.bucket_of('OLD', child_bucket), listed.old_texts, listed.new_texts);
    -- Of the parent of given values.
    EXECUTE format($outer$
        CREATE OR REPLACE FUNCTION oskol.parent_bucket_%1$s(v json) RETURNS int4
        LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD'
        SET intervalstyle = 'postgres' AS $inner$ SELECT %2$s $inner$ $outer$, number,
        (SELECT coalesce('(hash_record_extended(ROW(' || string_agg(format('(v->>%s)::%s', c.ordinal - 1, c.child_type),
                ', ' ORDER BY b.at) || '), 0) & 4095)::int4', 'NULL::int4')
            FROM unnest(parent_bucket) WITH ORDINALITY AS b (name, at)
            JOIN oskol.foreign_key_columns(key) c ON c.child = b.name));
END
$$;
REVOKE ALL ON FUNCTION oskol.write_key_notes(int4, oid, name[], name[]) FROM PUBLIC;

-- What the router calls for a foreign key. `keys` and `news` are JSON arrays of JSON arrays of texts; positions in
-- them are told from 0.
CREATE OR REPLACE FUNCTION oskol.write_key_calls(number int4, key oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    kept pg_constraint;
    listed record;
    settings text := 'SET search_path = pg_catalog, pg_temp SET datestyle = ''ISO, YMD'' '
        'SET intervalstyle = ''postgres'' SET enable_hashjoin = off SET enable_mergejoin = off';
    listing text := 'ROWS FROM (json_array_elements($1)) WITH ORDINALITY AS k (v, at)';
    pairs text := 'ROWS FROM (json_array_elements($1), json_array_elements($2)) WITH ORDINALITY AS k (v, n, at)';
    written record;
    set_null text;
    set_default text;
BEGIN
    SELECT * INTO kept FROM pg_constraint k WHERE k.oid = key;
    SELECT string_agg(format('x.%I %s (k.v->>%s)::%s', c.parent, c.operator, c.ordinal - 1, c.child_type), ' AND ')
            AS parents,
        string_agg(format('(k.v->>%s)::%s %s x.%I', c.ordinal - 1, c.parent_type, c.operator, c.child), ' AND ')
            AS children,
        string_agg(format('x.%I = (k.v->>%s)::%s', c.child, c.ordinal - 1, c.child_type), ' AND ') AS own,
        string_agg(format('x.%I::text', c.child), ', ' ORDER BY c.ordinal) AS texts,
        string_agg(format('x.%I IS NOT NULL', c.child), ' AND ') AS present,
        string_agg(format('%I = (k.n->>%s)::%s', c.child, c.ordinal - 1, c.parent_type), ', ') AS carried
        INTO listed FROM oskol.foreign_key_columns(key) c;
    SELECT string_agg(format('%I = NULL', a.attname), ', '), string_agg(format('%I = DEFAULT', a.attname), ', ')
        INTO set_null, set_default FROM pg_attribute a WHERE a.attrelid = kept.conrelid
        AND a.attnum = ANY (coalesce(kept.confdelsetcols, kept.conkey));
    FOR written IN SELECT * FROM (VALUES
        -- Positions of keys that no parent has; the parents of the others are locked.
        ('parents', 'keys json', 'SETOF int8', format($body$
            RETURN QUERY EXECUTE format('WITH locked AS MATERIALIZED (SELECT k.at FROM %1$s JOIN ONLY %%s x ON %2$s
                ORDER BY k.v::text FOR KEY SHARE OF x)
                SELECT k.at - 1 FROM %1$s WHERE k.at NOT IN (SELECT l.at FROM locked l)', %3$s::oid::regclass) USING keys;
            $body$, listing, replace(listed.parents, '%', '%%'), kept.confrelid), kept.confrelid),
        -- Positions of keys that children refer to.
        ('children', 'keys json', 'SETOF int8', format($body$
            PERFORM oskol.await_prepared(%3$s);
            RETURN QUERY EXECUTE format('SELECT k.at - 1 FROM %1$s WHERE EXISTS (SELECT FROM ONLY %%s x WHERE %2$s)',
                %3$s::oid::regclass) USING keys;
            $body$, listing, replace(listed.children, '%', '%%'), kept.conrelid), kept.conrelid),
        -- Whether a child refers to one of the keys that a snapshot of before does not see.
        ('newer', 'keys json, seen text', 'boolean', format($body$
            DECLARE
                found_any boolean;
            BEGIN
                PERFORM oskol.await_prepared(%3$s);
                EXECUTE format('SELECT EXISTS (SELECT FROM %1$s JOIN ONLY %%s x ON %2$s
                    WHERE NOT oskol.is_seen(x.xmin, $2::pg_snapshot))', %3$s::oid::regclass)
                    INTO found_any USING keys, seen;
                RETURN found_any;
            END;
            $body$, listing, replace(listed.children, '%', '%%'), kept.conrelid), kept.conrelid),
        -- Carries out ON DELETE ('d') or ON UPDATE ('u'); gives the number of rows.
        ('act', 'kind text, keys json, news json', 'int8', format($body$
            DECLARE
                acted int8;
                action "char" := (SELECT CASE kind WHEN 'd' THEN k.confdeltype ELSE k.confupdtype END
                    FROM pg_constraint k WHERE k.oid = %1$s::oid);
                changed text;
            BEGIN
                PERFORM oskol.check_router(token);
                PERFORM oskol.await_prepared(%2$s);
                IF action = 'c' AND kind = 'd' THEN
                    EXECUTE format('DELETE FROM ONLY %%s x USING %3$s WHERE %4$s', %2$s::oid::regclass)
                        USING keys, news;
                ELSE
                    changed := CASE WHEN action = 'c' THEN %5$L WHEN action = 'n' THEN
                        CASE kind WHEN 'd' THEN %6$L ELSE %7$L END
                        ELSE CASE kind WHEN 'd' THEN %8$L ELSE %9$L END END;
                    EXECUTE format('UPDATE ONLY %%s x SET %%s FROM %3$s WHERE %4$s', %2$s::oid::regclass, changed)
                        USING keys, news;
                END IF;
                GET DIAGNOSTICS acted = ROW_COUNT;
                RETURN acted;
            END;
            $body$, key, kept.conrelid, pairs, replace(listed.children, '%', '%%'), listed.carried, set_null,
            (SELECT string_agg(format('%I = NULL', c.child), ', ') FROM oskol.foreign_key_columns(key) c), set_default,
            (SELECT string_agg(format('%I = DEFAULT', c.child), ', ') FROM oskol.foreign_key_columns(key) c)),
            kept.conrelid),
        -- Positions of keys that rows of the child have, in this transaction's eyes.
        ('referring', 'keys json', 'SETOF int8', format($body$
            RETURN QUERY EXECUTE format('SELECT k.at - 1 FROM %1$s WHERE EXISTS (SELECT FROM ONLY %%s x WHERE %2$s)',
                %3$s::oid::regclass) USING keys;
            $body$, listing, replace(listed.own, '%', '%%'), kept.conrelid), kept.conrelid)
        ) AS f (name, arguments, result, body, relation)
    LOOP
        EXECUTE format($outer$
            CREATE OR REPLACE FUNCTION oskol.%1$s_%2$s(token text, %3$s) RETURNS %4$s
            LANGUAGE plpgsql SECURITY DEFINER %5$s AS $inner$
            BEGIN
                %6$s
            END
            $inner$ $outer$, written.name, number, written.arguments, written.result, settings,
            CASE WHEN written.name = 'act' THEN written.body
                ELSE 'PERFORM oskol.check_router(token);' || written.body END);
        EXECUTE format('ALTER FUNCTION oskol.%I OWNER TO %I', format('%s_%s', written.name, number),
            (SELECT pg_get_userbyid(c.relowner) FROM pg_class c WHERE c.oid = written.relation));
    END LOOP;
    -- The values that the rows of the child have, for whoever may read them.
    EXECUTE format($outer$
        CREATE OR REPLACE FUNCTION oskol.child_keys_%1$s() RETURNS SETOF text
        LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD'
        SET intervalstyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 AS $inner$
        BEGIN
            RETURN QUERY EXECUTE format('SELECT DISTINCT to_json(ARRAY[%2$s])::text FROM ONLY %%s x WHERE %3$s',
                %4$s::oid::regclass);
        END
        $inner$ $outer$, number, replace(listed.texts, '%', '%%'), replace(listed.present, '%', '%%'), kept.conrelid);
END
$$;
REVOKE ALL ON FUNCTION oskol.write_key_calls(int4, oid) FROM PUBLIC;

-- Positions of keys with the bucket of the parent that has them, by the entries of the unique key `entry`.
CREATE OR REPLACE FUNCTION oskol.write_holders(number int4, key oid, entry int4) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    matched text;
BEGIN
    SELECT string_agg(format('u.v%s %s (k.v->>%s)::%s', i.at, c.operator, c.ordinal - 1, c.child_type), ' AND ')
        INTO matched FROM oskol.foreign_key_columns(key) c
        JOIN (SELECT o.at, x.indkey[o.at - 1] AS attribute FROM pg_index x JOIN oskol.unique_keys u
                ON u.index = x.indexrelid, generate_series(1, x.indnkeyatts::int4) AS o (at)
            WHERE u.number = entry) i ON i.attribute = c.parent_number;
    EXECUTE format($outer$
        CREATE OR REPLACE FUNCTION oskol.holders_%1$s(token text, keys json) RETURNS TABLE (at int8, bucket int4)
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD'
        SET intervalstyle = 'postgres' SET enable_hashjoin = off SET enable_mergejoin = off AS $inner$
        BEGIN
            PERFORM oskol.check_router(token);
            RETURN QUERY SELECT k.at - 1, (hash_record_extended(ROW(u.key), 0) & 4095)::int4
                FROM ROWS FROM (json_array_elements(keys)) WITH ORDINALITY AS k (v, at)
                JOIN oskol.unique_%2$s u ON %3$s;
        END
        $inner$ $outer$, number, entry, matched);
END
$$;
REVOKE ALL ON FUNCTION oskol.write_holders(int4, oid, int4) FROM PUBLIC;

-- The function that PostgreSQL itself has for a trigger of a foreign key.
CREATE OR REPLACE FUNCTION oskol.own_key_function(kind text, event int2, action "char") RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ('"RI_FKey_' || CASE WHEN kind = 'c' THEN 'check' ELSE CASE action WHEN 'a' THEN 'noaction'
        WHEN 'r' THEN 'restrict' WHEN 'c' THEN 'cascade' WHEN 'n' THEN 'setnull' ELSE 'setdefault' END END
        || CASE WHEN event & 4 <> 0 THEN '_ins' WHEN event & 8 <> 0 THEN '_del' ELSE '_upd' END || '"')::regproc::oid
$$;

-- Has the triggers of a foreign key run `how`: 'kept' the functions of `number`, 'own' PostgreSQL's, 'none' nothing.
CREATE OR REPLACE FUNCTION oskol.switch_key(key oid, how text, number int4) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET allow_system_table_mods = on AS $$
#variable_conflict use_variable
DECLARE
    kept pg_constraint;
BEGIN
    SELECT * INTO kept FROM pg_constraint k WHERE k.oid = key;
    -- `RI_ConstraintTrigger_c_...` is of the child, `_a_` of the parent.
    UPDATE pg_trigger t SET tgfoid = CASE how
            WHEN 'none' THEN 'oskol.pass_key()'::regprocedure::oid
            WHEN 'own' THEN oskol.own_key_function(substr(t.tgname, 22, 1), t.tgtype,
                CASE WHEN t.tgtype & 8 <> 0 THEN kept.confdeltype ELSE kept.confupdtype END)
            ELSE format('oskol.%s_%s()', CASE WHEN substr(t.tgname, 22, 1) = 'c' THEN 'refer' ELSE 'leave' END,
                number)::regprocedure::oid END,
        -- ALTER CONSTRAINT changes those that run PostgreSQL's functions only.
        tgdeferrable = CASE WHEN t.tgdeferrable OR substr(t.tgname, 22, 1) = 'c'
            OR CASE WHEN t.tgtype & 8 <> 0 THEN kept.confdeltype ELSE kept.confupdtype END = 'a'
            THEN kept.condeferrable ELSE false END,
        tginitdeferred = CASE WHEN substr(t.tgname, 22, 1) = 'c'
            OR CASE WHEN t.tgtype & 8 <> 0 THEN kept.confdeltype ELSE kept.confupdtype END = 'a'
            THEN kept.condeferred ELSE false END
        WHERE t.tgconstraint = key;
    -- Every session reads the tables' triggers anew.
    UPDATE pg_class c SET relhastriggers = true WHERE c.oid IN (kept.conrelid, kept.confrelid);
END
$$;
REVOKE ALL ON FUNCTION oskol.switch_key(oid, text, int4) FROM PUBLIC;

CREATE OR REPLACE FUNCTION oskol.drop_foreign_key(gone int4) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM oskol.foreign_keys f WHERE f.number = gone;
    EXECUTE (SELECT coalesce(string_agg(format('DROP FUNCTION %s', p.oid::regprocedure), ';'), '')
        FROM pg_proc p WHERE p.pronamespace = 'oskol'::regnamespace
        AND p.proname IN ('refer_' || gone, 'leave_' || gone, 'parents_' || gone, 'children_' || gone,
            'act_' || gone, 'newer_' || gone, 'referring_' || gone, 'child_keys_' || gone, 'holders_' || gone,
            'parent_bucket_' || gone));
END
$$;
REVOKE ALL ON FUNCTION oskol.drop_foreign_key(int4) FROM PUBLIC;

CREATE OR REPLACE FUNCTION oskol.forget_foreign_keys() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM oskol.drop_foreign_key(f.number) FROM oskol.foreign_keys f
        WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.oid = f.key AND k.conrelid = f.child);
END
$$;
REVOKE ALL ON FUNCTION oskol.forget_foreign_keys() FROM PUBLIC;

-- How one foreign key is kept, by where its tables are: a row of `places` is [schema, name, placement, shard key].
CREATE OR REPLACE FUNCTION oskol.keep_foreign_key(kept pg_constraint, places json, enforced boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    child record;
    parent record;
    entry int4;
    parent_at text;
    child_at text;
    parent_bucket name[];
    child_bucket name[];
    known int4 := (SELECT f.number FROM oskol.foreign_keys f WHERE f.key = kept.oid);
    number int4;
BEGIN
    SELECT coalesce(p->>2, 'local') AS placement, p->>3 AS key INTO child FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN json_array_elements(places) p ON p->>0 = n.nspname AND p->>1 = c.relname WHERE c.oid = kept.conrelid;
    SELECT coalesce(p->>2, 'local') AS placement, p->>3 AS key INTO parent FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN json_array_elements(places) p ON p->>0 = n.nspname AND p->>1 = c.relname WHERE c.oid = kept.confrelid;
    -- Columns that tell the other's bucket.
    parent_bucket := (SELECT array_agg(c.child) FROM oskol.foreign_key_columns(kept.oid) c WHERE c.parent = parent.key
        AND oskol.hash_family(c.child_type) = oskol.hash_family(c.parent_type));
    child_bucket := (SELECT array_agg(c.parent) FROM oskol.foreign_key_columns(kept.oid) c WHERE c.child = child.key
        AND oskol.hash_family(c.child_type) = oskol.hash_family(c.parent_type));
    IF enforced AND (parent.placement = 'reference' OR child.placement = 'local' AND parent.placement = 'local'
        OR child.placement = 'sharded' AND parent.placement = 'sharded' AND EXISTS (
            SELECT FROM oskol.foreign_key_columns(kept.oid) c WHERE c.child = child.key AND c.parent = parent.key
            AND oskol.hash_family(c.child_type) = oskol.hash_family(c.parent_type)))
    THEN
        IF EXISTS (SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
            WHERE t.tgconstraint = kept.oid AND p.pronamespace = 'oskol'::regnamespace)
        THEN
            PERFORM oskol.switch_key(kept.oid, 'own', NULL);
        END IF;
        PERFORM oskol.drop_foreign_key(known) WHERE known IS NOT NULL;
        RETURN;
    END IF;
    parent_at := 'home';
    IF parent.placement = 'sharded' THEN
        parent_at := 'key';
        IF parent_bucket IS NULL THEN
            SELECT u.number, (SELECT array_agg(c.child ORDER BY o.at) FROM pg_index x,
                    generate_series(1, x.indnkeyatts::int4) AS o (at), oskol.foreign_key_columns(kept.oid) c
                    WHERE x.indexrelid = u.index AND c.parent_number = x.indkey[o.at - 1])
                INTO entry, parent_bucket FROM oskol.unique_keys u WHERE u.index = kept.conindid
                AND NOT EXISTS (SELECT FROM oskol.foreign_key_columns(kept.oid) c JOIN pg_attribute a
                    ON a.attrelid = kept.confrelid AND a.attnum = c.parent_number JOIN pg_type t ON t.oid = a.atttypid
                    WHERE t.typtype = 'e' OR oskol.hash_family(c.child_type) <> oskol.hash_family(c.parent_type));
            parent_at := CASE WHEN entry IS NULL THEN 'all' ELSE 'entry' END;
        END IF;
    ELSE
        parent_bucket := NULL;
    END IF;
    child_at := CASE child.placement WHEN 'local' THEN 'home' WHEN 'reference' THEN 'every'
        ELSE CASE WHEN child_bucket IS NULL THEN 'all' ELSE 'key' END END;
    IF child.placement <> 'sharded' THEN
        child_bucket := NULL;
    END IF;
    number := coalesce(known, (SELECT coalesce(max(f.number), 0) + 1 FROM oskol.foreign_keys f));
    INSERT INTO oskol.foreign_keys AS f VALUES (number, kept.oid, kept.conrelid, kept.confrelid, parent_at, entry,
            child_at, enforced)
        ON CONFLICT ON CONSTRAINT foreign_keys_pkey DO UPDATE SET parent_at = excluded.parent_at,
            entry = excluded.entry, child_at = excluded.child_at, enforced = excluded.enforced;
    IF NOT enforced THEN
        PERFORM oskol.switch_key(kept.oid, 'none', NULL);
        RETURN;
    END IF;
    PERFORM oskol.write_key_notes(number, kept.oid, parent_bucket, child_bucket);
    PERFORM oskol.write_key_calls(number, kept.oid);
    IF parent_at = 'entry' THEN
        PERFORM oskol.write_holders(number, kept.oid, entry);
    END IF;
    PERFORM oskol.switch_key(kept.oid, 'kept', number);
END
$$;
REVOKE ALL ON FUNCTION oskol.keep_foreign_key(pg_constraint, json, boolean) FROM PUBLIC;

-- Sees to it that all foreign keys of a table and to it are kept as `places` says. The caller must own it.
CREATE OR REPLACE FUNCTION oskol.keep_foreign_keys(schema text, name text, places json) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
    placed pg_class;
    kept pg_constraint;
BEGIN
    SELECT c.* INTO placed FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = schema AND c.relname = name;
    IF NOT FOUND OR NOT pg_has_role(caller, placed.relowner, 'MEMBER') THEN
        RETURN;
    END IF;
    PERFORM oskol.forget_foreign_keys();
    FOR kept IN SELECT k.* FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        JOIN pg_class p ON p.oid = k.confrelid
        WHERE k.contype = 'f' AND placed.oid IN (k.conrelid, k.confrelid) AND k.conparentid = 0
        AND c.relkind = 'r' AND p.relkind = 'r' AND NOT c.relispartition AND NOT p.relispartition
        ORDER BY k.oid
    LOOP
        PERFORM oskol.keep_foreign_key(kept, places,
            coalesce((SELECT f.enforced FROM oskol.foreign_keys f WHERE f.key = kept.oid), true));
    END LOOP;
END
$$;

-- A table whose rows are about to be placed anew: no foreign key looks at that. The caller must own it.
CREATE OR REPLACE FUNCTION oskol.leave_foreign_keys(schema text, name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    PERFORM oskol.switch_key(k.oid, 'none', NULL) FROM pg_constraint k JOIN pg_class c ON c.oid IN (k.conrelid, k.confrelid)
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE k.contype = 'f' AND k.conparentid = 0 AND n.nspname = schema AND c.relname = name
        AND pg_has_role(caller, c.relowner, 'MEMBER');
END
$$;

-- All rows of the child have been looked at. The caller must own the table.
CREATE OR REPLACE FUNCTION oskol.key_is_valid(valid int4) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET allow_system_table_mods = on AS $$
DECLARE
    caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    UPDATE pg_constraint k SET convalidated = true FROM oskol.foreign_keys f, pg_class c
        WHERE f.number = valid AND k.oid = f.key AND c.oid = f.child AND pg_has_role(caller, c.relowner, 'MEMBER');
END
$$;

CREATE OR REPLACE FUNCTION oskol.on_key_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM oskol.foreign_keys f WHERE NOT EXISTS
        (SELECT FROM pg_constraint k WHERE k.oid = f.key)) THEN
        PERFORM oskol.forget_foreign_keys();
    END IF;
END
$$;

CREATE EVENT TRIGGER oskol_references ON sql_drop EXECUTE FUNCTION oskol.on_key_drop();
-- What moving buckets needs on every shard. Runs again without harm.

-- Rows of buckets that are being copied away and that have changed since the copy: made by triggers, in the
-- transaction of the change. Which row: its primary key, else its shard key, as text.
CREATE TABLE IF NOT EXISTS oskol.move_log (
    sequence int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation text NOT NULL,
    identity text[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- The triggers follow and fence one table each: `oskol.on_move_<oid of the table>`. Not the user's: not shown, not dumped.
CREATE OR REPLACE FUNCTION oskol.follow(followed regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET allow_system_table_mods = on AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = followed AND t.tgname = 'oskol_move') THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TRIGGER oskol_move AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW '
        'EXECUTE FUNCTION oskol.on_move_%s()', followed, followed::oid);
    UPDATE pg_trigger t SET tgisinternal = true WHERE t.tgname = 'oskol_move' AND NOT t.tgisinternal
        AND t.tgfoid = format('oskol.on_move_%s()', followed::oid)::regprocedure;
END
$$;
REVOKE ALL ON FUNCTION oskol.follow(regclass) FROM PUBLIC;

-- A row of a bucket that has moved away, written by a router that has not heard of it.
CREATE OR REPLACE FUNCTION oskol.refuse_moved() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the row belongs to another shard now' USING ERRCODE = 'OSK01',
        HINT = 'Run the transaction again.';
END
$$;

-- Takes the trigger that follows or fences a table away.
CREATE OR REPLACE FUNCTION oskol.unfollow(followed oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
BEGIN
    EXECUTE format('DROP FUNCTION IF EXISTS oskol.on_move_%s() CASCADE', followed);
END
$$;
REVOKE ALL ON FUNCTION oskol.unfollow(oid) FROM PUBLIC;

-- It names columns as they were.
CREATE OR REPLACE FUNCTION oskol.on_alter() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM oskol.unfollow(c.objid) FROM pg_event_trigger_ddl_commands() c
        WHERE c.classid = 'pg_class'::regclass
        AND to_regprocedure(format('oskol.on_move_%s()', c.objid)) IS NOT NULL;
END
$$;
DROP EVENT TRIGGER IF EXISTS oskol_follow;
CREATE EVENT TRIGGER oskol_follow ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION oskol.on_alter();
-- What the router reads of a database, as JSON documents of flat arrays that are put together in
-- schema/src. Functions with a search path of their own print names alike for every caller; they run
-- with the caller's rights, inside the caller's transaction. On every shard. Runs again without harm.

CREATE OR REPLACE FUNCTION oskol.snapshot() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
RETURN (
WITH space AS MATERIALIZED (
    SELECT n.oid, n.nspname FROM pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
), relation AS MATERIALIZED (
    SELECT c.oid, c.relnamespace, c.relname, c.relkind, c.relrowsecurity, c.relhastriggers
    FROM pg_class c JOIN space n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'i', 'I', 'c')
), bytewise AS MATERIALIZED (
    -- 100 is the database's default collation. The C library's C.UTF-8 sorts by code point, which in UTF-8
    -- (encoding 6) is the order of the bytes.
    SELECT l.oid FROM pg_collation l, pg_database d WHERE d.datname = current_database()
    AND CASE WHEN l.oid = 100 THEN d.datlocprovider = 'c' AND (d.datcollate IN ('C', 'POSIX')
            OR d.encoding = 6 AND lower(d.datcollate) IN ('c.utf-8', 'c.utf8'))
        ELSE l.collprovider = 'c' AND (l.collcollate IN ('C', 'POSIX')
            OR d.encoding = 6 AND lower(l.collcollate) IN ('c.utf-8', 'c.utf8')) END
), default_sequences AS MATERIALIZED (
    SELECT d.objid, min(d.refobjid) AS sequence FROM pg_depend d JOIN relation r ON r.oid = d.refobjid
    WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
    AND r.relkind = 'S' GROUP BY d.objid
), trees AS MATERIALIZED (
    SELECT d.adrelid, d.adnum, d.adbin, d.adbin::text AS tree, s.sequence
    FROM relation r JOIN pg_attrdef d ON d.adrelid = r.oid
    LEFT JOIN default_sequences s ON s.objid = d.oid
), defaults AS MATERIALIZED (
    SELECT t.adrelid, t.adnum, t.sequence, pg_get_expr(t.adbin, t.adrelid) AS expression,
        CASE WHEN t.sequence IS NOT NULL THEN true
        WHEN starts_with(t.tree, '{CONST ') THEN false
        -- Forms that call functions without naming them.
        WHEN t.tree ~ '\{(SQLVALUEFUNCTION|NEXTVALUEEXPR|COERCEVIAIO) ' THEN true
        ELSE EXISTS (SELECT FROM regexp_matches(t.tree, ':(?:op)?funcid (\d+)', 'g') AS called (id)
            JOIN pg_proc p ON p.oid = called.id[1]::oid WHERE p.provolatile <> 'i')
        END AS volatile
    FROM trees t
)
SELECT json_build_object(
'epoch', (SELECT m.epoch FROM oskol.meta m),
'schemas', (SELECT coalesce(json_agg(n.nspname), '[]') FROM space n),
'rules', CASE WHEN to_regclass('oskol.rules') IS NULL THEN '[]' ELSE oskol.rules_document() END,
'relations', (SELECT coalesce(json_agg(json_build_array(r.oid::int8, n.nspname, r.relname, r.relkind,
        r.relrowsecurity, r.relhastriggers AND EXISTS (
            SELECT FROM pg_trigger t WHERE t.tgrelid = r.oid AND NOT t.tgisinternal))), '[]')
    FROM relation r JOIN space n ON n.oid = r.relnamespace),
'columns', (SELECT coalesce(json_agg(json_build_array(a.attrelid::int8, a.attnum, a.attname,
        a.atttypid::int8, a.atttypmod, a.attnotnull, a.attcollation = 0 OR b.oid IS NOT NULL,
        coalesce(l.collisdeterministic, true),
        a.attidentity, a.attgenerated, d.expression, coalesce(d.volatile, false),
        d.sequence::int8, format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attcollation <> t.typcollation THEN ln.nspname END,
        CASE WHEN a.attcollation <> t.typcollation THEN l.collname END) ORDER BY a.attrelid, a.attnum), '[]')
    FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN bytewise b ON b.oid = a.attcollation
    LEFT JOIN pg_collation l ON l.oid = a.attcollation
    LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
    LEFT JOIN defaults d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')),
'keys', (SELECT coalesce(json_agg(json_build_array(i.indrelid::int8, c.relname, i.indisprimary,
        i.indisexclusion, i.indpred IS NOT NULL, (i.indkey::int2[])[0:i.indnkeyatts - 1], u.number,
        CASE WHEN u.number IS NOT NULL THEN (SELECT string_agg(pg_get_indexdef(i.indexrelid, o, true), ', ')
            FROM generate_series(1, i.indnkeyatts::int4) o) END)), '[]')
    FROM relation r JOIN pg_index i ON i.indrelid = r.oid JOIN pg_class c ON c.oid = i.indexrelid
    LEFT JOIN oskol.unique_keys u ON u.index = i.indexrelid
    WHERE i.indisunique OR i.indisexclusion),
'foreign_keys', (SELECT coalesce(json_agg(json_build_array(k.conrelid::int8, k.conname, k.conkey,
        k.confrelid::int8, k.confkey, k.confdeltype, k.confupdtype, k.condeferrable,
        f.number, f.parent_at, f.entry, f.child_at)), '[]')
    FROM relation r JOIN pg_constraint k ON k.conrelid = r.oid AND k.contype = 'f'
    LEFT JOIN oskol.foreign_keys f ON f.key = k.oid AND f.enforced),
'parents', (SELECT coalesce(json_agg(json_build_array(i.inhrelid::int8, i.inhparent::int8)), '[]')
    FROM relation r JOIN pg_inherits i ON i.inhrelid = r.oid WHERE r.relkind IN ('r', 'p', 'f')),
-- By which column a sequence is owned: 'a' serial, 'i' identity.
'owners', (SELECT coalesce(json_agg(json_build_array(d.objid::int8, d.refobjid::int8, d.refobjsubid,
        d.deptype)), '[]')
    FROM relation r JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
    WHERE r.relkind = 'S'),
-- Whether a view reads a relation whose oid is below 16384, its text, and the options that decide with
-- whose rights and in which order it filters.
'views', (SELECT coalesce(json_agg(json_build_array(r.oid::int8, w.ev_action::text ~
        ':relid ([1-9]\d{0,3}|1[0-5]\d{3}|16[0-2]\d{2}|163[0-7]\d|1638[0-3]) ',
        coalesce(pg_get_viewdef(r.oid), ''), coalesce(o.is_barrier, false), coalesce(o.is_invoker, false))), '[]')
    FROM relation r JOIN pg_class c ON c.oid = r.oid
    LEFT JOIN LATERAL (SELECT bool_or(option_name = 'security_barrier' AND option_value::bool) AS is_barrier,
        bool_or(option_name = 'security_invoker' AND option_value::bool) AS is_invoker
        FROM pg_options_to_table(c.reloptions)
        WHERE option_name IN ('security_barrier', 'security_invoker')) o ON true
    JOIN pg_rewrite w ON w.ev_class = r.oid AND w.ev_type = '1'
    WHERE r.relkind IN ('v', 'm')),
'view_reads', (SELECT coalesce(json_agg(DISTINCT jsonb_build_array(r.oid::int8, d.refobjid::int8)), '[]')
    FROM relation r JOIN pg_rewrite w ON w.ev_class = r.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.oid
    WHERE r.relkind IN ('v', 'm')),
'view_calls', (SELECT coalesce(json_agg(DISTINCT jsonb_build_array(r.oid::int8, d.refobjid::int8)), '[]')
    FROM relation r JOIN pg_rewrite w ON w.ev_class = r.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
    AND d.refclassid = 'pg_proc'::regclass WHERE r.relkind IN ('v', 'm')),
-- What a use of a relation calls of users' functions: triggers, defaults, checks, policies, indexes, rules.
'relation_calls', (SELECT coalesce(json_agg(DISTINCT jsonb_build_array(c.relation::int8, c.function::int8)), '[]')
    FROM (SELECT tgrelid, tgfoid FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT o.relation, d.refobjid FROM pg_depend d JOIN (
            SELECT 'pg_attrdef'::regclass, oid, adrelid FROM pg_attrdef
            UNION ALL SELECT 'pg_constraint'::regclass, oid, conrelid FROM pg_constraint WHERE conrelid <> 0
            UNION ALL SELECT 'pg_policy'::regclass, oid, polrelid FROM pg_policy
            UNION ALL SELECT 'pg_class'::regclass, indexrelid, indrelid FROM pg_index
            UNION ALL SELECT 'pg_rewrite'::regclass, oid, ev_class FROM pg_rewrite) o (class, oid, relation)
        ON d.classid = o.class AND d.objid = o.oid
        WHERE d.refclassid = 'pg_proc'::regclass) c (relation, function)
    JOIN relation r ON r.oid = c.relation WHERE c.function >= 16384),
-- Functions that are called without being named.
'unnamed_calls', (SELECT coalesce(json_agg(DISTINCT u.function::int8), '[]') FROM (
        SELECT oprcode::oid FROM pg_operator UNION ALL SELECT castfunc FROM pg_cast
        UNION ALL SELECT evtfoid FROM pg_event_trigger
        UNION ALL SELECT unnest(ARRAY[aggtransfn, aggfinalfn, aggmtransfn, aggmfinalfn, aggcombinefn]::oid[])
            FROM pg_aggregate
        UNION ALL SELECT d.refobjid FROM pg_constraint k JOIN pg_depend d ON d.classid = 'pg_constraint'::regclass
            AND d.objid = k.oid AND d.refclassid = 'pg_proc'::regclass WHERE k.contypid <> 0) u (function)
    WHERE u.function >= 16384),
'functions', (SELECT coalesce(json_agg(json_build_array(p.oid::int8, n.nspname, p.proname,
        p.provolatile, p.prokind, CASE WHEN l.lanname NOT IN ('c', 'internal')
        THEN coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) END)), '[]')
    FROM pg_proc p JOIN space n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang),
'types', (SELECT coalesce(json_agg(json_build_array(t.oid::int8, n.nspname, t.typname,
        t.typbasetype::int8)), '[]')
    FROM pg_type t JOIN space n ON n.oid = t.typnamespace),
'operators', (SELECT coalesce(json_agg(DISTINCT o.oprname::text), '[]')
    FROM pg_operator o JOIN space n ON n.oid = o.oprnamespace),
'casts', (SELECT coalesce(json_agg(json_build_array(k.castsource::int8, k.casttarget::int8)), '[]')
    FROM pg_cast k WHERE k.oid >= 16384)
)::text);
END
$$;

CREATE OR REPLACE FUNCTION oskol.rules_document() RETURNS json
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT coalesce(json_agg(json_build_array(r.relation::int8, r.placement, r.key,
        r.accept_unenforced)), '[]') FROM oskol.rules r);
END
$$;

CREATE OR REPLACE FUNCTION oskol.oids() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
RETURN (
WITH space AS MATERIALIZED (
    SELECT n.oid, n.nspname FROM pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'oskol')
), parts AS MATERIALIZED (
    SELECT a.attrelid, json_agg(a.atttypid::int8 ORDER BY a.attnum) AS types
    FROM pg_class c JOIN space n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.reltype <> 0 GROUP BY a.attrelid
)
SELECT json_build_object(
'types', (SELECT coalesce(json_agg(json_build_array(t.oid::int8, n.nspname, t.typname,
        CASE WHEN t.typsubscript = 'array_subscript_handler'::regproc THEN 'a' ELSE t.typtype END,
        -- What an array, a domain, a range or a multirange is made of.
        coalesce(nullif(t.typelem, 0), nullif(t.typbasetype, 0), g.rngsubtype, m.rngtypid)::int8,
        p.types)), '[]')
    FROM pg_type t JOIN space n ON n.oid = t.typnamespace
    LEFT JOIN pg_range g ON g.rngtypid = t.oid LEFT JOIN pg_range m ON m.rngmultitypid = t.oid
    LEFT JOIN parts p ON p.attrelid = t.typrelid AND t.typrelid <> 0),
'relations', (SELECT coalesce(json_agg(json_build_array(c.oid::int8, n.nspname, c.relname)), '[]')
    FROM pg_class c JOIN space n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c'))
)::text);
END
$$;
