-- Unique keys that begin, or end, to hold over all shards while their table is written to. On every shard, after unique.sql.
-- Runs again without harm.

-- CREATE UNIQUE INDEX CONCURRENTLY: routers are to know of the key from now on, so that they look for notes before there are
-- any (`oskol.watch_unique_key`); then the entries of the rows that are there follow (`oskol.fill_rows`). Gives its number,
-- NULL where it is kept already. The caller must own the table.
CREATE OR REPLACE FUNCTION oskol.begin_unique_key(schema text, name text, index_name text, key text) RETURNS int4
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
    found record;
BEGIN
    SELECT c.oid AS relation, c.relowner, i.indexrelid, a.attnum INTO found FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON i.indrelid = c.oid
        JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = key
        WHERE n.nspname = schema AND c.relname = name AND x.relname = index_name AND i.indisunique AND i.indisvalid
        AND a.attnum <> ALL ((i.indkey::int2[])[0:i.indnkeyatts - 1]);
    PERFORM oskol.forget_unique_keys();
    IF found IS NULL OR NOT pg_has_role(caller, found.relowner, 'MEMBER')
        OR EXISTS (SELECT FROM oskol.unique_keys u WHERE u.index = found.indexrelid) THEN
        RETURN NULL;
    END IF;
    PERFORM oskol.keep_unique_key(found.relation, found.indexrelid, found.attnum, NULL, true);
    RETURN (SELECT u.number FROM oskol.unique_keys u WHERE u.index = found.indexrelid);
END
$$;

-- From now on whoever writes to the table makes entries.
CREATE OR REPLACE FUNCTION oskol.watch_unique_key(wanted int4) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    PERFORM oskol.write_unique_triggers(u.number, u.relation, u.index) FROM oskol.unique_keys u
        JOIN pg_class c ON c.oid = u.relation WHERE u.number = wanted AND u.filling AND pg_has_role(caller, c.relowner, 'MEMBER');
END
$$;

-- How many blocks the table of a key has.
CREATE OR REPLACE FUNCTION oskol.fill_blocks(token text, wanted text) RETURNS int8
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM oskol.check_router(token);
    RETURN (SELECT pg_relation_size(u.relation) / current_setting('block_size')::int8 FROM oskol.unique_keys u
        WHERE u.number = wanted::int4);
END
$$;

-- The entries of the rows in some blocks of it. They stay as they are until the transaction has made the entries.
CREATE OR REPLACE FUNCTION oskol.fill_rows(token text, wanted text, block text, blocks text)
RETURNS TABLE (bucket int4, entry text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD'
SET intervalstyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 SET timezone = 'UTC' AS $$
DECLARE
    filled oskol.unique_keys;
BEGIN
    PERFORM oskol.check_router(token);
    SELECT * INTO filled FROM oskol.unique_keys u WHERE u.number = wanted::int4;
    RETURN QUERY EXECUTE format('SELECT f.bucket, to_json(f.entry)::text FROM (%s) f',
        oskol.unique_key_query(filled.index, filled.key, format(
            '(SELECT * FROM ONLY %s WHERE ctid >= %L::tid AND ctid < %L::tid FOR SHARE) AS r', filled.relation::regclass,
            format('(%s,0)', block), format('(%s,0)', block::int8 + blocks::int8))));
END
$$;

-- All rows have their entries: the index is valid.
CREATE OR REPLACE FUNCTION oskol.end_unique_key(token text, wanted text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET allow_system_table_mods = on AS $$
BEGIN
    PERFORM oskol.check_router(token);
    UPDATE oskol.unique_keys u SET filling = false WHERE u.number = wanted::int4;
    PERFORM oskol.write_note(u.number, u.index, u.key) FROM oskol.unique_keys u WHERE u.number = wanted::int4;
    UPDATE pg_index i SET indisvalid = true FROM oskol.unique_keys u
        WHERE u.number = wanted::int4 AND i.indexrelid = u.index;
END
$$;

-- Rows have a value twice: the index is left as PostgreSQL leaves one that it could not build.
CREATE OR REPLACE FUNCTION oskol.fail_unique_key(wanted int4) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET allow_system_table_mods = on AS $$
DECLARE
    caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    UPDATE pg_index i SET indisvalid = false, indisready = false FROM oskol.unique_keys u JOIN pg_class x ON x.oid = u.index
        WHERE u.number = wanted AND i.indexrelid = u.index AND u.filling AND pg_has_role(caller, x.relowner, 'MEMBER');
    IF FOUND THEN
        PERFORM oskol.drop_unique_key(wanted);
    END IF;
END
$$;

-- DROP INDEX CONCURRENTLY: the key is no longer kept, and then its index goes shard by shard. The caller must own it.
CREATE OR REPLACE FUNCTION oskol.leave_unique_key(dropped oid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    PERFORM oskol.drop_unique_key(u.number) FROM oskol.unique_keys u JOIN pg_class x ON x.oid = u.index
        WHERE u.index = dropped AND pg_has_role(caller, x.relowner, 'MEMBER')
        -- A constraint's index cannot be dropped so.
        AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = u.index AND k.contype IN ('p', 'u', 'x'));
END
$$;
