#!/usr/bin/env bash
# docker/prometheus and docker/grafana for real: two shards under their agents, a standby of one of them, a router, and a
# Prometheus with our scrape configuration and alert rules. Fails where a target is not up, a rule cannot be evaluated or fires
# without cause, or a panel of the dashboard has no series.
#
#   apt-get install prometheus postgresql     (Debian's; its service need not run)
#   BIN=target/debug tests/observability.sh   (with oskol and shard-node in it)
set -euo pipefail
cd "$(dirname "$0")/.."
readonly bin=${BIN:-target/debug}
readonly first=${FIRST_PORT:-11600}
readonly directory=$(mktemp -d /tmp/oskol-observability.XXXXXX)
readonly binaries=$(dirname "$(ls /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)")
[ "$(id -u)" != 0 ] || chown postgres "$directory"
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid postgres --regid postgres --init-groups --pdeathsig TERM -- "$@"; else setpriv --pdeathsig TERM -- "$@"; fi; }

say() { printf 'observability: %s\n' "$*"; }
started=()
start() {
    local log=$directory/$1.log
    shift
    "$@" >"$log" 2>&1 &
    started+=($!)
}
clean() {
    local status=$?
    [ "$status" = 0 ] || tail -n 8 "$directory"/*.log >&2
    as "$binaries/pg_ctl" -D "$directory/standby" -m immediate stop >/dev/null 2>&1 || true
    kill "${started[@]}" 2>/dev/null || true
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
readonly password=observed
printf '%s' $password >"$directory/password"
printf 'token' >"$directory/token"
chmod 644 "$directory/password" "$directory/token"
export PGPASSWORD=$password PGUSER=postgres PGDATABASE=postgres PGHOST=127.0.0.1 PGCONNECT_TIMEOUT=5
sql() { psql -XAtq -v ON_ERROR_STOP=1 -p "$1" -c "$2"; }

for n in 0 1; do
    start shard-$n "$bin/shard-node" start --dir "$directory/shard-$n" --password-file "$directory/password" \
        --port $((first + n)) --health-address 127.0.0.1:$((first + 10 + n))
done
for n in 0 1; do eventually "shard $n runs" sql $((first + n)) 'select 1'; done
# One verifier on both, as a router needs it; a slot that somebody reads, and a standby.
verifier=$(sql "$first" "select rolpassword from pg_authid where rolname = 'postgres'")
sql $((first + 1)) "alter role postgres password '$verifier'"
as env PGPASSWORD=$password "$binaries/pg_basebackup" -h 127.0.0.1 -p $((first + 1)) -D "$directory/standby" \
    --write-recovery-conf --checkpoint=fast --create-slot --slot=standby
as "$binaries/pg_ctl" -D "$directory/standby" -l "$directory/standby-server.log" -w \
    -o "-p $((first + 2)) -c unix_socket_directories=$directory -c listen_addresses=127.0.0.1" start >/dev/null

cat >"$directory/oskol.toml" <<END
[cluster]
password_file = "$directory/password"
[[cluster.shards]]
id = 0
host = "127.0.0.1"
port = $first
[[cluster.shards]]
id = 1
host = "127.0.0.1:$((first + 1)),127.0.0.1:$((first + 2))"
[listen]
addresses = ["127.0.0.1:$((first + 20))"]
[admin]
address = "127.0.0.1:$((first + 21))"
END
chmod 644 "$directory/oskol.toml"
start router setpriv --pdeathsig TERM -- "$bin/oskol" router --config "$directory/oskol.toml"
readonly router=$((first + 20))
eventually "the router answers" sql $router 'select 1'
sql $router "create table posts (author bigint, id bigint); select oskol.shard_table('posts', 'author')" >/dev/null
load() {
    while [ ! -e "$directory/stop" ]; do
        for n in 1 2 3 4 5 6 7 8; do echo "insert into posts values ($n, 1); begin; insert into posts values ($n, 2); insert into posts values ($((n + 1)), 2); commit; select count(*) from posts; select * from posts where author = $n limit 1;"; done
        echo 'select 1 / 0; select no_such_column;'
        sleep 0.5
    done | psql -XAtq -p $router >/dev/null 2>&1
}
load & started+=($!)

# Our configuration, but for the places of what it scrapes: names of containers there, ports here.
mkdir "$directory/prometheus"
cp docker/prometheus/alerts.yml "$directory/prometheus/"
python3 - "$directory/prometheus/prometheus.yml" $((first + 21)) $((first + 10)) $((first + 11)) <<'END'
import re, sys
path, router, *shards = sys.argv[1:]
text = open("docker/prometheus/prometheus.yml").read()
here = ", ".join(f'"127.0.0.1:{port}"' for port in shards)
text, routers = re.subn(r'"router:6433"', f'"127.0.0.1:{router}"', text)
text, found = re.subn(r"dns_sd_configs:\n(?:      .*\n?)+", f"static_configs:\n      - targets: [{here}]\n", text)
assert (routers, found) == (1, 1), "docker/prometheus/prometheus.yml has another shape"
open(path, "w").write(text)
END
promtool check config "$directory/prometheus/prometheus.yml"
start prometheus setpriv --pdeathsig TERM -- prometheus --config.file="$directory/prometheus/prometheus.yml" --storage.tsdb.path="$directory/data" \
    --web.listen-address=127.0.0.1:$((first + 30))
eventually "Prometheus answers" curl -fs "http://127.0.0.1:$((first + 30))/-/ready"
# rate() over a minute needs two samples, rules an evaluation (by default each minute).
python3 tests/observability.py "http://127.0.0.1:$((first + 30))" docker/grafana/dashboards/oskol.json
touch "$directory/stop"
