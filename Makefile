# What a person does with this repository. `make` alone lists it. Arguments: make up ARGS="--shards 2 --port 7000"
.DEFAULT_GOAL := help
.PHONY: help setup up test check bench fuzz hooks clean
SHELL := bash

# Where rustup puts cargo, for the shell that has not been told yet.
export PATH := $(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
ARGS ?=
SECONDS_PER_TARGET ?= 240

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing: C compiler, libclang, PostgreSQL, Rust
	@scripts/setup.sh build

up: setup ## build, then run four shards, a router and the social network until Ctrl-C
	cargo build --release --package router --bin oskol --package social-app --bin social-app
	@exec scripts/up.sh $(ARGS)

test: setup ## run all tests; those of clients whose tools are missing say that they are skipped
	@scripts/setup.sh test
	cargo test --workspace --no-fail-fast

check: setup ## formatting, lints, dependency policy, scripts: all that needs no database
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@for script in scripts/*.sh bench/*.sh wire/fuzz/run .ci/run .githooks/* docker/*.sh docker/http-health \
		docker/make-app-database examples/*/*.sh tests/compose.sh tests/compose/*.sh; do bash -n "$$script" || exit 1; done
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --all-features check; \
	else echo "cargo-deny is not installed: deny.toml was not checked (cargo install cargo-deny --locked)"; fi

bench: setup ## compare direct PostgreSQL, PgBouncer and Oskol
	@scripts/setup.sh bench
	bench/run.sh $(ARGS)

fuzz: setup ## fuzz the wire decoder, four minutes a target; needs nightly Rust and cargo-fuzz
	wire/fuzz/run $(SECONDS_PER_TARGET)

hooks: ## run the fast checks before every commit
	git config core.hooksPath .githooks
	@echo "pre-commit checks are on; git commit --no-verify passes them by"

clean: ## remove what was built; the data of make up stays
	cargo clean
