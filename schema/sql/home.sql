-- Objects of schema oskol in a database of the home shard: the catalog. Runs again without harm.
DROP EVENT TRIGGER IF EXISTS oskol_fence;
DROP EVENT TRIGGER IF EXISTS oskol_guard;

CREATE TABLE IF NOT EXISTS oskol.shards (
    id int4 PRIMARY KEY CHECK (id BETWEEN 0 AND 65535),
    host text NOT NULL,
    port int4 NOT NULL,
    weight float8 NOT NULL,
    UNIQUE (host, port) DEFERRABLE INITIALLY DEFERRED
);
GRANT SELECT ON oskol.shards TO PUBLIC;
-- Of an older version: two shards could not change places.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = 'oskol.shards'::pg_catalog.regclass
            AND k.conname = 'shards_host_port_key' AND NOT k.condeferrable) THEN
        ALTER TABLE oskol.shards DROP CONSTRAINT shards_host_port_key,
            ADD CONSTRAINT shards_host_port_key UNIQUE (host, port) DEFERRABLE INITIALLY DEFERRED;
    END IF;
END
$$;

CREATE TABLE IF NOT EXISTS oskol.buckets (
    bucket int4 PRIMARY KEY CHECK (bucket BETWEEN 0 AND 4095),
    shard int4 NOT NULL REFERENCES oskol.shards
);
GRANT SELECT ON oskol.buckets TO PUBLIC;

-- Rules by oid and attribute number, so that renaming a table or a column needs no care. A table
-- without a rule is local.
CREATE TABLE IF NOT EXISTS oskol.rules (
    relation oid PRIMARY KEY,
    placement text NOT NULL CHECK (placement IN ('sharded', 'reference', 'local')),
    key int2,
    accept_unenforced boolean NOT NULL DEFAULT false,
    -- Types that hash alike: 'integer', 'text', 'uuid'.
    family text,
    CHECK ((placement = 'sharded') = (key IS NOT NULL AND family IS NOT NULL))
);
GRANT SELECT ON oskol.rules TO PUBLIC;

CREATE OR REPLACE VIEW oskol.tables AS
    SELECT n.nspname AS schema, c.relname AS name, r.placement, a.attname AS key,
        r.accept_unenforced
    FROM oskol.rules r
    JOIN pg_catalog.pg_class c ON c.oid = r.relation
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = r.relation AND a.attnum = r.key;
GRANT SELECT ON oskol.tables TO PUBLIC;

-- Routers that have this database open, and the epochs they plan with.
CREATE TABLE IF NOT EXISTS oskol.routers (
    id int8 PRIMARY KEY,
    address text NOT NULL,
    epoch int8 NOT NULL,
    sequence_epoch int8 NOT NULL,
    heartbeat timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT SELECT ON oskol.routers TO PUBLIC;

-- One number for each start of a router; the one of database postgres counts for the cluster.
CREATE SEQUENCE IF NOT EXISTS oskol.router_number MAXVALUE 4294967295 CYCLE;

-- A sign of life. Gives the epochs that the router should plan with.
CREATE OR REPLACE FUNCTION oskol.beat(
    router int8, address text, seen int8, sequences_seen int8,
    OUT epoch int8, OUT sequence_epoch int8)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    is_new boolean;
BEGIN
    INSERT INTO oskol.routers AS r (id, address, epoch, sequence_epoch)
        VALUES (beat.router, beat.address, beat.seen, beat.sequences_seen)
        ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch,
        sequence_epoch = excluded.sequence_epoch, heartbeat = clock_timestamp(), kept_out = false
        RETURNING r.xmax = 0 INTO is_new;
    IF is_new THEN
        -- In a statement of its own: who has removed the row at this moment is waited for by then.
        UPDATE oskol.routers r SET life = m.router_life FROM oskol.meta m WHERE r.id = beat.router;
    END IF;
    SELECT m.epoch, m.sequence_epoch INTO beat.epoch, beat.sequence_epoch FROM oskol.meta m;
END
$$;
REVOKE ALL ON FUNCTION oskol.beat(int8, text, int8, int8) FROM PUBLIC;

-- What was done to the schema of this database, the last 10,000 changes. Written by oskol.note_schema_change(), in the
-- transaction of the change.
CREATE TABLE IF NOT EXISTS oskol.schema_history (
    number int8 PRIMARY KEY,
    made timestamptz NOT NULL DEFAULT clock_timestamp(),
    role text NOT NULL,
    kind text NOT NULL,
    statement text NOT NULL,
    digest int8 NOT NULL,
    settings jsonb NOT NULL,
    -- What the other shards have run, one after the other; NULL: what one shard cannot do again by itself.
    steps jsonb
);
REVOKE ALL ON oskol.schema_history FROM PUBLIC;

-- One change of tables or rules at a time; held to the end of the transaction.
CREATE OR REPLACE FUNCTION oskol.ddl_lock() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_advisory_xact_lock(8030875938573)
$$;

-- Nobody changes tables or rules until the transaction ends; several may want that at once.
CREATE OR REPLACE FUNCTION oskol.ddl_lock_shared() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_advisory_xact_lock_shared(8030875938573)
$$;

-- The catalog changed: plans and leased ids of before are void. Part of the transaction that changed
-- it, and without NOTIFY, which would forbid PREPARE TRANSACTION; routers are told after the commit.
CREATE OR REPLACE FUNCTION oskol.bump_epoch() RETURNS int8
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    reached int8;
BEGIN
    DELETE FROM oskol.rules r
        WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = r.relation);
    UPDATE oskol.meta SET epoch = epoch + 1, sequence_epoch = sequence_epoch + 1
        RETURNING epoch INTO reached;
    RETURN reached;
