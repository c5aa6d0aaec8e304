#!/usr/bin/env bash
# Installs what is missing to build, run and test Oskol on Debian or Ubuntu, and says what it installs.
# Usage: scripts/setup.sh [build] [test] [bench]      (build, if left out)
#   build  a C compiler, libclang, libwebp, PostgreSQL 15 or newer, and the Rust toolchain where there is none
#   test   Python with venv, for the tests of psycopg and Django; Chromium with its driver, where it is a package, for the social
#          network's
#   bench  PgBouncer and perf, to compare with and to profile; PgBouncer's own service is switched off
# Quick and silent when all is there. On other systems it names what is missing and installs nothing.
set -euo pipefail

readonly oldest_postgresql=15
readonly oldest_rust=1.88

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif has sudo; then sudo "$@"
    else die "needs root or sudo to run: $*"
    fi
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

updated=no
apt_install() {
    say "installing with apt-get: $*"
    if [ "$updated" = no ]; then
        as_root apt-get update -qq
        updated=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

install_missing() {
    local package missing=()
    for package; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
}

# The newest major version whose server programs are here; nothing where there is none.
postgresql_here() {
    local program version newest=
    for program in /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$program" ] || continue
        version=${program#/usr/lib/postgresql/}
        version=${version%%/*}
        if [ -z "$newest" ] || [ "$version" -gt "$newest" ]; then newest=$version; fi
    done
    echo "$newest"
}

postgresql_offered() {
    apt-cache search --names-only '^postgresql-[0-9]+$' | sed -E 's/^postgresql-([0-9]+) .*/\1/' | sort -n | tail -n 1
}

install_postgresql() {
    local here version config=/etc/postgresql-common/createcluster.conf
    here=$(postgresql_here)
    if [ -n "$here" ] && [ "$here" -ge "$oldest_postgresql" ]; then return; fi
    install_missing postgresql-common ca-certificates
    if [ -z "$here" ]; then
        say "telling postgresql-common not to make and start a server of its own ($config)"
        as_root sed -i -E 's/^#? *create_main_cluster *=.*/create_main_cluster = false/' "$config"
    fi
    [ "$updated" = yes ] || { as_root apt-get update -qq; updated=yes; }
    version=$(postgresql_offered)
    if [ -z "$version" ] || [ "$version" -lt "$oldest_postgresql" ]; then
        say "this release offers PostgreSQL ${version:-none}: adding the PostgreSQL project's package source"
        as_root /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y >/dev/null
        version=$(postgresql_offered)
    fi
    install_missing "postgresql-$version" "postgresql-client-$version"
}

# Whether version $1 is at least version $2.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

install_rust() {
    PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    if has cargo; then
        local version
        version=$(cargo --version | cut -d ' ' -f 2)
        at_least "$version" "$oldest_rust" ||
            die "cargo $version is too old, $oldest_rust is needed: run 'rustup update', or remove Debian's package cargo and run this again"
        return
    fi
    install_missing curl ca-certificates
    say "installing the Rust toolchain with rustup into ${CARGO_HOME:-$HOME/.cargo} and ${RUSTUP_HOME:-$HOME/.rustup}"
    curl --proto '=https' --tlsv1.2 -fsSL https://sh.rustup.rs | sh -s -- -y --quiet --profile minimal \
        --component rustfmt --component clippy --no-modify-path
}

setup_build() {
    install_missing build-essential libclang-dev libwebp-dev pkg-config util-linux procps
    install_postgresql
    install_rust
}

# Whether apt has a package. Read to its end: under pipefail, whoever stops reading early makes it fail.
offered() { case $(apt-cache policy "$1" 2>/dev/null) in *'Candidate: '[0-9]*) ;; *) return 1 ;; esac; }

# Any Python will do that can make a virtual environment.
setup_test() {
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_missing python3 python3-venv
    # Ubuntu has it as a snap only; without it the browser's test says that it is skipped.
    if ! has chromedriver && offered chromium-driver; then
        install_missing chromium chromium-driver fonts-noto-color-emoji
    fi
}

setup_bench() {
    if ! is_installed pgbouncer; then
        install_missing pgbouncer
        say "switching off PgBouncer's own service: the comparison starts its own"
        if has systemctl && [ -d /run/systemd/system ]; then
            as_root systemctl disable --now --quiet pgbouncer
        else
            as_root service pgbouncer stop >/dev/null 2>&1 || true
            as_root update-rc.d pgbouncer disable >/dev/null 2>&1 || true
        fi
    fi
    has perf || install_missing "$(perf_package)"
}

perf_package() {
    if apt-cache show linux-perf >/dev/null 2>&1; then echo linux-perf; else echo linux-tools-generic; fi
}

# On a system that is not Debian's kind.
check_only() {
    local program missing=()
    for program in cc pkg-config setpriv cargo initdb; do
        has "$program" || missing+=("$program")
    done
    [ ${#missing[@]} -eq 0 ] || die "no apt-get here; please install yourself: ${missing[*]} (PostgreSQL $oldest_postgresql or newer, Rust $oldest_rust or newer)"
}

if ! has apt-get; then
    check_only
    exit
fi
[ $# -gt 0 ] || set -- build
for part; do
    case $part in
        build) setup_build ;;
        test) setup_test ;;
        bench) setup_bench ;;
        *) die "what is '$part'? Parts are: build, test, bench" ;;
    esac
done
