-- What version 4 ran on other shards then. Never changed.
-- Objects of schema oskol on the shards that are not the home shard. Runs again without harm.

-- No sequence of these shards has a value left: ids come from the home shard. DDL would make new
-- sequences, or restart old ones, so the fence is put up in the same transaction.
CREATE OR REPLACE FUNCTION oskol.on_ddl() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM oskol.fence_sequences();
END
$$;

DROP EVENT TRIGGER IF EXISTS oskol_fence;
CREATE EVENT TRIGGER oskol_fence ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE SEQUENCE', 'ALTER SEQUENCE', 'CREATE SCHEMA')
    EXECUTE FUNCTION oskol.on_ddl();

SELECT oskol.fence_sequences();
