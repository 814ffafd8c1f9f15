# The agent as one static file in an otherwise empty image.
#
#   docker build --tag leak-agent:0.1.0 .
#
# How it may be run without `--privileged`: deploy/README.md. In Kubernetes: deploy/kubernetes.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The BPF object is part of the repository, and is built into the binary: stable Rust and a C compiler are all it takes.
# `dist` refuses a binary that is not static.
RUN cargo xtask dist

FROM scratch
COPY --from=build /src/target/dist/leak-agent /leak-agent
COPY --from=build /src/target/dist/LICENSE-MIT /src/target/dist/LICENSE-APACHE /licenses/
EXPOSE 9750
ENTRYPOINT ["/leak-agent"]
CMD ["run"]
