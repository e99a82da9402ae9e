# flowkeep: "make run" starts it, "make test" proves it, "make help" lists the rest.

SHELL := /bin/bash
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 30s

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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
fuzz: ## look for inputs that break the parsers (FUZZTIME=10m for longer)
	$(GO) test -run '^$$' -fuzz '^FuzzParse$$' -fuzztime $(FUZZTIME) ./internal/flowparse
	$(GO) test -run '^$$' -fuzz '^FuzzSignature$$' -fuzztime $(FUZZTIME) ./internal/webhook

.PHONY: lint
lint: ## vet, golangci-lint, go.mod tidiness
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod golangci-lint run

.PHONY: fmt
fmt: ## format every file
	$(GO) tool -modfile=tools/go.mod golangci-lint fmt
