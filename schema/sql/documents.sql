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
'applied', (SELECT json_build_array(a.number, a.digest) FROM oskol.applied a),
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
            FROM generate_series(1, i.indnkeyatts::int4) o) END,
        -- All columns that it is about: in its expressions and its condition, too.
        CASE WHEN u.number IS NOT NULL THEN ARRAY(SELECT k FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) k WHERE k > 0
            UNION SELECT d.refobjsubid::int2 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
            AND d.objid = i.indexrelid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
            AND d.refobjsubid > 0) END, coalesce(u.filling, false), NOT i.indimmediate)), '[]')
    FROM relation r JOIN pg_index i ON i.indrelid = r.oid JOIN pg_class c ON c.oid = i.indexrelid
    LEFT JOIN oskol.unique_keys u ON u.index = i.indexrelid
    WHERE i.indisunique OR i.indisexclusion),
'routes', (SELECT coalesce(json_agg(json_build_array(t.relation::int8, t.number, t.attribute) ORDER BY t.number), '[]')
    FROM oskol.routes t),
'highest_key', (SELECT n.highest FROM oskol.key_numbers n),
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
-- What fires for writes, and is not PostgreSQL's own.
'triggers', (SELECT coalesce(json_agg(json_build_array(t.tgrelid::int8, t.tgname, t.tgtype,
        CASE WHEN l.lanname = 'plpgsql' THEN p.prosrc END)), '[]')
    FROM pg_trigger t JOIN relation r ON r.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
    JOIN pg_language l ON l.oid = p.prolang
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgfoid >= 16384),
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
