# The one way to build, test and try this repository; `make help` lists the targets.
#
# Needed: Go 1.26, Python 3.10 to 3.13, a C and C++ compiler. Everything else is
# installed into .venv and bin/ by `make setup`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# PYTHON=/path/to/python: an interpreter for .venv; its torch is used if it has one.
PYTHON ?=
# KEEP=1: make demo leaves its server running.
KEEP ?=
# Narrow a test run: make test-go GOFLAGS_TEST='-run TestX ./dataset/...'
GOFLAGS_TEST ?= ./...
PYTEST ?=
# make bench BENCH='--quick --only loader --peers none': what torch/bench/run.py is to do.
BENCH ?=

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
VENV := .venv/bin

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{ printf "  %-12s %s\n", $$1, $$2 }'
	@echo
	@echo "  PYTHON=/path/to/python   environment to build .venv on; one that has torch saves the big download"

.PHONY: setup
setup: build venv ## build ./bin/daos and make .venv (says what it downloads)

.PHONY: build
build: ## build ./bin/daos
	@command -v go >/dev/null || { echo "make: Go 1.26 is needed and was not found in PATH" >&2; exit 1; }
	@mkdir -p bin
	@[ -x bin/daos ] || echo "build: compiling ./bin/daos, which takes minutes the first time"
	@go build -trimpath -ldflags '-X daos/internal/version.Commit=$(VERSION)' -o bin/daos ./cmd/daos

.PHONY: venv
venv:
	@PYTHON='$(PYTHON)' internal/devtools/setup.sh

.PHONY: demo
demo: setup ## run the main job on real data, in minutes (KEEP=1 leaves the server running)
	@KEEP='$(KEEP)' $(VENV)/python torch/demo/firstlight.py

.PHONY: test
test: setup test-go test-py notebooks ## run every test (Go, Python, notebooks)

.PHONY: test-go
test-go: ## go vet and go test
	go vet ./...
	go test -timeout 20m $(GOFLAGS_TEST)

.PHONY: test-py
test-py: setup ## pytest over pydaos and torch
	$(VENV)/python -m pytest pydaos/tests torch/tests $(PYTEST)

.PHONY: notebooks
notebooks: setup ## execute the notebooks against a server of their own
	$(VENV)/python internal/devtools/notebooks.py notebooks

.PHONY: test-long
test-long: setup ## the long campaigns: race detector, crashes, random histories (an hour or more)
	DAOS_TEST_LONG=1 go test -race -timeout 3h -count 1 ./...
	DAOS_TEST_LONG=1 $(VENV)/python -m pytest -m 'long or not long' pydaos/tests torch/tests --timeout 7200 $(PYTEST)

.PHONY: bench
bench: setup ## measure both sides of every row of docs/benchmarks.md
	$(VENV)/python torch/bench/run.py $(BENCH)
	@printf '\n### Arrow Flight: CPU of the server, beside the stock writer\n'
	go run ./internal/bench/flightcpu
	@printf '\n### Pairs: batches of gets beside pebble, durable batches of puts beside Redis\n'
	go run ./internal/bench/kvrates
	@printf '\n### One target: small durable writes, bulk ingest and reads, 1 to 64 clients\n'
	go test -run '^$$' -bench 'SmallDurableWrites|BulkIngest|Reads$$' -benchtime 1s ./engine/vos
	@printf '\n### The engine: small durable writes, 1 to 64 clients\n'
	go test -run '^$$' -bench 'SmallWrites|Reads$$' -benchtime 1s ./engine

.PHONY: lint
lint: venv ## linters for Go, proto, Python and generated files
	@VENV=$(VENV) internal/devtools/lint.sh

.PHONY: fmt
fmt: venv ## format Go and Python
	gofmt -w $$(git ls-files '*.go' | grep -v '^proto/gen/')
	$(VENV)/ruff format .
	$(VENV)/ruff check --fix .

.PHONY: generate
generate: venv ## make proto/gen, pydaos/_proto and docs/cli.md anew
	PYTHON=$(VENV)/python sh proto/generate.sh
	go run ./cmd/daos docs >docs/cli.md

.PHONY: lock
lock: ## make requirements.lock and torch/bench/peers.lock anew from their .in files
	uv pip compile -q --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		-o requirements.lock requirements.in
	@# The loaders that make bench compares with read with the same torch and pyarrow.
	sed -nE 's/^((torch|pyarrow|pillow|safetensors)==[^\\]*[^\\ ]) *\\?$$/\1/p' requirements.lock | \
		uv pip compile -q --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		-c /dev/stdin -o torch/bench/peers.lock torch/bench/peers.in

.PHONY: check
check: lint test ## what .ci/run runs

.PHONY: clean
clean: ## remove what was built; .venv and bin/tools stay (remove them by hand)
	rm -rf bin/daos dist .scratch .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -type d -prune -exec rm -rf {} +
