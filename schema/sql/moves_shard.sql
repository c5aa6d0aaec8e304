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
    -- The mover's rows, as `oskol.is_replica` knows them, do not come as far as the function.
    EXECUTE format('CREATE TRIGGER oskol_move AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW '
        'WHEN (pg_catalog.current_setting(''session_replication_role'') <> ''replica'' '
        'OR pg_catalog.current_setting(''is_superuser'') <> ''on'' '
        'OR pg_catalog.current_setting(''oskol.moving'', true) IS DISTINCT FROM ''on'') '
        'EXECUTE FUNCTION oskol.on_move_%s()', followed, followed::oid);
    UPDATE pg_trigger t SET tgisinternal = true WHERE t.tgname = 'oskol_move' AND NOT t.tgisinternal
        AND t.tgfoid = format('oskol.on_move_%s()', followed::oid)::regprocedure;
    PERFORM oskol.enable_triggers();
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
ALTER EVENT TRIGGER oskol_follow ENABLE ALWAYS;
