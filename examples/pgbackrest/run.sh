#!/usr/bin/env bash
# The steps of docs/backup.md with pgBackRest, for real: two shards whose WAL is archived, a base backup of each while money
# moves between them, a restore point of the whole cluster, more moves, and all shards restored to that point by its name.
# All on this machine, in a temporary directory. Fails where the sum does not hold, a transaction is there in part, or what was
# done after the point is there.
#
#   apt-get install pgbackrest postgresql     (Debian's; run this as root, the servers run as postgres)
#   OSKOL=target/release/oskol examples/pgbackrest/run.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
readonly oskol=${OSKOL:-$here/../../target/release/oskol}
readonly first=${FIRST_PORT:-11500}
readonly directory=$(mktemp -d /tmp/oskol-pgbackrest.XXXXXX)
readonly binaries=$(dirname "$(ls /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)")
chown postgres "$directory"
as() { setpriv --reuid postgres --regid postgres --init-groups -- "$@"; }

say() { printf 'pgbackrest: %s\n' "$*"; }
up= router=
clean() {
    local status=$?
    [ "$status" = 0 ] || tail -n 15 "$directory"/*.log >&2
    [ -z "$router" ] || kill "$router" 2>/dev/null || true
    [ -z "$up" ] || kill "$up" 2>/dev/null || true
    for n in 0 1; do as "$binaries/pg_ctl" -D "$directory/restored-$n" -m immediate stop >/dev/null 2>&1 || true; done
    wait
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
export PGUSER=postgres PGDATABASE=postgres PGHOST=127.0.0.1 PGCONNECT_TIMEOUT=5
sql() { PGPASSWORD=$(cat "$directory/cluster/password") psql -XAtq -v ON_ERROR_STOP=1 -p "$1" -c "$2"; }
backrest() { as pgbackrest --config="$directory/pgbackrest.conf" --log-level-console=warn "$@"; }

start() {
    setpriv --pdeathsig TERM -- "$oskol" up --shards 2 --data "$directory/cluster" --config "$directory/up.toml" >"$directory/up.log" 2>&1 &
    up=$!
    eventually "the cluster runs" sql "$first" 'select 1'
}
stop() { kill "$up"; wait "$up" || true; up=; }

cat >"$directory/up.toml" <<END
[listen]
addresses = ["127.0.0.1:$first"]
[admin]
address = ""
END
chmod 644 "$directory/up.toml"
start

# A stanza a shard.
port() { sed -n 4p "$directory/cluster/shard-$1/postmaster.pid"; }
socket() { sed -n 5p "$directory/cluster/shard-$1/postmaster.pid"; }
{
    printf '[global]\nrepo1-path=%s/repository\nrepo1-retention-full=2\nlog-path=%s\nlock-path=%s/lock\nspool-path=%s/spool\nstart-fast=y\n' \
        "$directory" "$directory" "$directory" "$directory"
    for n in 0 1; do
        printf '[shard-%s]\npg1-path=%s\npg1-port=%s\npg1-socket-path=%s\n' $n "$directory/cluster/shard-$n" "$(port $n)" "$(socket $n)"
    done
} >"$directory/pgbackrest.conf"
chmod 644 "$directory/pgbackrest.conf"
shard() { PGPASSWORD=$(cat "$directory/cluster/password") psql -XAtq -v ON_ERROR_STOP=1 -h "$(socket "$1")" -p "$(port "$1")" -c "$2"; }
for n in 0 1; do
    shard $n "alter system set archive_mode = on"
    shard $n "alter system set archive_timeout = '60s'"
    shard $n "alter system set archive_command = 'pgbackrest --config=$directory/pgbackrest.conf --stanza=shard-$n archive-push %p'"
done
# archive_mode needs a start of the server.
stop
start
cp "$directory/cluster/pgpass" "$directory/pgpass" 2>/dev/null || true
export PGPASSFILE=$directory/.pgpass
printf '*:*:*:postgres:%s\n' "$(cat "$directory/cluster/password")" >"$PGPASSFILE"
chown postgres "$PGPASSFILE"
chmod 600 "$PGPASSFILE"
for n in 0 1; do
    sed -i "/^\[shard-$n\]/,/^pg1-socket-path/ s|^pg1-port=.*|pg1-port=$(port $n)|" "$directory/pgbackrest.conf"
    backrest --stanza=shard-$n stanza-create
    backrest --stanza=shard-$n check
done
say "stanzas made and checked"

# Money moves between accounts, mostly of two shards; the sum is 40,000 at every moment.
sql "$first" "create table accounts (id bigint primary key, amount bigint); select oskol.shard_table('accounts', 'id');
    insert into accounts select n, 1000 from generate_series(1, 40) n;
    create table notes (id bigint, said text); select oskol.shard_table('notes', 'id')" >/dev/null
clerk() {
    while [ ! -e "$directory/stop" ]; do
        # Ascending, so that two clerks do not wait in a circle.
        local a=$((RANDOM % 39 + 1)) by=$((RANDOM % 9 - 4))
        local b=$((a + 1 + RANDOM % (40 - a)))
        echo "begin; update accounts set amount = amount - ($by) where id = $a; update accounts set amount = amount + ($by) where id = $b; commit;"
        echo '\echo moved'
    done | PGPASSWORD=$(cat "$directory/cluster/password") psql -XAtq -v ON_ERROR_STOP=1 -p "$first" 2>>"$directory/clerks.log" | grep -c moved >>"$directory/moves"
}
clerks=()
for _ in 1 2 3; do clerk & clerks+=($!); done
for n in 0 1; do backrest --stanza=shard-$n --type=full backup; done
say "a base backup of each shard, while three clerks moved money"

# Where the router is: that of the cluster that runs.
cat >"$directory/points.toml" <<END
[cluster]
password_file = "$directory/cluster/password"
[[cluster.shards]]
id = 0
host = "$(socket 0)"
port = $(port 0)
[[cluster.shards]]
id = 1
host = "$(socket 1)"
port = $(port 1)
END
sleep 2
point=$("$oskol" backup --config "$directory/points.toml" --points-only | grep -o 'oskol_[a-z0-9_]*' | tail -n 1)
say "restore point $point"
sql "$first" "insert into notes select n, 'after the point' from generate_series(1, 100) n"
sleep 2
touch "$directory/stop"
for clerk in "${clerks[@]}"; do wait "$clerk" || true; done
say "$(paste -sd+ "$directory/moves" | bc) transfers, before and after the point"
# The WAL with the point must have been archived: a switch, or archive_timeout.
for n in 0 1; do shard $n "select pg_switch_wal()" >/dev/null; backrest --stanza=shard-$n check; done
ports=("$((first + 1))" "$((first + 2))")
stop

for n in 0 1; do
    install -d -o postgres -m 0700 "$directory/restored-$n"
    backrest --stanza=shard-$n --pg1-path="$directory/restored-$n" --type=name --target="$point" --target-action=promote restore
    # Another address than the old server's, and no archive of its own over the old one's.
    as "$binaries/pg_ctl" -D "$directory/restored-$n" -l "$directory/restored-$n.log" -w -t 120 \
        -o "-p ${ports[$n]} -c archive_mode=off -c unix_socket_directories=$directory" start >/dev/null
done
for n in 0 1; do
    eventually "shard $n has recovered" [ "$(PGPASSWORD=$(cat "$directory/cluster/password") psql -XAtq -h "$directory" -p "${ports[$n]}" -c 'select pg_is_in_recovery()')" = f ]
done
cat >"$directory/restored.toml" <<END
[cluster]
password_file = "$directory/cluster/password"
[[cluster.shards]]
id = 0
host = "$directory"
port = ${ports[0]}
[[cluster.shards]]
id = 1
host = "$directory"
port = ${ports[1]}
[listen]
addresses = ["127.0.0.1:$((first + 3))"]
[admin]
address = ""
END
setpriv --pdeathsig TERM -- "$oskol" router --config "$directory/restored.toml" >"$directory/restored-router.log" 2>&1 &
router=$!
eventually "a router serves what was restored" sql $((first + 3)) 'select 1'
no_doubt() { for n in 0 1; do [ "$(PGPASSWORD=$(cat "$directory/cluster/password") psql -XAtq -h "$directory" -p "${ports[$n]}" -c 'select count(*) from pg_prepared_xacts')" = 0 ] || return 1; done; }
eventually "no transaction is in doubt" no_doubt
sum=$(sql $((first + 3)) "select sum(amount) from accounts")
later=$(sql $((first + 3)) "select count(*) from notes")
say "restored: the sum is $sum, $later rows of after the point"
[ "$sum" = 40000 ] && [ "$later" = 0 ]
"$oskol" verify --config "$directory/restored.toml"
say "no half transaction"
