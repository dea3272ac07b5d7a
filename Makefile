# `make help` lists what there is. Everything sets itself up: `make demo` and
# `make test` install the OS packages that are missing, and never more.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

# Resolved when a recipe runs, so that `setup` can have fetched it before.
GO = $(shell hack/setup go)
GOTOOLCHAIN ?= auto
export GOTOOLCHAIN
GOLANGCI_LINT_VERSION := v2.15.0

VERSION ?= $(shell git describe --tags --dirty --always 2>/dev/null)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)
# Of the commit, not of the build: the same commit gives the same bytes.
DATE    ?= $(shell git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null)
export TZ := UTC
version_package := github.com/bundt/bundt/pkg/version
LDFLAGS = -s -w -X $(version_package).version=$(VERSION) -X $(version_package).commit=$(COMMIT) -X $(version_package).date=$(DATE)
BUILD = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'

# Packages that have tests which boot machines.
vm_packages = $(shell grep -rlE --include='*_test.go' '^//go:build .*\bvm\b' . | xargs -r -n 1 dirname | sort -u)

# The tiny image's init is the guest's own program: static, and reproducible, as
# its bytes are an input of the bake.
tiny_init := images/tiny/build
tiny_init_x86_64 := amd64
tiny_init_arm64  := arm64
tiny_init_i386   := 386

.PHONY: build
build: guest-init ## build bin/bundt and bin/bundtd
	$(BUILD) -o bin/ ./cmd/bundt ./cmd/bundtd

# libvirt's own binding is C, which opens the library when it is used: no headers are
# needed to build, and the library only to run.
libvirt_tags := libvirt,libvirt_dlopen
.PHONY: build-libvirt
build-libvirt: ## build bin/bundtd-libvirt, a daemon that can also use libvirt (needs a C compiler)
	CGO_ENABLED=1 $(GO) build -trimpath -tags $(libvirt_tags) -ldflags '$(LDFLAGS)' -o bin/bundtd-libvirt ./cmd/bundtd

.PHONY: guest-init
guest-init: ## build the tiny image's own programs for each architecture
	$(foreach arch,x86_64 arm64 i386,CGO_ENABLED=0 GOOS=linux GOARCH=$(tiny_init_$(arch)) $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -buildid=' -o $(tiny_init)/$(arch)/ ./images/tiny/init ./images/tiny/initramfs;)

.PHONY: cross
cross: guest-init ## build for linux/arm64 into dist/linux-arm64
	GOOS=linux GOARCH=arm64 $(BUILD) -o dist/linux-arm64/ ./cmd/bundt ./cmd/bundtd

.PHONY: setup
setup: ## install what is missing to build and test (asks for root only if something is)
	@hack/setup test

.PHONY: setup-demo
setup-demo:
	@hack/setup demo

.PHONY: demo
demo: setup-demo ## the whole story on real machines, in a few minutes
	@$(MAKE) --no-print-directory build
	$(GO) run ./hack/demo

.PHONY: demo-debian
demo-debian: ## the same story with a whole Debian and nginx; installing it takes minutes the first time
	@hack/setup demo_debian
	@$(MAKE) --no-print-directory build
	$(GO) run ./hack/demo -guest debian

.PHONY: demo-console
demo-console: setup-demo ## a cloud of your own in the browser, until Ctrl-C
	@$(MAKE) --no-print-directory build
	$(GO) run ./hack/demo -console -dir .demo-console

.PHONY: test
test: setup ## unit tests with the race detector, then the tests that boot machines
	@$(MAKE) --no-print-directory build build-libvirt cross test-unit test-vm

.PHONY: test-unit
test-unit: ## unit tests only
	$(GO) test -race -p 1 ./...

.PHONY: test-vm
test-vm: ## only the packages whose tests boot machines; a skipped test is a failure
	GO=$(GO) $(GO) run ./hack/noskip -tags vm,$(libvirt_tags) -p 1 -count=1 -timeout 45m $(vm_packages)

.PHONY: test-slow
test-slow: ## tests that take an hour or two: a whole Debian for other architectures, what Debian publishes for clouds, and one installed again byte for byte
	@hack/setup test_slow
	@$(MAKE) --no-print-directory build
	$(GO) test -tags slow -count=1 -timeout 2h -run 'TestSameLockSameBytes$$' ./pkg/bake
	GO=$(GO) $(GO) run ./hack/noskip -tags 'vm slow' -p 1 -count=1 -timeout 4h -run 'TestSlow' ./hack/e2e

# Many minutes for one test: for those who want Terraform itself to say that its
# plan is empty. `terraform` has to be there.
terraform_provider := bin/terraform-mirror/registry.terraform.io/hashicorp/aws/1.60.0/linux_$(shell $(GO) env GOARCH)
.PHONY: terraform-mirror
terraform-mirror: setup ## build Terraform's AWS provider, so that TestTerraform runs the real thing
	cd hack/terraform-provider && $(GO) build -o $(CURDIR)/$(terraform_provider)/terraform-provider-aws_v1.60.0_x5 .

.PHONY: bench
bench: setup ## measure the goals, each beside its floor; writes bench.json
	@$(MAKE) --no-print-directory build
	$(GO) run ./hack/bench -o bench.json

.PHONY: lint
lint: bin/tools/golangci-lint ## golangci-lint and, if installed, shellcheck
	bin/tools/golangci-lint run ./...
	@if type -P shellcheck >/dev/null; then \
		git grep -lE '^#!.*\b(ba)?sh\b' -- . ':!*/testdata/script/*' | xargs shellcheck; \
	else echo 'lint: no shellcheck here, shell scripts unchecked' >&2; fi

bin/tools/golangci-lint: Makefile
	GOBIN=$(CURDIR)/bin/tools $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	@touch $@

.PHONY: docs
docs: ## man pages and the coverage page into docs, completions into dist/completions
	$(GO) run ./hack/docs -man docs/man -completions dist/completions
	$(GO) run ./hack/coverage

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist .demo bench.json $(foreach arch,x86_64 arm64 i386,$(tiny_init)/$(arch))

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' Makefile | expand -t 16
