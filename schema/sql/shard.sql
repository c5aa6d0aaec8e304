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

-- Waits until nobody else writes to tables of which every shard has a copy, and keeps writers out until this transaction ends: so
-- a statement of several shards finds the same rows on each. `tables`: JSON, of each its quoted name, and whether it is to be
-- written. In a function, as LOCK TABLE asks for more than the right to write some columns.
CREATE OR REPLACE FUNCTION oskol.hold_writers(token text, tables text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held record;
BEGIN
    PERFORM oskol.check_router(token);
    FOR held IN SELECT (t.value ->> 0)::regclass AS name, (t.value ->> 1)::boolean AS writes
            FROM json_array_elements(tables::json) WITH ORDINALITY t (value, ordinal) ORDER BY t.ordinal LOOP
        -- Both modes keep writers out; SHARE lets several readers in, the other lets one writer in.
        EXECUTE format('LOCK TABLE %s IN %s MODE', held.name, CASE WHEN held.writes THEN 'SHARE ROW EXCLUSIVE' ELSE 'SHARE' END);
    END LOOP;
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
REVOKE ALL ON FUNCTION oskol.decide(text) FROM PUBLIC;

-- The same in a client's transaction, with the client's rights: nobody else's may be decided. `seal` is made with the shard's
-- token, and good for this transaction only, as others may read the statement.
CREATE OR REPLACE FUNCTION oskol.decide(gid text, seal text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF seal IS DISTINCT FROM (SELECT encode(sha256(convert_to(concat(s.token, '/', decide.gid), 'UTF8')), 'hex')
            FROM oskol.secret s) THEN
        RAISE EXCEPTION 'permission denied for a function of schema oskol' USING ERRCODE = '42501';
    END IF;
    PERFORM oskol.decide(decide.gid);
END
$$;
GRANT EXECUTE ON FUNCTION oskol.decide(text, text) TO PUBLIC;

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

-- The values of a column lead to the shards of their rows (routes.sql).
CREATE OR REPLACE FUNCTION oskol.route_by(relation text, column_name text) RETURNS void
LANGUAGE sql AS $$ SELECT oskol.only_through_the_router('oskol.route_by') $$;

CREATE OR REPLACE FUNCTION oskol.unroute_by(relation text, column_name text) RETURNS void
LANGUAGE sql AS $$ SELECT oskol.only_through_the_router('oskol.unroute_by') $$;
