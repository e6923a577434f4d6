# The operator and the agent that it puts into pods: two static binaries and nothing else.
# Built on the platform that it is for, `docker build --platform linux/arm64` say: there is no cross compiler to set up.
ARG RUST_VERSION=1.95
FROM rust:${RUST_VERSION}-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /source
COPY . .
# The platform's own folder: caches are shared between platforms.
ARG TARGETARCH=native
# The commit, for arl_build_info.
ARG REVISION=unknown
ENV ARL_REVISION=${REVISION}
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=target-${TARGETARCH},target=/source/target \
    target="$(uname -m)-unknown-linux-musl" && \
    cargo build --locked --release --target "$target" --bin arl-operator && \
    cargo build --locked --profile agent --target "$target" --package arl-agent && \
    install -D -t /image "target/$target/release/arl-operator" "target/$target/agent/arl-agent"

FROM scratch
COPY --from=build /image/ /
USER 65532:65532
ENTRYPOINT ["/arl-operator"]
