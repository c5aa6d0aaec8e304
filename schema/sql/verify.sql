-- What `oskol verify` reads of constraints over shards. On every shard, after references.sql. Runs again without harm.

-- The entries of a unique key, or of a routing index, as queries, each of bucket and entry: those that the rows of this shard ought to have, and
-- those that are here.
CREATE OR REPLACE FUNCTION oskol.verified_entries(verified int4, OUT made text, OUT found text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT oskol.unique_key_query(u.index, u.key, u.relation::regclass::text),
        format('SELECT (hash_record_extended(ROW(%s), 0) & 4095)::int4 AS bucket, ARRAY[%s, key::text] AS entry '
            'FROM oskol.unique_%s', c.hashed, c.texts, u.number)
    FROM oskol.unique_keys u, LATERAL (SELECT string_agg(k.hashed, ', ' ORDER BY k.ordinal) AS hashed,
        string_agg(format('v%s::text', k.ordinal), ', ' ORDER BY k.ordinal) AS texts
        FROM oskol.unique_key_columns(u.index) k) AS c
    WHERE u.number = verified
    UNION ALL
    SELECT oskol.route_query(r, 'ONLY ' || r.relation::regclass::text),
        format('SELECT (hash_record_extended(ROW(v), 0) & 4095)::int4 AS bucket, ARRAY[v::text, key::text] AS entry '
            'FROM oskol.routing_%s', r.number)
    FROM oskol.routes r WHERE r.number = verified
$$;
REVOKE ALL ON FUNCTION oskol.verified_entries(int4) FROM PUBLIC;

-- Positions of keys (a JSON array of JSON arrays of texts) that no parent on this shard has. Locks nothing.
CREATE OR REPLACE FUNCTION oskol.unknown_parents(verified int4, keys json) RETURNS SETOF int8
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres'
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN QUERY EXECUTE (SELECT format('SELECT k.at - 1 FROM ROWS FROM (json_array_elements($1)) WITH ORDINALITY '
            'AS k (v, at) WHERE NOT EXISTS (SELECT FROM ONLY %s x WHERE %s)', f.parent::regclass,
            (SELECT string_agg(format('x.%I %s (k.v->>%s)::%s', c.parent, c.operator, c.ordinal - 1, c.child_type), ' AND ')
                FROM oskol.foreign_key_columns(f.key) c))
        FROM oskol.foreign_keys f WHERE f.number = verified) USING keys;
END
$$;
REVOKE ALL ON FUNCTION oskol.unknown_parents(int4, json) FROM PUBLIC;

-- The registry, one text for each key: the same on every shard.
CREATE OR REPLACE FUNCTION oskol.verified_registry() RETURNS TABLE (object text, kept text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.index::regclass::text, format('unique key %s of %s by %s', u.number, u.relation::regclass,
        (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = u.relation AND a.attnum = u.key))
        FROM oskol.unique_keys u
    UNION ALL
    SELECT format('%s.%s', r.relation::regclass, a.attname), format('routing index %s by %s', r.number,
        (SELECT k.attname FROM pg_attribute k WHERE k.attrelid = r.relation AND k.attnum = r.key))
        FROM oskol.routes r JOIN pg_attribute a ON a.attrelid = r.relation AND a.attnum = r.attribute
    UNION ALL
    SELECT f.child::regclass || '.' || k.conname, format('foreign key %s to %s, parents at %s %s, children at %s, enforced %s, '
        'validated %s', f.number, f.parent::regclass, f.parent_at, f.entry, f.child_at, f.enforced, k.convalidated)
        FROM oskol.foreign_keys f LEFT JOIN pg_constraint k ON k.oid = f.key
$$;
REVOKE ALL ON FUNCTION oskol.verified_registry() FROM PUBLIC;
