-- Moving buckets: what the home shard keeps of it. Runs again without harm.
ALTER TABLE oskol.shards ADD COLUMN IF NOT EXISTS name text;
ALTER TABLE oskol.shards ADD COLUMN IF NOT EXISTS state text NOT NULL DEFAULT 'active'
    CHECK (state IN ('joining', 'active', 'draining', 'removed'));
-- As oskol.applied of the shard must have it.
ALTER TABLE oskol.shards ADD COLUMN IF NOT EXISTS moved int8 NOT NULL DEFAULT 0;
-- Of one that joins: the server (its system identifier) that was found empty, so that what is there is ours to make anew.
ALTER TABLE oskol.shards ADD COLUMN IF NOT EXISTS server int8;
-- The move that the router holds its clients for: the global transaction of the mover.
ALTER TABLE oskol.routers ADD COLUMN IF NOT EXISTS held text;
-- Grows when others stop waiting for the router and keep it out of shards (admission.sql), which they may do to whatever
-- life it knows; `kept_out` until its next sign of life tells it the new one.
ALTER TABLE oskol.routers ADD COLUMN IF NOT EXISTS life int8 NOT NULL DEFAULT 0;
ALTER TABLE oskol.routers ADD COLUMN IF NOT EXISTS kept_out boolean NOT NULL DEFAULT false;
-- No router whose row was removed has had a greater life: one that comes back begins with this one.
ALTER TABLE oskol.meta ADD COLUMN IF NOT EXISTS router_life int8 NOT NULL DEFAULT 0;
-- Where `kept_out`: not only of shards between which rows have moved.
ALTER TABLE oskol.routers ADD COLUMN IF NOT EXISTS kept_out_of_all boolean NOT NULL DEFAULT false;

-- Removes routers that have been silent for `silence` and are kept out of all shards: whoever of them lives after all gets a
-- new row by its next sign of life, and a life that shards let in.
CREATE OR REPLACE FUNCTION oskol.forget_routers(silence interval) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (DELETE FROM oskol.routers r WHERE r.kept_out AND r.kept_out_of_all
        AND r.heartbeat < clock_timestamp() - silence RETURNING r.life)
    UPDATE oskol.meta m SET router_life = greatest(m.router_life, g.highest)
        FROM (SELECT max(life) AS highest FROM gone) g WHERE g.highest IS NOT NULL;
    DELETE FROM oskol.stalls s WHERE s.seen < clock_timestamp() - silence
$$;
REVOKE ALL ON FUNCTION oskol.forget_routers(interval) FROM PUBLIC;

-- One for each wish to place buckets anew. In database postgres only; it counts for all databases.
CREATE TABLE IF NOT EXISTS oskol.rebalances (
    id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('rebalance', 'undo', 'bucket')),
    state text NOT NULL,
    error text,
    -- Sums over all databases, as estimated at the start.
    moves int8 NOT NULL DEFAULT 0,
    started timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished timestamptz,
    -- The triggers that followed and fenced rows are gone.
    cleared boolean NOT NULL DEFAULT false
);

ALTER TABLE oskol.rebalances DROP CONSTRAINT IF EXISTS rebalances_state_check;
ALTER TABLE oskol.rebalances ADD CONSTRAINT rebalances_state_check
    CHECK (state IN ('running', 'paused', 'finished', 'failed', 'cancelled'));

-- Some buckets of this database that move together, in one global transaction.
CREATE TABLE IF NOT EXISTS oskol.moves (
    id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rebalance int8 NOT NULL,
    buckets int4[] NOT NULL,
    source int4 NOT NULL,
    target int4 NOT NULL,
    state text NOT NULL DEFAULT 'planned'
        CHECK (state IN ('planned', 'copying', 'switching', 'done', 'failed', 'cancelled')),
    -- Who works at it, and its last attempt to switch.
    owner text,
    gid text,
    estimated_rows int8 NOT NULL DEFAULT 0,
    estimated_bytes int8 NOT NULL DEFAULT 0,
    rows int8 NOT NULL DEFAULT 0,
    bytes int8 NOT NULL DEFAULT 0,
    -- Rows copied anew as they changed meanwhile.
    followed int8 NOT NULL DEFAULT 0,
    attempts int4 NOT NULL DEFAULT 0,
    -- How long clients were held, in milliseconds.
    held_ms int8 NOT NULL DEFAULT 0,
    error text,
    started timestamptz,
    finished timestamptz
);
CREATE INDEX IF NOT EXISTS moves_rebalance ON oskol.moves (rebalance, state);