END
$$;

-- Which types' hashes agree; NULL: not a type for shard keys.
CREATE OR REPLACE FUNCTION oskol.key_family(type oid) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN type IN (20, 21, 23) THEN 'integer' WHEN type IN (25, 1043) THEN 'text'
        WHEN type = 2950 THEN 'uuid' END
$$;

-- Sets the rule of one table, which the caller must own.
CREATE OR REPLACE FUNCTION oskol.declare_table(
    schema text, name text, placement text, key text, accept_unenforced boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    -- current_user is the owner of this function; the caller is who SET ROLE or the log-in made it.
    caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
    declared pg_class;
    attribute pg_attribute;
BEGIN
    SELECT c.* INTO declared FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = schema AND c.relname = name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'relation "%.%" does not exist', schema, name USING ERRCODE = '42P01';
    END IF;
    IF NOT pg_has_role(caller, declared.relowner, 'MEMBER') THEN
        RAISE EXCEPTION 'must be owner of table %', name USING ERRCODE = '42501';
    END IF;
    IF declared.relkind NOT IN ('r', 'p') OR declared.relpersistence = 't' THEN
        RAISE EXCEPTION '"%" is not a permanent table', name USING ERRCODE = '42809';
    END IF;
    IF declared.relispartition THEN
        RAISE EXCEPTION '"%" is a partition', name USING ERRCODE = '42809',
            HINT = 'Declare the partitioned table: its partitions are placed with it.';
    END IF;
    IF (placement = 'sharded') <> (key IS NOT NULL) THEN
        RAISE EXCEPTION 'a sharded table has a shard key, and no other table has one'
            USING ERRCODE = '22023';
    END IF;
    IF placement = 'sharded' THEN
        SELECT a.* INTO attribute FROM pg_attribute a
            WHERE a.attrelid = declared.oid AND a.attname = key AND a.attnum > 0
            AND NOT a.attisdropped;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'column "%" of relation "%" does not exist', key, name
                USING ERRCODE = '42703';
        END IF;
        IF oskol.key_family(attribute.atttypid) IS NULL THEN
            RAISE EXCEPTION 'column "%" of type % cannot be a shard key', key,
                format_type(attribute.atttypid, attribute.atttypmod) USING ERRCODE = '0A000',
                HINT = 'A shard key is a smallint, integer, bigint, text, varchar or uuid.';
        END IF;
        IF EXISTS (SELECT FROM pg_collation c WHERE c.oid = attribute.attcollation
                   AND NOT c.collisdeterministic) THEN
            RAISE EXCEPTION 'column "%" has a nondeterministic collation and cannot be a shard key',
                key USING ERRCODE = '0A000';
        END IF;
    END IF;
    INSERT INTO oskol.rules AS r VALUES
        (declared.oid, placement, attribute.attnum, accept_unenforced,
         oskol.key_family(attribute.atttypid))
        ON CONFLICT ON CONSTRAINT rules_pkey DO UPDATE SET placement = excluded.placement,
        key = excluded.key, accept_unenforced = excluded.accept_unenforced,
        family = excluded.family;
END
$$;

-- A shard key stays, and keeps a type that hashes alike: otherwise rows could not be found any more.
CREATE OR REPLACE FUNCTION oskol.on_ddl() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    broken text;
BEGIN
    SELECT c.relname INTO broken FROM oskol.rules r JOIN pg_class c ON c.oid = r.relation
        JOIN pg_attribute a ON a.attrelid = r.relation AND a.attnum = r.key
        WHERE a.attisdropped OR oskol.key_family(a.atttypid) IS DISTINCT FROM r.family LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the shard key of table "%" cannot be dropped or change its type', broken
            USING ERRCODE = '0A000',
            HINT = 'Copy the rows into a new table that is sharded by the new key.';
    END IF;
END
$$;

CREATE EVENT TRIGGER oskol_guard ON ddl_command_end WHEN TAG IN ('ALTER TABLE')
    EXECUTE FUNCTION oskol.on_ddl();
ALTER EVENT TRIGGER oskol_guard ENABLE ALWAYS;

-- A table that becomes a partition of one that is placed otherwise: its rows, which are all here, would not move.
CREATE OR REPLACE FUNCTION oskol.must_be_empty(schema text, name text, parent text) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    has_rows bool;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I)', schema, name) INTO has_rows;
    IF has_rows THEN
        RAISE EXCEPTION '"%" is not placed as "%" is', name, parent USING ERRCODE = '0A000',
            DETAIL = 'A partition''s rows must be where the partitioned table''s rows are, and it has some. [attach-partition]',
            HINT = 'Place the table in the same way first, or attach it before it has rows.';
    END IF;
