#!/usr/bin/env bash
# Two shards, each a primary and a synchronous standby under Patroni, with three etcd members for the consensus, and a router in
# front: all on this machine, in a temporary directory. Clients write; then the primary of shard 1 dies, and its machine
# with it. Says how long no write to it succeeded, and fails where something acknowledged was lost.
#
#   apt-get install patroni etcd-server python3-psycopg2 postgresql     (Debian's; their services need not run)
#   OSKOL=target/release/oskol examples/patroni/run.sh       (ASK_PATRONI=no: by the list of hosts alone)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
readonly oskol=${OSKOL:-$here/../../target/release/oskol}
readonly first=${FIRST_PORT:-11400}
readonly directory=$(mktemp -d /tmp/oskol-patroni.XXXXXX)
readonly binaries=$(dirname "$(ls /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)")
readonly password=example
# PostgreSQL refuses to run as root.
if [ "$(id -u)" = 0 ]; then
    chown postgres "$directory"
    as() { setpriv --reuid postgres --regid postgres --init-groups --pdeathsig TERM -- "$@"; }
else
    as() { setpriv --pdeathsig TERM -- "$@"; }
fi

say() { printf 'patroni: %s\n' "$*"; }
started=()
start() {
    local log=$directory/$1.log
    shift
    as "$@" >"$log" 2>&1 &
    started+=($!)
}
clean() {
    local status=$?
    [ "$status" = 0 ] || tail -n 15 "$directory"/*.log >&2
    kill "${started[@]}" 2>/dev/null || true
    for _ in $(seq 100); do pgrep -f "$directory/" >/dev/null || break; sleep 0.1; done
    pkill -KILL -f "$directory/" || true
    rm -rf "$directory"
}
trap clean EXIT
eventually() {
    local what=$1
    shift
    for _ in $(seq 600); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done
    say "not within two minutes: $what"
    return 1
}

# etcd: client and peer ports.
members= clients=
for n in 0 1 2; do
    members+=${members:+,}e$n=http://127.0.0.1:$((first + 10 + n))
    clients+=${clients:+,}127.0.0.1:$((first + n))
done
for n in 0 1 2; do
    client=http://127.0.0.1:$((first + n)) peer=http://127.0.0.1:$((first + 10 + n))
    start etcd-$n etcd --name e$n --data-dir "$directory/etcd-$n" --log-outputs stderr --initial-cluster "$members" \
        --listen-client-urls $client --advertise-client-urls $client --listen-peer-urls $peer --initial-advertise-peer-urls $peer
done

# Port of a server, and of its Patroni's REST interface.
port() { echo $((first + 20 + 2 * $1 + $2)); }
rest() { echo $((first + 30 + 2 * $1 + $2)); }
node() { # shard, number
    cat >"$directory/node-$1-$2.yml" <<END
scope: shard-$1
name: node-$1-$2
restapi: { listen: "127.0.0.1:$(rest "$1" "$2")", connect_address: "127.0.0.1:$(rest "$1" "$2")" }
etcd3: { hosts: "$clients" }
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 2
    retry_timeout: 5
    primary_start_timeout: 0
    # Only a standby that has all that was acknowledged is promoted.
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      parameters:
        wal_level: logical
        max_prepared_transactions: 200
        max_connections: 100
        wal_log_hints: "on"
        password_encryption: scram-sha-256
  initdb: [data-checksums, { encoding: UTF8 }, { locale: C.UTF-8 }]
postgresql:
  listen: "127.0.0.1:$(port "$1" "$2")"
  connect_address: "127.0.0.1:$(port "$1" "$2")"
  data_dir: $directory/data-$1-$2
  bin_dir: $binaries
  pgpass: $directory/pgpass-$1-$2
  parameters: { unix_socket_directories: "$directory", shared_buffers: 32MB }
  pg_hba:
    - local all all trust
    - host all all 127.0.0.1/32 scram-sha-256
    - host replication all 127.0.0.1/32 scram-sha-256
  authentication:
    superuser: { username: postgres, password: $password }
    replication: { username: replicator, password: $password }
    rewind: { username: rewinder, password: $password }
END
    chmod 644 "$directory/node-$1-$2.yml"
    start "node-$1-$2" patroni "$directory/node-$1-$2.yml"
}
export PGPASSWORD=$password PGUSER=postgres PGDATABASE=postgres PGHOST=127.0.0.1 PGCONNECT_TIMEOUT=5
sql() { psql -XAtq -v ON_ERROR_STOP=1 -p "$1" -c "$2"; }
leads() { curl -fs "http://127.0.0.1:$(rest "$1" "$2")/primary"; }
leader() { if leads "$1" 0 >/dev/null; then echo 0; elif leads "$1" 1 >/dev/null; then echo 1; else return 1; fi; }
is_synchronous() { [ "$(sql "$(port "$1" "$(leader "$1")")" "select count(*) from pg_stat_replication where sync_state = 'sync'")" = 1 ]; }

for shard in 0 1; do node $shard 0; done
for shard in 0 1; do eventually "shard $shard has a leader" leads $shard 0; done
for shard in 0 1; do node $shard 1; done
for shard in 0 1; do eventually "shard $shard has a synchronous standby" is_synchronous $shard; done

# One verifier on both shards, as the router needs it.
verifier=$(sql "$(port 0 0)" "select rolpassword from pg_authid where rolname = 'postgres'")
sql "$(port 1 0)" "alter role postgres password '$verifier'"

readonly client_port=$((first + 40))
# Patroni tells who leads, and of shard 1's second node. ASK_PATRONI=no: the hosts are asked themselves.
asked() {
    [ "${ASK_PATRONI:-yes}" = no ] || echo "patroni = [\"http://127.0.0.1:$(rest "$1" 0)\", \"http://127.0.0.1:$(rest "$1" 1)\"]"
}
second_host=
[ "${ASK_PATRONI:-yes}" = yes ] || second_host=,127.0.0.1:$(port 1 1)
cat >"$directory/oskol.toml" <<END
[cluster]
password = "$password"
failover_timeout = "60s"
[[cluster.shards]]
id = 0
host = "127.0.0.1:$(port 0 0),127.0.0.1:$(port 0 1)"
$(asked 0)
[[cluster.shards]]
id = 1
host = "127.0.0.1:$(port 1 0)$second_host"
$(asked 1)
[pool]
checkout_timeout = "60s"
[listen]
addresses = ["127.0.0.1:$client_port"]
[admin]
address = ""
END
chmod 644 "$directory/oskol.toml"
start router "$oskol" router --config "$directory/oskol.toml"
eventually "the router answers" sql $client_port 'select 1'
sql $client_port "create table ledger (account bigint, entry bigint); select oskol.shard_table('ledger', 'account')" >/dev/null

# What shard 1's leader is and runs, gone at once, as when its machine loses power.
lose_machine() {
    local n
    n=$(leader 1)
    say "node-1-$n is killed, with its Patroni"
    pkill -KILL -f "patroni $directory/node-1-$n.yml"
    pkill -KILL -f "$directory/data-1-$n" || true
    lost=$n
}
# Only the server; its Patroni is there to see it.
lose_server() {
    local n
    n=$(leader 1)
    say "the server of node-1-$n is killed"
    kill -KILL "$(head -n 1 "$directory/data-1-$n/postmaster.pid")"
    lost=$n
}
promoted() { [ "$(leader 1)" = $((1 - lost)) ]; }

for loss in lose_server lose_machine; do
    eventually "shard 1 has a synchronous standby" is_synchronous 1
    /usr/bin/python3 "$here/load.py" $client_port "$directory/stop" >"$directory/load.out" &
    load=$!
    sleep 3
    $loss
    eventually "a standby is promoted" promoted
    sleep 3
    touch "$directory/stop"
    wait $load || { cat "$directory/load.out"; exit 1; }
    rm "$directory/stop"
    cat "$directory/load.out"
done
say "nothing acknowledged was lost"
