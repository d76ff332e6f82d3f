# Berth's tasks. `make help` lists them.
#
# VERSION, COMMIT and DATE may be given by who packages berth; else git says.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)
DATE    ?= $(shell git log -1 --format=%cI 2>/dev/null)

stamp   := github.com/berth-dev/berth/internal/version
ldflags := -s -w -X $(stamp).version=$(VERSION) -X $(stamp).commit=$(COMMIT) -X $(stamp).date=$(DATE)

# What starts engines needs root; everything else is done as the user who called make.
sudo := $(if $(filter 0,$(shell id -u)),,-exec "sudo -E")

export BERTH := $(CURDIR)/bin/berth
export GOWORK := off

.PHONY: help deps payload build image sbom test test-unit test-race fuzz test-deps test-integration test-sdk test-image test-kube test-kube-vm test-vm test-container test-matrix test-table check demo bench clean distclean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 20

deps: ## install what the build needs (Debian, Ubuntu; uses sudo when not root)
	@hack/deps.sh

payload: deps ## build the upstream programs that berth carries; only what changed
	@$(GO) run ./hack/payload

build: payload ## build bin/berth
	@CGO_ENABLED=0 $(GO) build -tags nopayload -trimpath -buildvcs=false -ldflags '$(ldflags)' -o .cache/image/berth ./cmd/berth
	@gzip -9 -n -c .cache/image/berth > .cache/image/berth.gz && (cmp -s .cache/image/berth.gz internal/image/files/berth.gz || cp .cache/image/berth.gz internal/image/files/berth.gz)
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(ldflags)' -o bin/berth ./cmd/berth
	@size=$$(stat -c %s bin/berth); echo "bin/berth $(VERSION): $$((size / 1000000)) MB"; \
	if [ $$size -gt 120000000 ]; then echo "bin/berth is larger than the 120 MB that docs promise" >&2; exit 1; fi

image: build ## make the container image that replaces docker:dind: bin/berth-image.tar (root)
	@$(if $(filter 0,$(shell id -u)),,sudo -E )bin/berth image build -o bin/berth-image.tar

sbom: build ## list every program, library and Go module in bin/berth: bin/berth.cdx.json
	@$(GO) run ./hack/payload sbom -berth bin/berth -o bin/berth.cdx.json

test: test-unit test-integration ## all tests

test-unit: ## tests that need neither root nor an engine
	$(GO) test ./...

test-race: ## the unit tests once more, with the race detector
	$(GO) test -race ./...

fuzz: ## every fuzz test for FUZZTIME= (10s each); PKG=./internal/mirror for one package
	@GO="$(GO)" FUZZTIME="$(FUZZTIME)" hack/fuzz.sh $(PKG)

test-deps:
	@hack/deps.sh test
	@cd examples && $(GO) vet ./... # and so has their modules, which the tests' own network could not fetch
	@cd test/builder/buildkit && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o ../../../.cache/test/buildkit/ tool
	@cd test/mirror/conformance && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o ../../../.cache/test/conformance/ tool

# One package after the other: they measure, fill file systems and count processes.
test-integration: build test-deps ## tests with real engines (root)
	BERTH_BINARY=$(BERTH) BERTH_TEST_REQUIRED=1 $(GO) test $(sudo) -count=1 . ./berthtest
	cd test && $(GO) vet ./... && $(GO) test $(sudo) -count=1 -p 1 -timeout 40m -json $$($(GO) list ./... | grep -v /kube) | $(GO) run ./vm record

test-sdk: build test-deps ## the Go SDK with real registries, and the examples (root); part of `make test`
	cd test && $(GO) test $(sudo) -count=1 -timeout 20m ./sdk/...

test-image: build test-deps ## the container image on real outer engines (root); part of `make test`
	cd test && $(GO) test $(sudo) -count=1 -timeout 30m ./dind/...

test-kube: build test-deps ## berth in a real Kubernetes cluster of one node (root); builds its programs the first time
	@$(GO) run ./hack/kube
	cd test && $(GO) vet ./kube/... && $(GO) test $(sudo) -count=1 -timeout 30m ./kube/...

test-kube-vm: build test-deps ## pods without privileges, on a node with systemd and cgroup v2 in a virtual machine: KERNEL= (root)
	@$(GO) run ./hack/kube
	cd test && BERTH_TEST_NODE=vm $(GO) test $(sudo) -count=1 -v -timeout 25m -run '^(TestUnprivileged|TestWhatAPlainPrivilegedPod|TestAPrivilegedContainerInside|TestContainersInsideAreIn|TestTheMemoryOfAContainerInsideIsThePods)' ./kube

test-vm: build ## core tests in a virtual machine: KERNEL= CGROUP=v2|hybrid|v1 FS= INIT=busybox|systemd MEM= IPV6=0|1 RUN=
	cd test && $(GO) run $(sudo) ./vm run

test-container: build ## core tests in a container of an engine on this machine: RUN= (root)
	cd test && $(GO) run $(sudo) ./vm container

test-matrix: build ## the same in the useful combinations, and the table test × environment
	cd test && $(GO) run $(sudo) ./vm matrix

test-table: ## test × environment, from the runs so far
	@cd test && $(GO) run ./vm table

check: ## formatting, vet, staticcheck, known vulnerabilities
	@hack/check.sh

demo: build ## the main job: registry, pull, run, build, save, nothing left (root)
	cd test && $(GO) run $(sudo) ./demo -dir "$(CURDIR)"

bench: build ## the figures of the README against plain dockerd (root)
	@$(GO) run ./hack/kube
	cd test && $(GO) run $(sudo) ./bench

clean: ## remove bin; the payload's cache stays
	rm -rf bin

distclean: clean ## remove the payload and its cache as well
	rm -rf .cache internal/payload/files/*.zst internal/payload/files/manifest.json
