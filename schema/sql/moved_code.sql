-- Whose code the rows of a table run when they are moved. On every shard. Runs again without harm.

-- Whether a stored expression calls nothing but PostgreSQL's own immutable functions, which do nothing but compute. What
-- it depends on would not tell: pg_depend leaves out PostgreSQL's own, among them some that run any SQL (query_to_xml) or set
-- anything (set_config). A kind of expression that is not listed may call something: it does not count as own.
CREATE OR REPLACE FUNCTION oskol.is_own_code(tree pg_node_tree) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN NOT EXISTS (SELECT FROM regexp_matches(tree::text, '\{([A-Z]+)', 'g') AS n (node)
            WHERE n.node[1] NOT IN ('VAR', 'CONST', 'OPEXPR', 'FUNCEXPR', 'BOOLEXPR', 'NULLTEST', 'BOOLEANTEST',
                'SCALARARRAYOPEXPR', 'DISTINCTEXPR', 'NULLIFEXPR', 'RELABELTYPE', 'COERCETODOMAINVALUE', 'ARRAY', 'ARRAYEXPR',
                'CASE', 'CASEEXPR', 'WHEN', 'CASEWHEN', 'CASETESTEXPR', 'COALESCE', 'COALESCEEXPR'))
        AND NOT EXISTS (SELECT FROM regexp_matches(tree::text, ':(funcid|opno) ([0-9]+)', 'g') AS c (call)
            LEFT JOIN pg_operator o ON c.call[1] = 'opno' AND o.oid = c.call[2]::oid
            LEFT JOIN pg_proc p ON p.oid = CASE c.call[1] WHEN 'opno' THEN o.oprcode::oid ELSE c.call[2]::oid END
            WHERE p.oid IS NULL OR p.oid >= 16384 OR p.provolatile <> 'i');
END
$$;
REVOKE ALL ON FUNCTION oskol.is_own_code(pg_node_tree) FROM PUBLIC;

-- Whether reading a value of one of these types from text, or casting it, may call code that is not PostgreSQL's own. What
-- belongs to no superuser may be changed at any time, and counts as if it had been. `are_cast`: values are cast, too; whoever
-- owns an enum may say how.
CREATE OR REPLACE FUNCTION oskol.types_run_code(types oid[], are_cast boolean) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN (WITH RECURSIVE parts (type) AS (
        SELECT unnest(types)
        UNION
        SELECT x.type FROM parts p JOIN pg_type t ON t.oid = p.type CROSS JOIN LATERAL (
            SELECT t.typelem WHERE t.typelem <> 0
            UNION ALL SELECT t.typbasetype WHERE t.typtype = 'd'
            UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE t.typtype = 'c' AND a.attrelid = t.typrelid
                AND a.attnum > 0 AND NOT a.attisdropped
            UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid
            UNION ALL SELECT r.rngtypid FROM pg_range r WHERE r.rngmultitypid = t.oid) AS x (type))
    SELECT EXISTS (SELECT FROM parts p JOIN pg_type t ON t.oid = p.type JOIN pg_roles o ON o.oid = t.typowner
        LEFT JOIN pg_range r ON r.rngtypid = t.oid
        WHERE t.oid >= 16384 AND (t.typtype IN ('d', 'c', 'r', 'm') OR are_cast AND t.typtype = 'e')
        AND (NOT o.rolsuper OR r.rngsubdiff >= 16384
            OR EXISTS (SELECT FROM pg_constraint k WHERE k.contypid = t.oid AND NOT oskol.is_own_code(k.conbin))
            OR are_cast AND EXISTS (SELECT FROM pg_cast c WHERE t.oid IN (c.castsource, c.casttarget) AND c.castfunc >= 16384))));
END
$$;
REVOKE ALL ON FUNCTION oskol.types_run_code(oid[], boolean) FROM PUBLIC;

-- The type of a column in a table that runs no code, which holds the same values: their own, that behind a domain, or text.
CREATE OR REPLACE FUNCTION oskol.staged_type(type oid, typmod int4) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE behind (type, typmod, depth) AS (
        SELECT staged_type.type, staged_type.typmod, 0
        UNION ALL
        SELECT t.typbasetype, CASE WHEN b.typmod = -1 THEN t.typtypmod ELSE b.typmod END, b.depth + 1
        FROM behind b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd')
    SELECT CASE WHEN NOT oskol.types_run_code(ARRAY[staged_type.type], false)
            THEN format_type(staged_type.type, staged_type.typmod)
        WHEN NOT oskol.types_run_code(ARRAY[b.type], false) THEN format_type(b.type, b.typmod) ELSE 'text' END
    FROM behind b ORDER BY b.depth DESC LIMIT 1
$$;
REVOKE ALL ON FUNCTION oskol.staged_type(oid, int4) FROM PUBLIC;

-- The search path that a role begins with in this database.
CREATE OR REPLACE FUNCTION oskol.path_of(role oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT substr(c.setting, length('search_path=') + 1)
        FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) AS c (setting)
        WHERE s.setrole IN (path_of.role, 0) AND c.setting ~ '^search_path='
        AND s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
        ORDER BY s.setrole = 0, s.setdatabase = 0 LIMIT 1), '"$user", public')
