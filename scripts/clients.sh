#!/usr/bin/env bash
# Puts what the tests of real clients need under target/: Python packages in target/venv, npm packages in target/node.
# Quick and silent when the pinned versions are there. Node is optional; its tests are skipped where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'clients: %s\n' "$*"; }

# $1: a stamp; the rest: files. Whether the stamp was made from these very files.
is_current() {
    local stamp=$1
    shift
    [ -f "$stamp" ] && [ "$(cat "$@" | sha256sum)" = "$(cat "$stamp")" ]
}

python_packages() {
    local venv=target/venv wanted=tests/clients/requirements.txt
    local files=("$wanted" tests/clients/*/requirements.txt)
    if is_current "$venv/stamp" "${files[@]}" && "$venv/bin/python" -c '' 2>/dev/null; then return; fi
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian keeps these apart from Python itself.
        say "installing with apt-get: python3 python3-venv"
        local root=
        [ "$(id -u)" -eq 0 ] || root=sudo
        $root apt-get update -qq
        $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3 python3-venv >/dev/null
    fi
    say "installing from PyPI into $venv: $(cat "${files[@]}" | grep -vE '^(#|-r)' | xargs)"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
    cat "${files[@]}" | sha256sum >"$venv/stamp"
}

node_packages() {
    local place=target/node files=(tests/clients/node/package.json tests/clients/node/package-lock.json)
    if ! command -v npm >/dev/null 2>&1; then
        say "no npm here: the tests of node-postgres are skipped"
        return
    fi
    if is_current "$place/stamp" "${files[@]}"; then return; fi
    say "installing from npm into $place, as tests/clients/node/package-lock.json says"
    mkdir -p "$place"
    cp "${files[@]}" "$place/"
    npm ci --prefix "$place" --silent --no-audit --no-fund
    cat "${files[@]}" | sha256sum >"$place/stamp"
}

python_packages
node_packages
