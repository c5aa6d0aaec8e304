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
    -- A transaction that only reads notes nothing, and may take nothing away.
    IF current_setting('transaction_read_only')::boolean AND NOT EXISTS (SELECT FROM oskol.key_changes) THEN
        RETURN;
    END IF;
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
        string_agg(given->>(c.ordinal - 1), ', ' ORDER BY c.ordinal) AS content,
        bool_or(given->>(c.ordinal - 1) IS NULL) AS has_null INTO told
        FROM oskol.foreign_key_columns(kept.oid) c;
    PERFORM oskol.raise_key(kept.oid, format('insert or update on table "%s" violates foreign key constraint "%s"',
            (SELECT c.relname FROM pg_class c WHERE c.oid = kept.conrelid), kept.conname),
        format(CASE WHEN kept.confmatchtype = 'f' AND told.has_null
                THEN 'MATCH FULL does not allow mixing of null and nonnull key values.'
            WHEN oskol.may_read(kept.conrelid, kept.conkey) THEN 'Key (%s)=(%s) is not present in table "%s".'
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
            -- MATCH FULL: what is null in part refers to none, and is told of when its turn comes.
            IF (CASE %6$L WHEN 'f' THEN %7$s ELSE %5$s END) THEN
                RETURN NULL;
            END IF;
            PERFORM oskol.check_collected(%1$s, TG_RELID);
            INSERT INTO oskol.key_changes (number, kind, bucket, old) VALUES (%1$s, 'c', %8$s, ARRAY[%9$s]);
            RETURN NULL;
        END
        $inner$ $outer$, number, settings, listed.child_old, listed.child_new, listed.child_null, kept.confmatchtype,
        listed.child_nulls, oskol.bucket_of('NEW', parent_bucket), listed.child_texts);
    EXECUTE format($outer$
        CREATE OR REPLACE FUNCTION oskol.leave_%1$s() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER %2$s AS $inner$
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                IF record_image_eq(ROW(%3$s), ROW(%4$s)) OR %5$s THEN
                    RETURN NULL;
                END IF;
                PERFORM oskol.check_collected(%1$s, TG_RELID);
                INSERT INTO oskol.key_changes (number, kind, bucket, old, new)
                    VALUES (%1$s, 'u', %6$s, ARRAY[%7$s], ARRAY[%8$s]);
            ELSIF NOT (%5$s) THEN
                PERFORM oskol.check_collected(%1$s, TG_RELID);
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
        string_agg(format(CASE kept.confmatchtype WHEN 'f' THEN 'x.%I IS NOT DISTINCT FROM (k.v->>%s)::%s'
            ELSE 'x.%I = (k.v->>%s)::%s' END, c.child, c.ordinal - 1, c.child_type), ' AND ') AS own,
        string_agg(format('x.%I::text', c.child), ', ' ORDER BY c.ordinal) AS texts,
        string_agg(format('x.%I IS NOT NULL', c.child), CASE kept.confmatchtype WHEN 'f' THEN ' OR ' ELSE ' AND ' END)
            AS present,
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

-- PostgreSQL compares with the parent's collation; here each side hashes its own values.
CREATE OR REPLACE FUNCTION oskol.check_foreign_key(key oid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    culprit record;
BEGIN
    SELECT k.conname, c.child, c.parent INTO culprit FROM pg_constraint k
        CROSS JOIN LATERAL oskol.foreign_key_columns(k.oid) c
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.child_number
        JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = c.parent_number
        WHERE k.oid = key AND a.attcollation <> b.attcollation
        AND EXISTS (SELECT FROM pg_collation l WHERE l.oid IN (a.attcollation, b.attcollation) AND NOT l.collisdeterministic)
        LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'foreign key "%" cannot be kept over all shards', culprit.conname USING ERRCODE = 'feature_not_supported',
            DETAIL = format('Columns "%s" and "%s" have different collations, one of which holds different texts for equal. '
                '[foreign-key-collation]', culprit.child, culprit.parent),
            HINT = 'Give both columns the same collation.';
    END IF;
END
$$;
REVOKE ALL ON FUNCTION oskol.check_foreign_key(oid) FROM PUBLIC;

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
    IF enforced THEN
        PERFORM oskol.check_foreign_key(kept.oid);
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
    number := coalesce(known, oskol.number_key());
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

-- NOT ENFORCED: nobody looks at the rows of the newest foreign key over these columns. To be followed by
-- `oskol.keep_foreign_keys`. The caller must own the table.
CREATE OR REPLACE FUNCTION oskol.leave_key_alone(schema text, name text, columns text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    PERFORM oskol.forget_foreign_keys();
    INSERT INTO oskol.foreign_keys SELECT oskol.number_key(), k.oid, k.conrelid, k.confrelid, 'all', NULL, 'all', false
        FROM (SELECT k.* FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE k.contype = 'f' AND k.conparentid = 0 AND n.nspname = schema AND c.relname = name
        AND pg_has_role(caller, c.relowner, 'MEMBER')
        AND columns = (SELECT array_agg(a.attname::text ORDER BY o.at) FROM unnest(k.conkey) WITH ORDINALITY AS o (number, at)
            JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = o.number)
        AND NOT EXISTS (SELECT FROM oskol.foreign_keys f WHERE f.key = k.oid)
        ORDER BY k.oid DESC LIMIT 1) k;
END
$$;

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

-- Keys of an older version: what notes them did not ask whether anybody will collect it, and their numbers came again.
DO $$
BEGIN
    UPDATE oskol.key_numbers n SET highest = greatest(n.highest, (SELECT max(u.number) FROM oskol.unique_keys u),
        (SELECT max(f.number) FROM oskol.foreign_keys f));
    EXECUTE (SELECT coalesce(string_agg(replace(pg_catalog.pg_get_functiondef(p.oid), 'INSERT INTO oskol.key_changes', format(
            'PERFORM oskol.check_collected(%s, TG_RELID); INSERT INTO oskol.key_changes', f.number)), ';'), '')
        FROM oskol.foreign_keys f JOIN pg_catalog.pg_proc p ON p.pronamespace = 'oskol'::pg_catalog.regnamespace
        AND p.proname IN ('refer_' || f.number, 'leave_' || f.number) AND p.prosrc !~ 'check_collected');
END
$$;

CREATE EVENT TRIGGER oskol_references ON sql_drop EXECUTE FUNCTION oskol.on_key_drop();
ALTER EVENT TRIGGER oskol_references ENABLE ALWAYS;
