# Every command of this repository. `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# The tools that scripts/setup.sh installed come before the machine's own.
export PATH := $(CURDIR)/node_modules/.bin:$(CURDIR)/.venv/bin:$(PATH)

# Environment to work on: config/$(ENV).yaml. Recipes read it from their
# environment, so that no name can become a piece of a command.
ENV ?= staging
synth diff lint-templates: export ENV := $(ENV)

# Profiles of `make diff`: GitLab's account and the deployment account.
PROFILE_A ?=
PROFILE_B ?=
diff: export PROFILE_A := $(PROFILE_A)
diff: export PROFILE_B := $(PROFILE_B)

EMULATOR := go run ./test/e2e/cmd/emulator

# Each script test is bounded, so that a hanging one has a name. A step for each
# file, those on stand-in hosts first: they take longest.
BATS := BATS_TEST_TIMEOUT=120 node_modules/bats/bin/bats --timing
HOST_TESTS := $(sort $(shell grep -l "^load fixtures/host/host$$" test/scripts/*.bats))
SCRIPT_TESTS := $(HOST_TESTS) $(filter-out $(HOST_TESTS),$(wildcard test/scripts/*.bats))

# Go ends a package's tests after ten minutes by itself, and a busy machine needs
# longer for the largest.
GO_TEST := go test -timeout 20m

# Sources by kind, tracked or new, each an assignment for a recipe's shell.
GO_FILES := files=$$(git ls-files -co --exclude-standard '*.go')
SHELL_FILES := files=$$(git ls-files -co --exclude-standard '*.sh' '*.bats' '*.bash' scripts/ops .ci/run)

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## Install what the commands below need into node_modules and .venv.
	@scripts/setup.sh demo
	@scripts/ops --version >/dev/null # built here, once: EC2's client takes a minute

# What less is enough for, and what the tests need on top.
.PHONY: setup-tools setup-test
setup-tools setup-test:
	@scripts/setup.sh $(@:setup-%=%)

.PHONY: demo
demo: setup ## Run a push to its blue/green deployment on the emulator, once.
	@$(EMULATOR) demo

.PHONY: up
up: setup ## Start the emulator, deploy both stacks, leave it running.
	@$(EMULATOR) up

.PHONY: down
down: setup-tools ## Stop what `make up` started.
	@$(EMULATOR) down

# Here, and when it deploys, the CDK validates the templates; nowhere else, because
# it takes longer than the synthesis.
.PHONY: synth
synth: setup-tools ## Write both templates of ENV=staging to cdk.out.
	@mkdir -p cdk.out && find cdk.out -mindepth 1 -delete
	@CDK_VALIDATION=true cdk synth --quiet --context env="$$ENV" --output cdk.out

.PHONY: diff
diff: setup-tools ## Show what a deploy of ENV would change: PROFILE_A=… PROFILE_B=….
	@: "$${PROFILE_A:?set PROFILE_A to a profile of the GitLab account}" "$${PROFILE_B:?set PROFILE_B to a profile of the deployment account}"
	@scripts/ops diff --env "$$ENV" --profile-a "$$PROFILE_A" --profile-b "$$PROFILE_B"

.PHONY: check
check: setup-tools ## Formatting and linters only.
	@scripts/steps.sh \
		'gofmt=$(MAKE) gofmt' 'go vet=go vet ./...' 'staticcheck=go tool staticcheck ./...' \
		-- 'shellcheck=$(MAKE) shellcheck' 'shfmt=$(MAKE) shfmt'

# The first lane holds what compiles the CDK, so that it is compiled once. Script
# tests mostly wait: two lanes of them share the second core.
.PHONY: test
test: setup-test ## Everything: linters, templates, Go tests, script tests, the demo asserted.
	@scripts/steps.sh \
		'synth=$(MAKE) synth' 'cfn-lint=$(MAKE) lint-templates' \
		'go vet=go vet ./...' 'staticcheck=go tool staticcheck ./...' 'go test=$(GO_TEST) ./...' 'fuzz=$(MAKE) fuzz' \
		-- 'gofmt=$(MAKE) gofmt' 'shellcheck=$(MAKE) shellcheck' 'shfmt=$(MAKE) shfmt' \
		-- --shared $(foreach file,$(SCRIPT_TESTS),'$(notdir $(file))=$(BATS) $(file)')

# By count: a time ends at times with "context deadline exceeded", though nothing
# is wrong (https://go.dev/issue/75804).
.PHONY: fuzz
fuzz: export FUZZTIME ?= 2000x
fuzz: ## Feed each decoder with random input, FUZZTIME=2000x each; a time such as 10m is possible.
	@git grep -E '^func Fuzz' -- '*_test.go' | sed -E 's|/[^/]*:func (Fuzz[A-Za-z0-9_]*).*| \1|' | \
	while read -r package target; do go test "./$$package" -run '^$$' -fuzz "^$$target$$" -fuzztime "$$FUZZTIME"; done

# The same sample for the same seed, so that a result can be had again.
.PHONY: mutate
mutate: export SAMPLE ?= 100
mutate: export SEED ?= 1
mutate: export WORKERS ?= 0
mutate: export ONLY ?=
mutate: ## Flip SAMPLE=100 conditions (0: all) of ONLY=lambda/…: do tests notice? Takes minutes.
	@go run ./test/mutate/cmd/mutate -sample "$$SAMPLE" -seed "$$SEED" -workers "$$WORKERS" -only "$$ONLY"

.PHONY: bench
bench: setup ## Measure the trigger and the upload against references; takes minutes.
	@go run ./test/bench

# For this machine, or for GOOS and GOARCH. The runner's host has its own copy.
BIN ?= bin
.PHONY: artifact
artifact: ## Build the program of jobs, bin/artifact; GOOS=linux GOARCH=arm64 for another machine.
	@version=$$(git describe --always --dirty --tags) && mkdir -p "$(BIN)" && \
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$$version" -o "$(BIN)/artifact" ./cmd/artifact

.PHONY: gofmt
gofmt:
	@$(GO_FILES) && files=$$(gofmt -l $$files) && \
	{ [[ -z $$files ]] || { echo "gofmt would change:"; echo "$$files"; exit 1; }; }

# It takes half a minute of a processor: what has passed is not read again until
# a script or the tool changes.
.PHONY: shellcheck
shellcheck:
	@$(SHELL_FILES) && passed=node_modules/.cache/shellcheck && now=$$(sha256sum $$files package-lock.json Makefile | sha256sum) && \
	if [[ -e $$passed && $$(<$$passed) == "$$now" ]]; then echo "unchanged since it passed"; exit; fi && \
	shellcheck -x $$files && mkdir -p node_modules/.cache && echo "$$now" >$$passed

.PHONY: shfmt
shfmt:
	@$(SHELL_FILES) && go tool shfmt -i 2 -ci -d $$files

.PHONY: lint-templates
lint-templates:
	@test -f cdk.out/manifest.json || { echo "cdk.out is missing: make synth failed"; exit 1; }
	@region=$$(node -p 'Object.values(require("./cdk.out/manifest.json").artifacts).find(a => a.type === "aws:cloudformation:stack").environment.split("/").pop()') && \
	cfn-lint --include-checks I --regions "$$region" --template cdk.out/*.template.json

.PHONY: clean
clean: ## Remove what was built: cdk.out, bin. The tools stay.
	@rm -rf cdk.out bin
