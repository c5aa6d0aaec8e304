# Runs inside a container: sixteen writers, each of rows of one account, a connection for each row, until "stop" is read.
# A line for each statement: when it ended (us), how long it took (ms), the account, ok or error and why.
write() {
    local account=$1 said outcome begun ended
    while [ ! -e /tmp/stop ]; do
        begun=${EPOCHREALTIME/./}
        if said=$(timeout "${STATEMENT_TIMEOUT:-30}" psql -h router -p 6432 -U postgres -X -q -v ON_ERROR_STOP=1 \
            -c "insert into ledger (account, amount) values ($account, 1)" postgres 2>&1); then
            outcome=ok
        else
            outcome="error $(tr '\n' ' ' <<<"$said")"
        fi
        ended=${EPOCHREALTIME/./}
        echo "$ended $(((ended - begun) / 1000)) $account $outcome"
        sleep 0.5
    done
}
rm -f /tmp/stop
for account in {1..16}; do write "$account" & done
read -r
touch /tmp/stop
wait
