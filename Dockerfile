# syntax=docker/dockerfile:1

# The C library of this stage must not be newer than the one of the image below: both are Debian 12.
ARG RUST_VERSION=1.95
FROM rust:${RUST_VERSION}-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock README.md LICENSE ./
COPY src ./src
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin driftline \
    && install -D -m 0755 target/release/driftline /out/usr/bin/driftline \
    && install -D -m 0644 LICENSE /out/usr/share/doc/driftline/LICENSE \
    && install -d -m 0750 -o 65532 -g 65532 /out/var/lib/driftline

FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="driftline" \
      org.opencontainers.image.description="Streaming data-drift and model-performance monitoring from Kafka, against training baselines" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"
COPY --from=build /out/usr /usr
COPY --from=build --chown=65532:65532 /out/var/lib/driftline /var/lib/driftline
# There is no shell in this image. Starting the binary once while building shows that it links against what is here.
RUN ["/usr/bin/driftline", "version"]
USER 65532:65532
WORKDIR /var/lib/driftline
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["/usr/bin/driftline", "healthcheck", "--url", "http://127.0.0.1:9464/livez"]
ENTRYPOINT ["/usr/bin/driftline"]
CMD ["run", "--config", "/etc/driftline/config/driftline.yaml"]
