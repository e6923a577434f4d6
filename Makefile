# Everything a developer or CI runs. `make` alone lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

CARGO_DENY_VERSION := 0.20.2
CRDS := warmpools sandboxes tasks
SCRIPTS := .ci/run dev/agent-image dev/apply-crds dev/cli-archive dev/krew-manifest dev/demo dev/image dev/manifests dev/sim-mutants dev/cluster/cluster

# Built by Go at these versions, so that everybody renders the same; HELM=/usr/bin/helm uses another.
HELM_VERSION := v4.3.1
HELM3_VERSION := v3.22.0
KUBECONFORM_VERSION := v0.8.0
KWOK_VERSION := v0.8.0
# Of Prometheus, whose modules have numbers of their own.
PROMTOOL_VERSION := v0.316.0
TOOLS := $(or $(ARL_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/arl)/tools
HELM ?= $(TOOLS)/helm-$(HELM_VERSION)/helm
HELM3 ?= $(TOOLS)/helm-$(HELM3_VERSION)/helm
KUBECONFORM ?= $(TOOLS)/kubeconform-$(KUBECONFORM_VERSION)/kubeconform
KWOK ?= $(TOOLS)/kwok-$(KWOK_VERSION)/kwok
PROMTOOL ?= $(TOOLS)/promtool-$(PROMTOOL_VERSION)/promtool
PROMETHEUS ?= $(TOOLS)/prometheus-$(PROMTOOL_VERSION)/prometheus
export HELM HELM3 KUBECONFORM PROMETHEUS

IMAGE ?= arl-operator:dev
export IMAGE
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
	$(MAKE) manifests

$(TOOLS)/helm-v4%/helm:
	GOWORK=off GOFLAGS= GOBIN=$(@D) go install helm.sh/helm/v4/cmd/helm@v4$*

$(TOOLS)/helm-v3%/helm:
	GOWORK=off GOFLAGS= GOBIN=$(@D) go install helm.sh/helm/v3/cmd/helm@v3$*

$(TOOLS)/kubeconform-%/kubeconform:
	GOWORK=off GOFLAGS= GOBIN=$(@D) go install github.com/yannh/kubeconform/cmd/kubeconform@$*

$(TOOLS)/kwok-%/kwok:
	GOWORK=off GOFLAGS= GOBIN=$(@D) go install sigs.k8s.io/kwok/cmd/kwok@$*
	cd "$$(go env GOMODCACHE)/sigs.k8s.io/kwok@$*/kustomize/stage" && \
	  for stage in node/fast/node-initialize node/heartbeat-with-lease/node-heartbeat-with-lease pod/fast/pod-ready pod/fast/pod-complete pod/fast/pod-delete; do \
	  echo ---; cat "$$stage.yaml"; done >$(@D)/stages.yaml

$(TOOLS)/promtool-%/promtool:
	GOWORK=off GOFLAGS= GOBIN=$(@D) go install github.com/prometheus/prometheus/cmd/promtool@$*

$(TOOLS)/prometheus-%/prometheus:
	GOWORK=off GOFLAGS= GOBIN=$(@D) go install github.com/prometheus/prometheus/cmd/prometheus@$*

.PHONY: helm
helm: $(HELM) ## install the pinned Helm, and link it as target/helm
	@mkdir -p target && ln -sfn $(HELM) target/helm

.PHONY: manifests
manifests: $(HELM) ## write what is made from deploy/chart: deploy/install.yaml, deploy/kustomize, the table in docs/install.md
	dev/manifests
	$(MAKE) docs

.PHONY: docs
docs: ## write what is made from the code: the API reference, the tables of flags, metrics and the chart's values, help and messages of kubectl arl
	UPDATE_DOCS=1 cargo test -q -p arl-operator --test docs generated
	UPDATE_DOCS=1 cargo test -q -p arl-cli --test messages

.PHONY: image
image: ## make the image IMAGE (arl-operator:dev) and load it into the local Kubernetes
	dev/image

.PHONY: install-check
install-check: cluster-up $(HELM) $(HELM3) ## install the image in the local Kubernetes in every way, run the examples, kill and upgrade under load
	@if [ "$$(cat .cluster/kind)" = current ]; then echo "the current context's cluster is not wiped: no install-check"; \
	else IMAGE=arl-operator:dev dev/image; \
	echo "cargo test --test install"; cargo test -p arl-operator --test install -- --test-threads=1; fi

.PHONY: build
build: ## build the operator
	cargo build --workspace

.PHONY: agent-image
agent-image: cluster-up ## build the agent and load it into the cluster
	dev/agent-image

.PHONY: run
run: agent-image build ## run the operator against the local Kubernetes, in the foreground
	dev/apply-crds
	target/debug/arl-operator --kubeconfig .cluster/kubeconfig --log-format text \
	  --metrics-bind-address 127.0.0.1:0 --health-probe-bind-address 127.0.0.1:0

.PHONY: lint
lint: ## formatting, clippy with warnings as errors, shellcheck where it is installed
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then echo shellcheck $(SCRIPTS); shellcheck -x -P SCRIPTDIR $(SCRIPTS); \
	else echo "shellcheck is not installed: scripts are not checked"; fi

# Cases that each fuzz target is tried with.
FUZZ_CASES ?= 500

.PHONY: unit
unit: ## tests that need no cluster
	PROPTEST_CASES=$(FUZZ_CASES) cargo test --workspace --lib --bins
	cargo test -p arl-agent --test agent
	cargo test -p arl-client --doc
	cargo test -p arl-client --test api --test session
	cargo test -p arl-cli --test messages
	cargo test -p arl-operator --test manifests --test architecture --test docs --test metrics --test sim

.PHONY: fuzz
fuzz: ## what parses foreign bytes, tried with FUZZ_CASES=n inputs a target
	PROPTEST_CASES=$(FUZZ_CASES) cargo test --profile sim --workspace --lib --bins fuzz_

# Histories that `make sim` plays, and the first of them.
SEEDS ?= 1000
SIM_FROM ?= 0

.PHONY: sim
sim: ## the operator against a simulated cluster: SEEDS=n histories from SIM_FROM on
	SIM_SEEDS=$(SEEDS) SIM_FROM=$(SIM_FROM) cargo test -q --profile sim -p arl-operator --test sim many_seeds -- --ignored --nocapture | tee target/sim.log; \
	grep '^sim: ' target/sim.log

.PHONY: sim-mutants
sim-mutants: ## break the operator on purpose, one way at a time: the simulator has to notice each
	SEEDS=$(SEEDS) dev/sim-mutants

# Valgrind counts the instructions; it is installed where that is possible.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
COSTS = cargo test -q -p arl-operator --test sim -- --ignored --exact costs::are_as_recorded --nocapture

.PHONY: costs
costs: ## what one more Sandbox, Task and pod costs the operator (writes, instructions, memory), held against tests/sim/costs.json
	@if command -v valgrind >/dev/null || $(SUDO) apt-get install -qy valgrind; then echo "$(COSTS)"; $(COSTS); \
	else echo "valgrind is not here and cannot be installed: costs are not held against the record"; fi

.PHONY: record-costs
record-costs: ## write tests/sim/costs.json
	RECORD_COSTS=1 $(COSTS)

CARGO_MUTANTS_VERSION := 27.1.0
# For other files: make mutants MUTANTS='-p arl-operator --file src/task/plan.rs'
MUTANTS ?= -p arl-crds -p arl-agent $(addprefix --file crds/src/,bounded.rs condition.rs duration.rs labels.rs name.rs published.rs size.rs \
  step.rs task.rs template.rs text.rs warmpool.rs) $(addprefix --file agent/src/,output.rs frame.rs message/excerpt.rs)

.PHONY: mutants
mutants: ## small pure files broken by cargo-mutants, before their own tests: what survives is in target/mutants.out
	@cargo mutants --version 2>/dev/null | grep -qF '$(CARGO_MUTANTS_VERSION)' || cargo install --locked cargo-mutants@$(CARGO_MUTANTS_VERSION)
	cargo mutants $(MUTANTS) --timeout 60 -o target -- --lib

.PHONY: test-packaging
test-packaging: cluster-up $(HELM) $(HELM3) $(KUBECONFORM) ## tests of the chart, of deploy/kustomize and of deploy/install.yaml
	cargo test -p arl-operator --test packaging

.PHONY: test-alerts
test-alerts: $(PROMTOOL) ## the alerts before Prometheus' own parser and made-up series (building promtool takes minutes, once)
	$(PROMTOOL) check rules deploy/chart/files/alerts.yaml
	$(PROMTOOL) test rules tests/metrics/alerts.test.yaml

.PHONY: test-prometheus
test-prometheus: agent-image $(PROMETHEUS) ## a real Prometheus scrapes the operator, for every alert and the dashboard (building it takes minutes, once)
	cargo test -p arl-operator --test cluster -- --ignored prometheus::

.PHONY: test-cluster
test-cluster: agent-image ## tests against the local Kubernetes
	cargo test -p arl-operator --test cluster -- --test-threads=$(TEST_THREADS)

# CPython 3.11 or newer.
PYTHON ?= python3
VENV := target/python-venv/bin
# Harbor needs CPython 3.12: an installed one, or else this one.
CPYTHON_VERSION := v0.0.0-3.14.6-20260610-1
CPYTHON := $(TOOLS)/cpython-$(CPYTHON_VERSION)/bin/python3
PYTHON312 ?= $(or $(firstword $(foreach version,3.14 3.13 3.12,$(shell python$(version) -c 'import sys; print(sys.executable)' 2>/dev/null))),$(CPYTHON))
HARBOR_VENV := target/harbor-venv/bin

$(CPYTHON):
	dev/cpython $(CPYTHON_VERSION) $(abspath $(@D)/..)

.PHONY: test-python
test-python: agent-image ## the Python package: types, and tests against the local Kubernetes
	cargo build -p arl-operator
	$(PYTHON) -m venv target/python-venv
	$(VENV)/pip install -q --disable-pip-version-check -r python/tests/requirements.txt
	. $(VENV)/activate && maturin develop -q -m python/Cargo.toml
	$(VENV)/python python/make_sync.py --check
	cd python && ../$(VENV)/mypy arl_sandbox tests
	cd python && ../$(VENV)/pytest
	@if [ -x "$(PYTHON312)" ] || $(MAKE) "$(PYTHON312)"; then $(MAKE) test-harbor; \
	else echo "no Python of 3.12 or newer is here, or can be had: the adapter for Harbor is not tested"; fi

# The wheel is built by PYTHON and loaded by PYTHON312. Its venv is made without pip, which not every CPython has in it.
.PHONY: test-harbor
test-harbor: $(PYTHON312) ## a part of test-python: the adapter for Harbor, with Harbor
	$(PYTHON312) -m venv --without-pip target/harbor-venv
	PYTHONWARNINGS=ignore $(VENV)/pip --python $(HARBOR_VENV)/python install -q --disable-pip-version-check -r python/tests/requirements-harbor.txt
	rm -rf target/python-wheel
	. $(VENV)/activate && maturin build -q -m python/Cargo.toml --out target/python-wheel
	PYTHONWARNINGS=ignore $(VENV)/pip --python $(HARBOR_VENV)/python install -q --disable-pip-version-check --no-deps --force-reinstall target/python-wheel/*.whl
	cd python && ../$(VENV)/mypy --python-executable $(abspath $(HARBOR_VENV)/python) --python-version 3.12 arl_sandbox/harbor.py tests/test_harbor.py
	cd python && $(abspath $(HARBOR_VENV))/python -m pytest tests/test_harbor.py

.PHONY: screenshot
screenshot: agent-image ## take docs/images/ui.png, the picture of `kubectl arl ui` (needs Chromium)
	cargo test -p arl-operator --test cluster -- --ignored cli_ui::screenshot

# Minutes that `make soak` takes.
SOAK_MINUTES ?= 15

.PHONY: soak
soak: agent-image ## SOAK_MINUTES of a tenant who does all at once that may cost the operator memory, and another who must not notice
	SOAK_MINUTES=$(SOAK_MINUTES) cargo test -p arl-operator --test cluster -- --ignored --nocapture tenant::soak::

.PHONY: test-disruption
test-disruption: agent-image ## tests that restart parts of the local Kubernetes: one at a time, nothing else beside them
	@if [ "$$(cat .cluster/kind)" = current ]; then echo "the current context's cluster is not disrupted: no test-disruption"; \
	else echo "cargo test --test disruption"; cargo test -p arl-operator --test disruption -- --test-threads=1; fi

.PHONY: demo
demo: agent-image ## run every example against the local Kubernetes and check what it prints
	dev/demo

AT_SCALE = KWOK=$(KWOK) dev/with-kwok
SCALE_FLAGS = --fake-nodes $(SCALE) --bursts 300 --burst-max 1000 --json target/bench-scale.json
.PHONY: bench
bench: agent-image $(if $(SCALE),$(KWOK)) ## measure claims and Tasks, write the table of docs/performance.md; BENCH=--quick: a small run; SCALE=10: thousands of pods on so many fake nodes
	cargo build --release -p arl-operator -p arl-bench -p arl-cli
	dev/apply-crds
	.cluster/kubectl --kubeconfig .cluster/kubeconfig apply -f deploy/kustomize/base/rbac.yaml
	$(if $(SCALE),$(AT_SCALE)) target/release/arl-bench --docs docs/performance.md $(if $(SCALE),$(SCALE_FLAGS)) $(BENCH)

# The Kubernetes client and Inspect want different versions of a third: each has a venv of its own.
BENCH_VENV := target/bench-venv/bin

.PHONY: bench-python
bench-python: agent-image ## commands a second of the Python package, of the Rust client and of the Kubernetes client for Python, in turns; BENCH_PYTHON=--sandboxes=40
	cargo build --release -p arl-operator
	cargo build --release -p arl-sandbox --example throughput
	$(PYTHON) -m venv target/bench-venv
	$(BENCH_VENV)/pip install -q --disable-pip-version-check -r python/tests/requirements-bench.txt
	. $(BENCH_VENV)/activate && maturin develop -q --release -m python/Cargo.toml
	$(BENCH_VENV)/python python/bench.py $(BENCH_PYTHON)

.PHONY: test
test: ## everything but install-check: the demo on the local Kubernetes, then every test
	$(MAKE) demo
	$(MAKE) test-after-demo

# The demo goes first: on a new cluster it is what a newcomer meets.
.PHONY: test-after-demo
test-after-demo: ## what `make test` runs after the demo: unit tests, costs, cluster tests, Python, Prometheus, disruption
	$(MAKE) cluster-up
	$(MAKE) unit
	$(MAKE) costs
	$(MAKE) test-packaging
	$(MAKE) test-cluster
	$(MAKE) test-python
	$(MAKE) test-alerts
	$(MAKE) test-prometheus
	$(MAKE) test-disruption

.PHONY: deny
deny: ## licences, advisories and sources of the dependencies (needs network)
	@cargo deny --version 2>/dev/null | grep -qF '$(CARGO_DENY_VERSION)' || cargo install --locked cargo-deny@$(CARGO_DENY_VERSION)
	cargo deny check
