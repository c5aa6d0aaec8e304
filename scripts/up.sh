#!/usr/bin/env bash
# Runs what `make up` has built: four shards and a router (`oskol up`, which takes the arguments), and the social network in front of
# them, filled with a small town the first time (SOCIAL_PEOPLE, SOCIAL_PICTURES: how small). Ctrl-C stops all. SOCIAL_LISTEN is where the
# social network listens; empty: it is not run.
set -euo pipefail

readonly programs=${PROGRAMS:-target/release}
readonly listen=${SOCIAL_LISTEN-127.0.0.1:8080}
app=

# The social network first: it still has its database then.
stop() {
    trap - INT TERM
    if [ -n "$app" ]; then kill -TERM "$app" 2>/dev/null || true; wait "$app" 2>/dev/null || true; fi
    kill -TERM "$cluster" 2>/dev/null || true
}

# In a database of its own: the one that `oskol up` names is its user's. Gives its address.
make_town() {
    local found
    found=$(psql "$1" -XAtqc "SELECT count(*) FROM pg_database WHERE datname = 'town'") || return
    if [ "$found" = 0 ]; then psql "$1" -Xqc 'CREATE DATABASE town' || return; fi
    printf '%s\n' "${1/\/postgres\?//town?}"
}

# Said by `oskol up` when it serves; its password file is beside its data.
start_app() {
    local url media
    if ! url=$(make_town "$1"); then
        echo "the social network is not started: its database could not be made" >&2
        return
    fi
    media=${url#*passfile=}
    media=${SOCIAL_MEDIA:-${media%/*}/social-media}
    if ! "$programs/social-app" --log warn seed "$url" --if-empty --media "$media"; then
        echo "the social network is not started: its tables could not be made" >&2
        return
    fi
    "$programs/social-app" --log warn serve "$url" --listen "$listen" --media "$media" \
        > >(sed -u 's/^ready: \(.*\)$/social network: \1   (sign in as ada, password oskol-town)/') &
    app=$!
}

exec 3< <(exec "$programs/oskol" up "$@")
cluster=$!
trap stop INT TERM
while IFS= read -r line <&3; do
    printf '%s\n' "$line"
    case $line in
        "ready: "*) if [ -n "$listen" ]; then start_app "${line#ready: }"; fi ;;
    esac
done
code=0
wait "$cluster" || code=$?
stop
exit "$code"
