# The image that `cargo xtask image` writes without an engine, made by one that has BuildKit:
#   docker build --tag localhost/podvitals:0.1.0 .
# Every tool that is missing for the eBPF object is installed by `cargo xtask build` itself, from
# Debian and crates.io.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends libcap2-bin
WORKDIR /src
COPY . .
RUN cargo xtask build --static && cp target/static/*/release/stripped/podvitals /podvitals
# Permitted, not effective (=p): with =ep the binary could not even be executed where one of them is
# out of reach. BuildKit keeps them in COPY --from.
RUN setcap cap_bpf,cap_perfmon,cap_net_admin=p /podvitals

FROM scratch
LABEL org.opencontainers.image.title="Podvitals"
LABEL org.opencontainers.image.description="How every Pod on a node lives and dies, from the kernel's own record"
LABEL org.opencontainers.image.version="0.1.0"
LABEL org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /podvitals /podvitals
EXPOSE 9550/tcp
USER 65534:65534
ENTRYPOINT ["/podvitals"]