END
$$;

-- Up to `amount` next values of a sequence, fewer when it comes to its end; an error when it has none.
-- Each is taken by nextval, so that no one else, router or not, is given the same.
CREATE OR REPLACE FUNCTION oskol.lease(schema text, name text, amount int4) RETURNS int8[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    sequence regclass := format('%I.%I', schema, name)::regclass;
    ids int8[] := '{}';
BEGIN
    BEGIN
        FOR taken IN 1..amount LOOP
            ids := ids || nextval(sequence);
        END LOOP;
    EXCEPTION WHEN sequence_generator_limit_exceeded THEN
        IF ids = '{}' THEN
            RAISE;
        END IF;
    END;
    RETURN ids;
END
$$;

-- setval, and leased ids of before are void. The sequence's own rights hold.
CREATE OR REPLACE FUNCTION oskol.void_leases() RETURNS int8
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE oskol.meta SET sequence_epoch = sequence_epoch + 1 RETURNING sequence_epoch
$$;

-- Sessions that wait for locks on several shards, as each router tells the others while there are any: so that a
-- deadlock between sessions of two routers is seen. In database postgres only.
CREATE UNLOGGED TABLE IF NOT EXISTS oskol.stalls (
    router int8 PRIMARY KEY,
    sessions text NOT NULL,
    seen timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Tells of this router's, and gives those of the others.
CREATE OR REPLACE FUNCTION oskol.share_stalls(router int8, sessions text) RETURNS TABLE (other int8, stalled text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO oskol.stalls AS s VALUES (share_stalls.router, share_stalls.sessions)
        ON CONFLICT ON CONSTRAINT stalls_pkey DO UPDATE SET sessions = excluded.sessions, seen = clock_timestamp();
    RETURN QUERY SELECT s.router, s.sessions FROM oskol.stalls s
        WHERE s.router <> share_stalls.router AND s.seen > clock_timestamp() - interval '3 seconds';
END
$$;
REVOKE ALL ON FUNCTION oskol.share_stalls(int8, text) FROM PUBLIC;