-- What moves with its bucket: sharded tables, and the entries of unique keys and routing indexes. Columns are quoted where
-- they have to be; `bucket` is an expression over a row called "@". In the order in which those who write lock them: a row's
-- table, then the tables of its entries. How its rows are written: as `oskol.moved_rows` has it.
DROP FUNCTION IF EXISTS oskol.moved_tables();
CREATE OR REPLACE FUNCTION oskol.moved_tables() RETURNS TABLE (
    name text, partitioned boolean, bucket text, columns text[], identity text[], types text[], nulls_alike boolean,
    owner text, path text, staged text[], own text[], refused text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT t.name, t.partitioned, t.bucket, t.columns, t.identity, t.types, t.nulls_alike, m.owner, m.path, m.staged, m.own,
        m.refused FROM (
    SELECT format('%I.%I', n.nspname, c.relname), c.relkind = 'p',
        format(CASE r.family WHEN 'integer' THEN '(hashint8extended(@.%I::int8, 0) & 4095)'
            WHEN 'text' THEN '(hashtextextended(@.%I::text, 0) & 4095)'
            ELSE '(uuid_hash_extended(@.%I, 0) & 4095)' END, k.attname),
        (SELECT array_agg(quote_ident(a.attname) ORDER BY a.attnum) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
        coalesce(p.names, ARRAY[quote_ident(k.attname)]),
        coalesce(p.types, ARRAY[format_type(k.atttypid, k.atttypmod)]), false, 0, c.oid
    FROM oskol.rules r JOIN pg_class c ON c.oid = r.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute k ON k.attrelid = r.relation AND k.attnum = r.key
    LEFT JOIN LATERAL (SELECT array_agg(quote_ident(a.attname) ORDER BY o.ordinal) AS names,
            array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY o.ordinal) AS types
        FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS o (attnum, ordinal), pg_attribute a
        WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid AND a.attnum = o.attnum
        AND o.ordinal <= i.indnkeyatts HAVING count(*) > 0) p ON true
    WHERE r.placement = 'sharded'
    UNION ALL
    SELECT format('oskol.unique_%s', u.number), false,
        format('(hash_record_extended(ROW(%s), 0) & 4095)', x.hashed),
        x.names || 'key'::text, x.names, x.types, i.indnullsnotdistinct, u.number, NULL
    FROM oskol.unique_keys u JOIN pg_index i ON i.indexrelid = u.index
    CROSS JOIN LATERAL (SELECT string_agg('@.' || k.hashed, ', ' ORDER BY k.ordinal) AS hashed,
            array_agg('v' || k.ordinal ORDER BY k.ordinal) AS names, array_agg(k.type ORDER BY k.ordinal) AS types
        FROM oskol.unique_key_columns(u.index) k) x
    UNION ALL
    SELECT format('oskol.routing_%s', r.number), false, '(hash_record_extended(ROW(@.v), 0) & 4095)',
        ARRAY['v', 'key'], ARRAY['v', 'key'], ARRAY[r.type, oskol.route_type(k.atttypid)], false, r.number, NULL
    FROM oskol.routes r JOIN pg_attribute k ON k.attrelid = r.relation AND k.attnum = r.key
    ) AS t (name, partitioned, bucket, columns, identity, types, nulls_alike, number, relation)
    LEFT JOIN LATERAL oskol.moved_rows(t.relation) m ON t.relation IS NOT NULL ORDER BY t.number, t.name;
END
$$;
REVOKE ALL ON FUNCTION oskol.moved_tables() FROM PUBLIC;

-- As moved_tables, of tables that are on every shard whole.
DROP FUNCTION IF EXISTS oskol.reference_tables();
CREATE OR REPLACE FUNCTION oskol.reference_tables() RETURNS TABLE (
    name text, partitioned boolean, bucket text, columns text[], identity text[], types text[], nulls_alike boolean,
    owner text, path text, staged text[], own text[], refused text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT format('%I.%I', n.nspname, c.relname), c.relkind = 'p', '0'::text, l.columns,
        coalesce(p.names, l.columns), coalesce(p.types, l.types), p.names IS NULL, m.owner, m.path, m.staged, m.own, m.refused
    FROM oskol.rules r JOIN pg_class c ON c.oid = r.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (SELECT array_agg(quote_ident(a.attname) ORDER BY a.attnum) AS columns,
            array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum) AS types FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') l
    LEFT JOIN LATERAL (SELECT array_agg(quote_ident(a.attname) ORDER BY o.ordinal) AS names,
            array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY o.ordinal) AS types
        FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS o (attnum, ordinal), pg_attribute a
        WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid AND a.attnum = o.attnum
        AND o.ordinal <= i.indnkeyatts HAVING count(*) > 0) p ON true
    CROSS JOIN LATERAL oskol.moved_rows(c.oid) m
    WHERE r.placement = 'reference' ORDER BY 1;
END
$$;
REVOKE ALL ON FUNCTION oskol.reference_tables() FROM PUBLIC;
