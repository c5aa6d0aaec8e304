#!/bin/sh
# Builds what the comparison needs and runs it; arguments go to `bench compare`.
set -eu
cd "$(dirname "$0")/.."
cargo build --release -p router -p bench
exec "${CARGO_TARGET_DIR:-target}/release/bench" compare "$@"
