-- Routing indexes: for a column that is not unique, which buckets have rows with a value of it (`oskol.route_by`). On every
-- shard, after unique.sql and references.sql. Runs again without harm.
--
-- Each routing index has one entry for each row, `(value, shard key of the row)`, in a table of its own, on the shard of the
-- value's bucket. Entries are noted, collected and written as those of unique keys are (`unique.sql`); their numbers are from
-- the same sequence. Several rows may have the same entry: then it is there as often. NULL has none. Values and keys are stored
-- in the widest type that hashes alike.
DROP EVENT TRIGGER IF EXISTS oskol_routes_drop;
DROP EVENT TRIGGER IF EXISTS oskol_routes_alter;

CREATE TABLE IF NOT EXISTS oskol.routes (
    number int4 PRIMARY KEY,
    relation oid NOT NULL,
    attribute int2 NOT NULL,
    -- Attribute number of the shard key.
    key int2 NOT NULL,
    -- What the column's values are stored as.
    type text NOT NULL,
    UNIQUE (relation, attribute)
);
GRANT SELECT ON oskol.routes TO PUBLIC;

-- The widest type whose values hash as those of `type` do, as a column of it is declared; NULL: no type of a routing index.
CREATE OR REPLACE FUNCTION oskol.route_type(type oid) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN type IN (20, 21, 23) THEN 'bigint' WHEN type IN (25, 1043) THEN 'text' WHEN type = 2950 THEN 'uuid' END
$$;