$$;
REVOKE ALL ON FUNCTION oskol.path_of(oid) FROM PUBLIC;

-- A table and its partitions.
CREATE OR REPLACE FUNCTION oskol.parts_of(relation oid) RETURNS oid[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_agg(p) FROM (SELECT relation UNION SELECT t.relid FROM pg_partition_tree(relation) t) AS x (p)
$$;
REVOKE ALL ON FUNCTION oskol.parts_of(oid) FROM PUBLIC;

-- Whether writing a row of the table, deleting it, or planning a query of it (the planner computes what is constant in
-- expressions of indexes and statistics) may call code that is not PostgreSQL's own. Triggers of the user's are
-- silent but for those that are enabled ALWAYS or for replicas; defaults are not used.
CREATE OR REPLACE FUNCTION oskol.rows_run_code(relation oid, parts oid[]) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = ANY (parts) AND k.contype = 'c' AND NOT oskol.is_own_code(k.conbin))
        OR EXISTS (SELECT FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = ANY (parts) AND a.attgenerated <> '' AND NOT oskol.is_own_code(d.adbin))
        OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = ANY (parts)
            AND (NOT oskol.is_own_code(i.indexprs) OR NOT oskol.is_own_code(i.indpred)))
        OR EXISTS (SELECT FROM pg_statistic_ext e WHERE e.stxrelid = ANY (parts) AND NOT oskol.is_own_code(e.stxexprs))
        OR EXISTS (SELECT FROM pg_partitioned_table t WHERE t.partrelid = ANY (parts) AND NOT oskol.is_own_code(t.partexprs))
        OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = ANY (parts) AND t.tgenabled IN ('A', 'R') AND NOT t.tgisinternal)
        OR oskol.types_run_code((SELECT array_agg(a.atttypid) FROM pg_attribute a
            WHERE a.attrelid = ANY (parts) AND a.attnum > 0 AND NOT a.attisdropped), false)
        -- Which row is to be copied is told by its primary key, else by its shard key, else by all of it: cast from text.
        OR oskol.types_run_code((SELECT array_agg(a.atttypid) FROM pg_attribute a
            LEFT JOIN pg_index i ON i.indrelid = relation AND i.indisprimary
            WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
            AND (i.indexrelid IS NULL OR a.attnum = ANY (i.indkey::int2[]))), true);
END
$$;
REVOKE ALL ON FUNCTION oskol.rows_run_code(oid, oid[]) FROM PUBLIC;

