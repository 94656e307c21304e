# The two commands are `make run` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
# RUN=once ends the playground after its story; by default it stays up until Ctrl-C.
RUN ?=
TARGET := $(or $(CARGO_TARGET_DIR),target)

# Without a Go toolchain there is no control plane to build; what needs one says so, and fails only in CI.
HAVE_GO := $(shell command -v go 2>/dev/null)

.PHONY: help
help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: run
run: control-plane ## Start a control plane on loopback, our server and the story of a first login (RUN=once ends after it)
	@echo "== the program and the playground"
	@started=$$SECONDS; \
	  $(CARGO) build --quiet --bin aws-iam-authenticator --example playground; \
	  echo "   built in $$((SECONDS - started)) s"
	@exec $(TARGET)/debug/examples/playground $(if $(filter once,$(RUN)),--once)

.PHONY: test
test: tools ## Run all tests, on the real parts where they can be had
	$(CARGO) test --workspace --no-fail-fast

.PHONY: ci
ci: fmt-check lint generated man licences actionlint image peer awscli test ## Everything that a commit must pass
	$(MAKE) --no-print-directory run RUN=once
	$(MAKE) --no-print-directory test-skew

.PHONY: fmt-check
fmt-check: ## Check the format of the code
	$(CARGO) fmt --all --check

.PHONY: lint
lint: ## Clippy, warnings denied
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings

# What `make generate` writes.
CRD := crds/iamidentitymappings.yaml
CHART := charts/aws-iam-authenticator

.PHONY: generate
generate: ## Write the generated files: the definition, and what the chart has of it
	$(CARGO) run --quiet --bin aws-iam-authenticator -- crd > crds/.new && mv crds/.new $(CRD)
	cp $(CRD) $(CHART)/files/
	tools/chart-readme.sh > $(CHART)/.new && mv $(CHART)/.new $(CHART)/README.md
	tools/build.sh helm
	tools/chart-manifests.sh $(TARGET)/tools/helm-*/helm > charts/.new && mv charts/.new charts/kustomize/base/install.yaml

.PHONY: generated
generated: ## Check that the generated files are what the code says
	@out_of_date() { echo "$$1 is out of date: run 'make generate' and commit the result" >&2; exit 1; }; \
	  $(CARGO) run --quiet --bin aws-iam-authenticator -- crd | diff -u $(CRD) - || out_of_date $(CRD); \
	  diff -u $(CRD) $(CHART)/files/iamidentitymappings.yaml || out_of_date $(CHART)/files; \
	  tools/chart-readme.sh | diff -u $(CHART)/README.md - || out_of_date $(CHART)/README.md

.PHONY: man
man: ## Write the manual pages into target/man
	@$(CARGO) run --quiet --example man -- $(TARGET)/man
	@echo "wrote $$(ls $(TARGET)/man/*.1 | wc -l) manual pages into $(TARGET)/man"

.PHONY: licences
licences: ## Check licences and banned crates against deny.toml
	$(CARGO) test --quiet --test dependencies

.PHONY: actionlint
actionlint: ## Check the workflows of .github
ifneq ($(HAVE_GO),)
	@$$(tools/build.sh actionlint)
else
	@echo "== no Go toolchain: the workflows are not checked"
	@if [[ -n "$${CI:-}" ]]; then echo "in CI every part must be there: install Go 1.26 or newer" >&2; exit 1; fi
endif

.PHONY: control-plane
control-plane: ## Build etcd, kube-apiserver and kubectl once (about five minutes), unless KUBEBUILDER_ASSETS names them
ifneq ($(or $(HAVE_GO),$(KUBEBUILDER_ASSETS)),)
	@echo "== the parts of a real control plane"
	@tools/build.sh kubernetes
else
	@echo "== no Go toolchain and no KUBEBUILDER_ASSETS: going on without a control plane"
	@if [[ -n "$${CI:-}" ]]; then echo "in CI every part must be there: install Go 1.26 or newer" >&2; exit 1; fi
endif

.PHONY: tools
tools: control-plane ## The same, and helm and promtool, which the chart and its rules are checked with
ifneq ($(HAVE_GO),)
	@tools/build.sh helm
	@tools/build.sh promtool
endif

.PHONY: test-skew
test-skew: ## Run the tests of the real API server on the oldest Kubernetes that is supported (builds it once)
	assets=$$(tools/build.sh oldest); \
	  CI=true KUBEBUILDER_ASSETS=$$assets $(CARGO) test --no-fail-fast --test seed --test live_update --test crd_schema --test status --test sources_real

.PHONY: image
image: ## Build the OCI image and its bill of materials into target/image (needs buildah; TARGETARCH=arm64 for another processor)
	@tools/image.sh

.PHONY: book
book: ## Build the documentation as a book into target/book (builds mdbook once)
	@$(MDBOOK) --version >/dev/null 2>&1 || $(CARGO) install --quiet --locked mdbook --version $(MDBOOK_VERSION) --no-default-features --root $(TARGET)/tools/mdbook-$(MDBOOK_VERSION)
	$(MDBOOK) build

.PHONY: peer
peer: ## Build the Go authenticator, to compare with and to exchange tokens with
	@tools/build.sh peer

.PHONY: awscli
awscli: ## Install the AWS CLI, another maker of tokens
	@tools/build.sh awscli

MDBOOK_VERSION := 0.5.4
MDBOOK := $(abspath $(TARGET)/tools/mdbook-$(MDBOOK_VERSION)/bin/mdbook)

# The load generator, built once a version.
OHA_VERSION := 1.16.0
OHA := $(abspath $(TARGET)/tools/oha-$(OHA_VERSION)/bin/oha)
$(OHA):
	$(CARGO) install --quiet --locked oha --version $(OHA_VERSION) --root $(TARGET)/tools/oha-$(OHA_VERSION)

.PHONY: bench
bench: control-plane peer $(OHA) ## Compare with the Go authenticator in one run, and time the hot path (PART=reviews for a part)
	$(CARGO) bench --bench lookup
	OHA=$(OHA) $(CARGO) bench --bench side_by_side -- $(PART)

.PHONY: clean
clean: ## Remove what was built, the parts of the control plane included
	$(CARGO) clean
