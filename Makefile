# Everything a developer or CI runs. `make` alone lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

CARGO_DENY_VERSION := 0.20.2
CRDS := warmpools sandboxes tasks
SCRIPTS := .ci/run dev/demo dev/sim-mutants dev/cluster/cluster
# Threads of the tests that need a cluster: each test mostly waits.
TEST_THREADS ?= 6

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: cluster-up
cluster-up: ## start a local Kubernetes, or check and repair the running one
	dev/cluster/cluster up

.PHONY: cluster-down
cluster-down: ## stop the local Kubernetes and remove everything it left
	dev/cluster/cluster down

.PHONY: cluster-status
cluster-status: ## one line per component of the local Kubernetes
	dev/cluster/cluster status

.PHONY: crds
crds: ## write crds/*.yaml from the types in crds/src
	@for name in $(CRDS); do \
	  cargo run -q -p arl-crds --example generate -- $$name >crds/$$name.yaml.new && mv crds/$$name.yaml.new crds/$$name.yaml && \
	  echo "crds/$$name.yaml" || { rm -f crds/$$name.yaml.new; exit 1; }; \
	done

.PHONY: build
build: ## build the operator
	cargo build --workspace

.PHONY: run
run: cluster-up build ## run the operator against the local Kubernetes, in the foreground
	.cluster/kubectl --kubeconfig .cluster/kubeconfig apply $(CRDS:%=-f crds/%.yaml)
	target/debug/arl-operator --kubeconfig .cluster/kubeconfig --log-format text

.PHONY: lint
lint: ## formatting, clippy with warnings as errors, shellcheck where it is installed
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then echo shellcheck $(SCRIPTS); shellcheck -x -P SCRIPTDIR $(SCRIPTS); \
	else echo "shellcheck is not installed: scripts are not checked"; fi

.PHONY: unit
unit: ## tests that need no cluster
	cargo test --workspace --lib --bins
	cargo test -p arl-operator --test manifests --test architecture --test sim

# Histories that `make sim` plays, and the first of them.
SEEDS ?= 1000
SIM_FROM ?= 0

.PHONY: sim
sim: ## the operator against a simulated cluster: SEEDS=n histories from SIM_FROM on
	SIM_SEEDS=$(SEEDS) SIM_FROM=$(SIM_FROM) cargo test -q -p arl-operator --test sim many_seeds -- --ignored --nocapture | tee target/sim.log; \
	grep '^sim: ' target/sim.log

.PHONY: sim-mutants
sim-mutants: ## break the operator on purpose, one way at a time: the simulator has to notice each
	SEEDS=$(SEEDS) dev/sim-mutants

.PHONY: test-cluster
test-cluster: cluster-up ## tests against the local Kubernetes
	cargo test -p arl-operator --test cluster -- --test-threads=$(TEST_THREADS)

.PHONY: demo
demo: cluster-up ## run every example against the local Kubernetes and check what it prints
	dev/demo

.PHONY: test
test: ## everything: local Kubernetes, unit tests, cluster tests, demo
	$(MAKE) cluster-up
	$(MAKE) unit
	$(MAKE) test-cluster
	$(MAKE) demo

.PHONY: deny
deny: ## licences, advisories and sources of the dependencies (needs network)
	@cargo deny --version 2>/dev/null | grep -qF '$(CARGO_DENY_VERSION)' || cargo install --locked cargo-deny@$(CARGO_DENY_VERSION)
	cargo deny check
