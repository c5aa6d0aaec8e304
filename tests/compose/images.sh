#!/usr/bin/env bash
# Base images for docker-compose.shards.yml on a machine that can reach package registries, but no image registry:
# debian:bookworm-slim by debootstrap, and a build image with this machine's Rust and crates. As root.
# Usage: tests/compose/images.sh     then: BUILD_IMAGE=oskol-build PROFILE=dev tests/compose.sh
set -euo pipefail

readonly mirror=${MIRROR:-http://deb.debian.org/debian}
readonly root=${ROOT:-/var/tmp/oskol-images}
cargo_home=${CARGO_HOME:-$HOME/.cargo}
toolchain=$(rustc --print sysroot)

say() { printf 'images: %s\n' "$*"; }

base() {
    docker image inspect debian:bookworm-slim >/dev/null 2>&1 && return
    say "debian:bookworm-slim by debootstrap"
    rm -rf "$root/base"
    mkdir -p "$root"
    debootstrap --variant=minbase bookworm "$root/base" "$mirror" >"$root/debootstrap.log"
    rm -rf "$root"/base/var/cache/apt/archives/*.deb
    # This machine's way out, if it has one of its own.
    cp /etc/apt/apt.conf.d/*proxy* "$root/base/etc/apt/apt.conf.d/" 2>/dev/null || true
    tar -C "$root/base" -c . | docker import --change 'CMD ["bash"]' - debian:bookworm-slim >/dev/null
    rm -rf "$root/base"
}

# Cargo finds the crates of this repository's Cargo.lock in the image, so the build asks nobody.
build() {
    say "oskol-build with Rust from $toolchain"
    rm -rf "$root/build"
    mkdir -p "$root/build/cargo"
    cp -al "$toolchain" "$root/build/rust" 2>/dev/null || cp -a "$toolchain" "$root/build/rust"
    rm -rf "$root/build/rust/share/doc"
    cp -a "$cargo_home/registry" "$root/build/cargo/registry"
    cat >"$root/build/Dockerfile" <<'END'
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends build-essential pkg-config libclang-dev ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY rust /usr/local/rust
COPY cargo /usr/local/cargo
ENV PATH=/usr/local/rust/bin:$PATH CARGO_HOME=/usr/local/cargo CARGO_NET_OFFLINE=true
END
    docker build -q ${BUILD_OPTIONS:-} -t oskol-build "$root/build"
    rm -rf "$root/build"
}

base
build