-- How rows of a table are written where they come to. `owner`: by whom, as they run code; NULL: by whoever moves them.
-- `path`: his search path. `staged`: types of the columns on the way. `own`: what a column is cast to from there; '': nothing.
-- `refused`: why they cannot be moved.
DROP FUNCTION IF EXISTS oskol.moved_rows(oid);
CREATE OR REPLACE FUNCTION oskol.moved_rows(relation oid, OUT owner text, OUT path text, OUT staged text[], OUT own text[],
    OUT refused text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    of_owner record;
    parts oid[] := oskol.parts_of(relation);
    code boolean := oskol.rows_run_code(relation, parts);
BEGIN
    SELECT format('rule %I of table %s is enabled ALWAYS or for replicas, and would say what happens to rows that move: '
            'ALTER TABLE %2$s ENABLE RULE %1$I', w.rulename, w.ev_class::regclass) INTO refused
        FROM pg_rewrite w WHERE w.ev_class = ANY (parts) AND w.ev_enabled IN ('A', 'R')
        AND (w.ev_type = '4' OR w.ev_type = '3' AND code) LIMIT 1;
    IF NOT code THEN
        RETURN;
    END IF;
    SELECT r.oid, r.rolname, r.rolsuper INTO STRICT of_owner FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
        WHERE c.oid = relation;
    owner := quote_ident(of_owner.rolname);
    path := oskol.path_of(of_owner.oid);
    SELECT array_agg(s.type ORDER BY a.attnum), array_agg(CASE WHEN s.type = 'text' AND a.atttypid <> 'text'::regtype
            THEN format_type(a.atttypid, a.atttypmod) ELSE '' END ORDER BY a.attnum) INTO staged, own
        FROM pg_attribute a CROSS JOIN LATERAL oskol.staged_type(a.atttypid, a.atttypmod) AS s (type)
        WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
    refused := coalesce(refused,
        (SELECT format('trigger %I of table %s is deferrable and enabled ALWAYS or for replicas: it would run at the end of a '
                'move, with a superuser''s rights: ALTER TABLE %2$s ENABLE TRIGGER %1$I', t.tgname, t.tgrelid::regclass)
            FROM pg_trigger t WHERE t.tgrelid = ANY (parts) AND t.tgdeferrable AND t.tgenabled IN ('A', 'R')
            AND NOT t.tgisinternal LIMIT 1),
        (SELECT format('partition %s of table %s belongs to %I, and its code would run with the rights of %I, a superuser: let '
                'a superuser own it', c.oid::regclass, relation::regclass, r.rolname, of_owner.rolname)
            FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = ANY (parts)
            AND of_owner.rolsuper AND NOT r.rolsuper LIMIT 1));
END
$$;
REVOKE ALL ON FUNCTION oskol.moved_rows(oid) FROM PUBLIC;

-- `direct`: tables whose rows are written as they come. Here, too, they must run nobody's code.
CREATE OR REPLACE FUNCTION oskol.check_direct(direct text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    culprit text;
BEGIN
    SELECT d.name INTO culprit FROM unnest(direct) AS d (name)
        CROSS JOIN LATERAL oskol.moved_rows(d.name::regclass) m WHERE m.owner IS NOT NULL OR m.refused IS NOT NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'rows of table % run code on this shard that they do not run on the home shard', culprit
            USING ERRCODE = '0A000', HINT = 'oskol verify tells what is defined otherwise.';
    END IF;
END
$$;
REVOKE ALL ON FUNCTION oskol.check_direct(text[]) FROM PUBLIC;

-- Whether what tables are and call may have been changed by this transaction. Rows of later ones count as well.
CREATE OR REPLACE FUNCTION oskol.has_changed_tables() RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    ours int4 := age(pg_current_xact_id()::xid);
BEGIN
    RETURN EXISTS (SELECT FROM pg_class c WHERE age(c.xmin) <= ours)
        OR EXISTS (SELECT FROM pg_attribute c WHERE age(c.xmin) <= ours)
        OR EXISTS (SELECT FROM pg_attrdef c WHERE age(c.xmin) <= ours)
        OR EXISTS (SELECT FROM pg_constraint c WHERE age(c.xmin) <= ours)
        OR EXISTS (SELECT FROM pg_index c WHERE age(c.xmin) <= ours)
        OR EXISTS (SELECT FROM pg_trigger c WHERE age(c.xmin) <= ours)
        OR EXISTS (SELECT FROM pg_rewrite c WHERE age(c.xmin) <= ours)
        OR EXISTS (SELECT FROM pg_statistic_ext c WHERE age(c.xmin) <= ours)
        OR EXISTS (SELECT FROM pg_inherits c WHERE age(c.xmin) <= ours)
        OR EXISTS (SELECT FROM pg_type c WHERE age(c.xmin) <= ours)
        OR EXISTS (SELECT FROM pg_cast c WHERE age(c.xmin) <= ours);
END
$$;
REVOKE ALL ON FUNCTION oskol.has_changed_tables() FROM PUBLIC;

-- After code of others has run in a transaction that goes on with a superuser's rights: nothing of theirs may run in it
-- any more. What code was there for is dropped before.
CREATE OR REPLACE FUNCTION oskol.check_after_code(direct text[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    culprit text;
    -- Who may set it has triggers fire that are silent here.
    any_fires boolean := current_setting('session_replication_role') <> 'replica'
        OR EXISTS (SELECT FROM pg_parameter_acl p CROSS JOIN aclexplode(p.paracl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
            WHERE p.parname = 'session_replication_role' AND r.rolsuper IS NOT TRUE);
BEGIN
    SELECT format('trigger %I of table %s', t.tgname, t.tgrelid::regclass) INTO culprit
        FROM pg_trigger t JOIN pg_stat_xact_all_tables s ON s.relid = t.tgrelid
        WHERE t.tgdeferrable AND NOT t.tgisinternal AND s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0
        AND (any_fires OR t.tgenabled IN ('A', 'R')) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'code that runs when rows move leaves % for the end of the transaction', culprit
            USING ERRCODE = '0A000', DETAIL = 'It would run with a superuser''s rights.',
            HINT = 'Have it write to no table with a deferrable trigger that fires then.';
    END IF;
    SELECT c.relname INTO culprit FROM pg_class c WHERE c.relnamespace = pg_my_temp_schema() LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'code that runs when rows move makes temporary table "%"', culprit USING ERRCODE = '0A000',
            DETAIL = 'PostgreSQL prepares no transaction that has touched one.';
    END IF;
    IF oskol.has_changed_tables() THEN
        PERFORM oskol.check_direct(direct);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION oskol.check_after_code(text[]) FROM PUBLIC;
