#!/usr/bin/env bash
# Makes the secrets that docker-compose.shards.yml gives to its containers, in docker/secrets, where there are none yet.
# The directory is its owner's alone. The files inside can be read by everybody who gets them: compose hands them to
# containers with these permissions, and their users have other numbers than you.
set -euo pipefail
cd "$(dirname "$0")"

mkdir -p secrets
chmod 0700 secrets
for name in superuser_password join_token social_password grafana_password; do
    [ -s "secrets/$name" ] && continue
    head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"secrets/$name.new"
    chmod 0444 "secrets/$name.new"
    mv "secrets/$name.new" "secrets/$name"
    echo "made docker/secrets/$name"
done

# As libpq's passfile, for the application.
printf 'router:6432:*:social:%s\n' "$(cat secrets/social_password)" >secrets/social_pgpass.new
chmod 0444 secrets/social_pgpass.new
mv -f secrets/social_pgpass.new secrets/social_pgpass
