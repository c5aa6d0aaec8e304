-- Which router each connection of this database belongs to, and which routers are kept out. Runs again without harm.

-- Of routers' connections for clients. Not logged: after a crash none of them is there any more.
CREATE UNLOGGED TABLE IF NOT EXISTS oskol.admitted (
    pid int4 PRIMARY KEY,
    started timestamptz NOT NULL,
    router int8 NOT NULL,
    life int8 NOT NULL
);

-- Routers that could not reach the home shard when something was changed that they route by. With a life of at least this
-- number they are welcome again: they are given it there, and read the shard map after that.
CREATE TABLE IF NOT EXISTS oskol.kept_out (
    router int8 PRIMARY KEY,
    life int8 NOT NULL
);

-- The first statement of every connection that a router opens for clients, in a transaction of its own (READ COMMITTED: what is
-- read after the lock must be of after the lock). Later calls change nothing. The last three: what the home shard says that this
-- shard has done (oskol.applied); a router of before version 8 does not ask.
DROP FUNCTION IF EXISTS oskol.admit(int8, int8);
CREATE OR REPLACE FUNCTION oskol.admit(router int8, life int8, number int8 DEFAULT NULL, digest int8 DEFAULT NULL,
    moved int8 DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    -- Who keeps a router out takes it exclusively, and then looks for its connections: none is missed.
    PERFORM pg_advisory_xact_lock_shared(8030875938583);
    IF EXISTS (SELECT FROM oskol.kept_out k WHERE k.router = admit.router AND k.life > admit.life) THEN
        RAISE EXCEPTION 'this router was cut off from the home shard when rows moved or tables changed'
            USING ERRCODE = '57P03', TABLE = 'oskol.kept_out',
            DETAIL = format('Router %s cannot use shard %s until it reaches the home shard again.', admit.router,
                (SELECT m.shard FROM oskol.meta m)),
            HINT = 'Connect to another router, or try again once the home shard can be reached from this one.';
    END IF;
    IF admit.number IS NOT NULL THEN
        PERFORM oskol.check_applied(admit.number, admit.digest, admit.moved);
    END IF;
    IF pg_is_in_recovery() THEN
        RETURN;
    END IF;
    INSERT INTO oskol.admitted AS a (pid, started, router, life)
        SELECT s.pid, s.backend_start, admit.router, admit.life FROM pg_stat_get_activity(pg_backend_pid()) s
        ON CONFLICT ON CONSTRAINT admitted_pkey DO UPDATE SET started = excluded.started, router = excluded.router,
        life = excluded.life WHERE a.started <> excluded.started;
END
$$;
GRANT EXECUTE ON FUNCTION oskol.admit(int8, int8, int8, int8, int8) TO PUBLIC;

-- From now on these routers are not let in with a life below the one beside them.
CREATE OR REPLACE FUNCTION oskol.keep_out(routers int8[], lives int8[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(8030875938583);
    INSERT INTO oskol.kept_out AS k SELECT * FROM unnest(keep_out.routers, keep_out.lives)
        ON CONFLICT (router) DO UPDATE SET life = greatest(k.life, excluded.life);
END
$$;
REVOKE ALL ON FUNCTION oskol.keep_out(int8[], int8[]) FROM PUBLIC;

-- Ends the connections of routers that are kept out, once oskol.keep_out() has been committed. Gives how many are left.
CREATE OR REPLACE FUNCTION oskol.send_away() RETURNS int8
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    remaining int8;
BEGIN
    DELETE FROM oskol.admitted a WHERE NOT EXISTS (SELECT FROM pg_stat_get_activity(NULL) s
        WHERE s.pid = a.pid AND s.backend_start = a.started);
    SELECT count(*) FILTER (WHERE NOT pg_terminate_backend(a.pid, 1000)) INTO remaining
        FROM oskol.admitted a JOIN oskol.kept_out k ON k.router = a.router AND k.life > a.life;
    RETURN remaining;
END
$$;
REVOKE ALL ON FUNCTION oskol.send_away() FROM PUBLIC;
