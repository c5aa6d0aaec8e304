# The social application. Build from the repository's root: docker build -f docker/app.Dockerfile .
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
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libwebp7 libwebpmux3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10003 --no-create-home --shell /usr/sbin/nologin social
COPY --from=build /out/social-app /usr/local/bin/social-app
COPY docker/http-health /usr/local/bin/http-health
RUN install -d -o social -g social -m 0755 /var/lib/social
USER social
VOLUME /var/lib/social
EXPOSE 8080
ENTRYPOINT ["social-app"]
CMD ["serve"]
