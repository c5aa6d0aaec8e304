# Prometheus of Debian's package, with promtool. Build from the repository's root: docker build -f docker/prometheus.Dockerfile .
FROM debian:bookworm-slim
# A number that does not depend on what else is installed: volumes keep it. The package wants one of the system's, below 1000.
RUN groupadd --system --gid 904 prometheus \
    && useradd --system --uid 904 --gid prometheus --no-create-home --home-dir /prometheus --shell /usr/sbin/nologin prometheus \
    && apt-get update \
    && apt-get install -y --no-install-recommends prometheus \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o prometheus -g prometheus -m 0755 /prometheus
USER prometheus
VOLUME /prometheus
EXPOSE 9090
ENTRYPOINT ["prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
