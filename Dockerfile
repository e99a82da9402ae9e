# flowkeep in an image of its own: one static binary, no shell, no root.
# It builds with BuildKit and with the plain builder of older engines.
ARG GO_VERSION=1.26
FROM golang:${GO_VERSION}-bookworm AS build
WORKDIR /src
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /out/flowkeep ./cmd/server \
 && mkdir /out/data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/flowkeep /flowkeep
# A new volume takes over the owner of the folder that it covers.
COPY --from=build --chown=65532:65532 /out/data /var/lib/flowkeep
ENV FLOWKEEP_DATA_DIR=/var/lib/flowkeep
VOLUME /var/lib/flowkeep
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/flowkeep", "health"]
ENTRYPOINT ["/flowkeep"]
CMD ["serve"]
