WITH written AS (
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn
), received AS (
    SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming') AS streaming,
           COALESCE(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::int8 AS behind
    WHERE pg_is_in_recovery()
)
SELECT json_build_object(
    'role', CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END,
    'version', current_setting('server_version_num')::int4,
    'system_identifier', (SELECT system_identifier::text FROM pg_control_system()),
    'timeline', (SELECT timeline_id FROM pg_control_checkpoint()),
    'connections', json_build_object(
        'used', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
        'max', current_setting('max_connections')::int4),
    'prepared', (SELECT json_build_object(
            'count', count(*),
            'oldest_seconds', COALESCE(GREATEST(EXTRACT(epoch FROM clock_timestamp() - min(prepared)), 0), 0))
        FROM pg_prepared_xacts),
    'replication', (SELECT json_build_object(
            'streaming', streaming,
            'replay_lag_bytes', GREATEST(behind, 0),
            'replay_lag_seconds', CASE WHEN streaming AND behind <= 0 THEN 0
                ELSE EXTRACT(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END)
        FROM received),
    'standbys', (SELECT COALESCE(json_agg(json_build_object(
            'name', application_name,
            'state', COALESCE(state, ''),
            'sync_state', COALESCE(sync_state, ''),
            'lag_bytes', pg_wal_lsn_diff(written.lsn, replay_lsn)::int8) ORDER BY application_name), '[]')
        FROM pg_stat_replication, written),
    'slots', (SELECT COALESCE(json_agg(json_build_object(
            'name', slot_name,
            'kind', slot_type,
            'active', active,
            'retained_bytes', pg_wal_lsn_diff(written.lsn, restart_lsn)::int8,
            'wal_status', wal_status) ORDER BY slot_name), '[]')
        FROM pg_replication_slots, written)
)::text
