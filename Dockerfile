# A static binary and nothing else: no shell, no libc, no package to update. The certificate authorities that public
# databases use and the time zones are compiled in.
#
#   docker build -t jobrunr-scaler .
#   docker buildx build --platform linux/amd64,linux/arm64 -t jobrunr-scaler .
#
# scripts/image.sh builds the last stage with buildah, around a program that was built outside.

# Alpine's Rust links statically against musl without being asked. The image brings the C compiler that SQLite and aws-lc
# need, so nothing is installed here. Each platform is built on itself (emulated where it is a foreign one).
FROM rust:1.95-alpine AS build
WORKDIR /build
COPY . .
# The caches outlive the layer, so the dependencies are compiled once; they are no part of the image, hence the copy. They
# are locked, because two platforms built at once share them. Cargo takes a file for unchanged when it is older than the
# last build, which another checkout may have been: touch makes it compile what is here.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    touch build.rs src/lib.rs src/main.rs && \
    cargo build --profile dist --locked --features protect --bin jobrunr-scaler && \
    cp target/dist/jobrunr-scaler /jobrunr-scaler

FROM scratch
LABEL org.opencontainers.image.title="jobrunr-scaler" \
      org.opencontainers.image.description="A KEDA external scaler for JobRunr" \
      org.opencontainers.image.source="https://github.com/jobrunr-scaler/jobrunr-scaler" \
      org.opencontainers.image.documentation="https://github.com/jobrunr-scaler/jobrunr-scaler/tree/main/docs" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /jobrunr-scaler /jobrunr-scaler
# A number, because Kubernetes' runAsNonRoot cannot judge a name.
USER 65532:65532
# gRPC for KEDA; the page, /metrics, /healthz and /readyz.
EXPOSE 9090 8080
# For Docker; Kubernetes has its own probes.
HEALTHCHECK --interval=10s --timeout=3s CMD ["/jobrunr-scaler", "health"]
ENTRYPOINT ["/jobrunr-scaler"]
CMD ["serve"]