-- The SELECT of the entries of the rows of `source`: bucket and entry.
CREATE OR REPLACE FUNCTION oskol.route_query(routed oskol.routes, source text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('SELECT (hash_record_extended(ROW(v), 0) & 4095)::int4 AS bucket, ARRAY[v::text, k::text] AS entry '
        'FROM (SELECT %I::%s AS v, %I::%s AS k FROM %s) AS made WHERE v IS NOT NULL',
        v.attname, routed.type, k.attname, oskol.route_type(k.atttypid), source)
    FROM pg_attribute v, pg_attribute k WHERE v.attrelid = routed.relation AND v.attnum = routed.attribute
    AND k.attrelid = routed.relation AND k.attnum = routed.key
$$;
REVOKE ALL ON FUNCTION oskol.route_query(oskol.routes, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION oskol.write_route_note(routed oskol.routes) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT oskol.write_note_function(routed.number, oskol.route_query(routed, 'come'), oskol.route_query(routed, 'gone'),
        false, format('oskol.routing_%s', routed.number))
$$;
REVOKE ALL ON FUNCTION oskol.write_route_note(oskol.routes) FROM PUBLIC;

-- `enter_N` makes and takes away entries on this shard. Of equal entries any is as good as another, so those are taken that
-- nobody else has locked: writers of the same value do not wait for one another. Where there are too few, others may give back
-- what they have taken, or what made the row is decided and not yet committed here. Above READ COMMITTED an entry that was there
-- for the snapshot, and is taken, is no error as long as there is another.
-- `routed_N` gives the buckets of the rows that have one of some values, each once; one NULL where there are more than `most`
-- such rows: routers are told that instead of the entries, which not everybody may see.
CREATE OR REPLACE FUNCTION oskol.write_route_calls(routed oskol.routes, key_type text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Takes what is free; the rest of it, with how many there are, goes into `missing`.
    take text := format($take$
        WITH gone AS MATERIALIZED (SELECT (e->>0)::%2$s AS v, (e->>1)::%3$s AS key, count(*) AS amount
                FROM json_array_elements(gone) e GROUP BY 1, 2 ORDER BY 1, 2),
            taken AS (DELETE FROM oskol.routing_%1$s u WHERE u.ctid = ANY (ARRAY(
                SELECT f.ctid FROM gone g, LATERAL (SELECT r.ctid FROM oskol.routing_%1$s r
                    WHERE r.v = g.v AND r.key = g.key LIMIT g.amount FOR UPDATE SKIP LOCKED) f))
                RETURNING u.v, u.key)
        SELECT json_agg(json_build_array(m.v, m.key, m.amount)) INTO missing
            FROM (SELECT g.v, g.key, g.amount - count(t.key) AS amount FROM gone g LEFT JOIN taken t USING (v, key)
                GROUP BY g.v, g.key, g.amount HAVING g.amount > count(t.key)) m;
        $take$, routed.number, routed.type, key_type);
BEGIN
    EXECUTE format($outer$
        CREATE OR REPLACE FUNCTION oskol.enter_%1$s(token text, gone json, come json) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $inner$
        #variable_conflict use_column
        DECLARE
            missing json;
            wanted record;
            candidate record;
            amount int8;
        BEGIN
            PERFORM oskol.check_router(token);
            IF json_array_length(gone) = 0 THEN
                NULL;
            ELSIF current_setting('transaction_isolation') IN ('read committed', 'read uncommitted') THEN
                %4$s
            ELSE
                BEGIN
                    %4$s
                EXCEPTION WHEN serialization_failure THEN
                    SELECT json_agg(json_build_array(e->>0, e->>1, 1)) INTO missing FROM json_array_elements(gone) e;
                END;
            END IF;
            FOR wanted IN SELECT (e->>0)::%2$s AS v, (e->>1)::%3$s AS key, (e->>2)::int8 AS amount
                FROM json_array_elements(missing) e
            LOOP
                amount := wanted.amount;
                FOR round IN 1..2 LOOP
                    FOR candidate IN SELECT u.ctid FROM oskol.routing_%1$s u WHERE u.v = wanted.v AND u.key = wanted.key LOOP
                        EXIT WHEN amount = 0;
                        BEGIN
                            DELETE FROM oskol.routing_%1$s u WHERE u.ctid = candidate.ctid;
                            IF FOUND THEN
                                amount := amount - 1;
                            END IF;
                        EXCEPTION WHEN serialization_failure THEN
                            NULL;
                        END;
                    END LOOP;
                    EXIT WHEN amount = 0;
                    IF round = 1 THEN
                        PERFORM oskol.await_prepared('oskol.routing_%1$s'::regclass);
                    END IF;
                END LOOP;
            END LOOP;
            INSERT INTO oskol.routing_%1$s SELECT (e->>0)::%2$s, (e->>1)::%3$s FROM json_array_elements(come) e;
        END
        $inner$ $outer$, routed.number, routed.type, key_type, take);
    EXECUTE format($outer$
        CREATE OR REPLACE FUNCTION oskol.routed_%1$s(given %2$s[], most int4) RETURNS SETOF int4
        LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
        SET enable_bitmapscan = off AS $inner$
        DECLARE
            found int4[];
            amount int8;
        BEGIN
            SELECT array_agg(DISTINCT (hash_record_extended(ROW(e.key), 0) & 4095)::int4), count(*) INTO found, amount
                FROM (SELECT u.key FROM oskol.routing_%1$s u WHERE u.v = ANY (given) LIMIT most + 1) e;
            IF amount > most THEN
                RETURN NEXT NULL;
            ELSE
                RETURN QUERY SELECT unnest(found);
            END IF;
        END
        $inner$ $outer$, routed.number, routed.type);
END
$$;
REVOKE ALL ON FUNCTION oskol.write_route_calls(oskol.routes, text) FROM PUBLIC;

-- Takes away what belongs to a routing index. Routers that have not heard of it yet may still ask `routed_N`: it tells them
-- from now on to ask all shards, and goes with the entries' table once all have heard (`oskol.clear_routes`).
CREATE OR REPLACE FUNCTION oskol.drop_route(gone oskol.routes) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
BEGIN
    DELETE FROM oskol.routes r WHERE r.number = gone.number;
    EXECUTE format('DROP FUNCTION IF EXISTS oskol.note_%s() CASCADE', gone.number);
    EXECUTE format('DROP FUNCTION IF EXISTS oskol.enter_%s(text, json, json)', gone.number);
    EXECUTE format('CREATE OR REPLACE FUNCTION oskol.routed_%s(given %s[], most int4) RETURNS SETOF int4 '
        'LANGUAGE sql STABLE AS ''SELECT NULL::pg_catalog.int4''', gone.number, gone.type);
END
$$;
REVOKE ALL ON FUNCTION oskol.drop_route(oskol.routes) FROM PUBLIC;

-- Tables and functions of routing indexes that are no more, unless somebody is at them.
CREATE OR REPLACE FUNCTION oskol.clear_routes() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
SET lock_timeout = '100ms' AS $$
DECLARE
    gone record;
BEGIN
    FOR gone IN SELECT c.oid, c.relname, substr(c.relname, 9) AS number FROM pg_class c
        WHERE c.relnamespace = 'oskol'::regnamespace AND c.relkind = 'r' AND c.relname ~ '^routing_[0-9]+$'
        AND NOT EXISTS (SELECT FROM oskol.routes r WHERE r.number = substr(c.relname, 9)::int4)
    LOOP
        BEGIN
            EXECUTE format('DROP TABLE oskol.%I', gone.relname);
            EXECUTE (SELECT coalesce(string_agg(format('DROP FUNCTION %s', p.oid::regprocedure), ';'), '')
                FROM pg_proc p WHERE p.pronamespace = 'oskol'::regnamespace AND p.proname = 'routed_' || gone.number);
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION oskol.clear_routes() FROM PUBLIC;

-- Begins to keep a routing index; the entries of the rows that are there are noted. `wanted`: its number, on a shard that is
-- to have those of the others.
CREATE OR REPLACE FUNCTION oskol.make_route(relation oid, attribute int2, key int2, wanted int4 DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    routed oskol.routes;
    key_type text := (SELECT oskol.route_type(a.atttypid) FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum = key);
BEGIN
    INSERT INTO oskol.routes AS r SELECT oskol.number_key(wanted), a.attrelid, a.attnum, key, oskol.route_type(a.atttypid)
        FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum = attribute RETURNING r.* INTO STRICT routed;
    EXECUTE format('CREATE TABLE oskol.routing_%s (v %s NOT NULL, key %s NOT NULL)', routed.number,
        routed.type || CASE routed.type WHEN 'text' THEN ' COLLATE "C"' ELSE '' END,
        key_type || CASE key_type WHEN 'text' THEN ' COLLATE "C"' ELSE '' END);
    EXECUTE format('CREATE INDEX routing_%1$s_values ON oskol.routing_%1$s (v, key)', routed.number);
    PERFORM oskol.write_route_note(routed);
    PERFORM oskol.write_route_calls(routed, key_type);
    PERFORM oskol.write_note_triggers(routed.number, relation, format('oskol_route_%s_', routed.number), false);
    EXECUTE format('INSERT INTO oskol.changes (number, adds, bucket, entry) SELECT %s, true, bucket, entry FROM (%s) c',
        routed.number, oskol.route_query(routed, 'ONLY ' || relation::regclass::text));
END
$$;
REVOKE ALL ON FUNCTION oskol.make_route(oid, int2, int2, int4) FROM PUBLIC;

-- Has the values of a column lead to the shards of their rows, or no more. `key`: the table's shard key; NULL: no more. The
-- caller must own the table.
CREATE OR REPLACE FUNCTION oskol.keep_route(schema text, name text, column_name text, key text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
    kept pg_class;
    attribute int2;
BEGIN
    SELECT c.* INTO STRICT kept FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = schema AND c.relname = name;
    IF NOT pg_has_role(caller, kept.relowner, 'MEMBER') THEN
        RAISE EXCEPTION 'must be owner of table %', name USING ERRCODE = '42501';
    END IF;
    SELECT a.attnum INTO STRICT attribute FROM pg_attribute a WHERE a.attrelid = kept.oid AND a.attname = column_name;
    PERFORM oskol.drop_route(r) FROM oskol.routes r WHERE r.relation = kept.oid AND r.attribute = attribute;
    IF key IS NOT NULL THEN
        PERFORM oskol.clear_routes();
        PERFORM oskol.make_route(kept.oid, attribute,
            (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = kept.oid AND a.attname = key));
    END IF;
END
$$;

-- A table that is placed anew begins without entries. The caller must own it.
CREATE OR REPLACE FUNCTION oskol.leave_routes(schema text, name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    PERFORM oskol.drop_route(r) FROM oskol.routes r JOIN pg_class c ON c.oid = r.relation
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = leave_routes.schema AND c.relname = leave_routes.name
        AND pg_has_role(caller, c.relowner, 'MEMBER');
END
$$;

-- A column, or a table, that is dropped takes its entries along, whatever dropped it.
CREATE OR REPLACE FUNCTION oskol.on_route_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM oskol.routes r WHERE NOT EXISTS (SELECT FROM pg_attribute a
        WHERE a.attrelid = r.relation AND a.attnum = r.attribute AND NOT a.attisdropped))
    THEN
        PERFORM oskol.drop_route(r) FROM oskol.routes r WHERE NOT EXISTS (SELECT FROM pg_attribute a
            WHERE a.attrelid = r.relation AND a.attnum = r.attribute AND NOT a.attisdropped);
        PERFORM oskol.clear_routes();
    END IF;
END
$$;

-- Notes go by the columns' names of today, and entries by their types.
CREATE OR REPLACE FUNCTION oskol.on_route_alter() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    routed oskol.routes;
    broken text;
BEGIN
    FOR routed IN SELECT r.* FROM oskol.routes r WHERE r.relation IN (SELECT c.objid FROM pg_event_trigger_ddl_commands() c
        WHERE c.classid = 'pg_class'::regclass) LOOP
        SELECT a.attname INTO broken FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation
            WHERE a.attrelid = routed.relation AND a.attnum = routed.attribute AND NOT a.attisdropped
            AND (oskol.route_type(a.atttypid) IS DISTINCT FROM routed.type OR NOT coalesce(c.collisdeterministic, true));
        IF FOUND THEN
            RAISE EXCEPTION 'the type of column "%" cannot be changed so', broken USING ERRCODE = '0A000',
                DETAIL = 'The column has a routing index, whose entries hash otherwise. [route-column-type]',
                HINT = 'Use oskol.unroute_by first, and oskol.route_by after the change.';
        END IF;
        PERFORM oskol.write_route_note(routed);
    END LOOP;
    PERFORM oskol.clear_routes();
END
$$;

-- Routing indexes of an older version.
DO $$
BEGIN
    PERFORM oskol.write_route_note(r), oskol.write_route_calls(r, (SELECT oskol.route_type(a.atttypid)
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = r.relation AND a.attnum = r.key)) FROM oskol.routes r;
    PERFORM oskol.clear_routes();
END
$$;

CREATE EVENT TRIGGER oskol_routes_drop ON sql_drop EXECUTE FUNCTION oskol.on_route_drop();
CREATE EVENT TRIGGER oskol_routes_alter ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION oskol.on_route_alter();
ALTER EVENT TRIGGER oskol_routes_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER oskol_routes_alter ENABLE ALWAYS;
-- Of an older version.
SELECT oskol.enable_triggers();
