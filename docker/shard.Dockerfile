# One shard: a PostgreSQL server and the agent that looks after it.
# Build from the repository's root: docker build -f docker/shard.Dockerfile .
# The same build stage stands in all three Dockerfiles, so that it is built once and cached for the others.
ARG BUILD_IMAGE=rust:1-bookworm
FROM ${BUILD_IMAGE} AS build
# dev, quick or release.
ARG PROFILE=release
RUN apt-get update \
    && apt-get install -y --no-install-recommends libclang-dev libwebp-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY wire wire
COPY topology topology
COPY schema schema
COPY router router
COPY shard-node shard-node
COPY social-app social-app
COPY bench bench
COPY tests tests
RUN cargo build --locked --profile "$PROFILE" --bin oskol --bin shard-node --bin social-app \
    && case "$PROFILE" in dev) built=debug ;; *) built=$PROFILE ;; esac \
    && mkdir -p /out \
    && cp "target/$built/oskol" "target/$built/shard-node" "target/$built/social-app" /out/ \
    && strip --strip-debug /out/*

FROM debian:bookworm-slim
# Debian's user postgres gets a number that does not depend on what else is installed: volumes keep it.
RUN groupadd --system --gid 10002 postgres \
    && useradd --system --uid 10002 --gid postgres --no-create-home --home-dir /var/lib/oskol --shell /usr/sbin/nologin postgres \
    && apt-get update \
    && apt-get install -y --no-install-recommends postgresql-common ca-certificates util-linux \
    && sed -i -E 's/^#? *create_main_cluster *=.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf \
    && apt-get install -y --no-install-recommends postgresql-15 \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o postgres -g postgres -m 0755 /var/lib/oskol
COPY --from=build /out/shard-node /usr/local/bin/shard-node
COPY docker/make-app-database /usr/local/bin/make-app-database
USER postgres
VOLUME /var/lib/oskol
EXPOSE 5432 6434
ENTRYPOINT ["shard-node"]
CMD ["start"]
