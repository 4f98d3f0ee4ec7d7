# ovs-xdp. "make help" lists the targets.

GO ?= go
export GOFLAGS := -buildvcs=false
NFPM ?= $(GO) run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
GOLANGCI_LINT ?= $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: help build package test-package test-container pictures demo test test-host test-guest conformance chaos mutants test-kernels matrix kernel-shell packages packages-kernels packages-debian packages-containers generate check-generated check-kubernetes check-grafana lint bench bench-kernels bench-control fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/ovs-xdpd and bin/ovs-xdpctl
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ovs-xdpd ./cmd/ovs-xdpd
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ovs-xdpctl ./cmd/ovs-xdpctl

ARCH ?= $(shell $(GO) env GOARCH)
VERSION ?= $(shell sed -n 's/^var Version = "\(.*\)"/\1/p' sync/report/report.go)
# What packages are dated by, so that the same commit gives the same bytes.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 1767225600)
package: ## build a .deb and an .rpm for ARCH in dist
	rm -rf dist && mkdir -p dist/bin dist/man dist/completion
	CGO_ENABLED=0 GOARCH=$(ARCH) $(GO) build -trimpath -ldflags="-s -w" -o dist/bin ./cmd/ovs-xdpd ./cmd/ovs-xdpctl
	for page in deploy/man/*.8; do gzip -9n <$$page >dist/man/$${page##*/}.gz || exit 1; done
	for shell in bash zsh fish; do $(GO) run ./cmd/ovs-xdpctl completion $$shell >dist/completion/$$shell || exit 1; done
	for format in deb rpm; do ARCH=$(ARCH) VERSION=$(VERSION) $(NFPM) package -f deploy/package/nfpm.yaml -p $$format -t dist || exit 1; done

test-package: packages-debian ## build packages, and install both in a clean Debian with systemd (root)
	$(GO) test -tags packages -count=1 -timeout 30m -v -run 'Packages|Exposure' ./test/deploy

test-container: packages-containers ## build the image, and run it as the DaemonSet does beside a real Open vSwitch (root)
	$(GO) test -tags packages -count=1 -timeout 30m -v -run Container ./test/deploy

FREEZE ?= $(GO) run github.com/charmbracelet/freeze@v0.2.2
pictures: packages build ## make the pictures in deploy/pictures anew: what an operator sees (root, tmux)
	mkdir -p dist/pictures deploy/pictures && $(GO) run ./test/pictures dist/pictures
	for f in dist/pictures/*.ansi; do $(FREEZE) $$f --language ansi --font.family monospace --font.size 13 --output deploy/pictures/$$(basename $$f .ansi).svg || exit 1; done

demo: packages build ## show the express lane on real traffic (root)
	@$(GO) run ./test/demo

# Tests of these load BPF programs, make devices or start an Open vSwitch.
DEVICE_TESTS := ./bpf ./ovs/dpflow ./ovs/observe ./ovs/ofctl ./ovs/ovsdb ./sync/host ./test/chaos ./test/conformance ./test/e2e ./test/lab
# Those of them that time what they see, and have the machine for themselves.
TIMED_TESTS := ./test/chaos ./test/e2e
# Their names as suites of test/kernels, but for those that it runs anyway.
DEVICE_SUITES := dpflow observe ofctl ovsdb lab chaos rest

test: packages-kernels build ## run every test (root): units, BPF programs, a real Open vSwitch, other kernels
	$(GO) vet ./...
	@if test/setup/check-host; then $(MAKE) --no-print-directory test-host; else $(MAKE) --no-print-directory test-guest; fi
	@$(MAKE) --no-print-directory test-kernels

test-host: packages-kernels build ## run the tests on this machine's kernel (root)
	$(GO) test -count=1 -p 2 -timeout 20m $$($(GO) list ./... | grep -vxF "$$($(GO) list $(TIMED_TESTS))")
	$(GO) test -count=1 -p 1 -parallel 3 -timeout 20m $(TIMED_TESTS)

test-guest: packages-kernels build ## the same where devices can't be made: what makes some runs in an emulated machine
	$(GO) test -count=1 -p 1 -timeout 20m $$($(GO) list ./... | grep -vxF "$$($(GO) list $(DEVICE_TESTS))")
	@$(GO) run ./test/kernels test -kernels 6.12 -suites '$(DEVICE_SUITES)'

N ?= 100
SEED ?= 1
FRAMES ?= 400
conformance: packages build ## compare OVS with and without the lane on N random bridges, N pipelines of clouds and N sets of compiled rules, from SEED on (root)
	$(GO) test -count=1 -timeout 0 -v -run '^Test(RandomBridges|RandomPipelines|RulesAsTraced)$$' ./test/conformance -args -cases $(N) -pipelines $(N) -tables $(N) -seed $(SEED) -frames $(FRAMES)

CYCLES ?= 500
LANE ?= auto
chaos: packages build ## inject every fault under traffic, and write test/chaos/RESULTS.md; LANE=flows for bridges that follow flows (root; about a quarter of an hour)
	$(GO) test -count=1 -timeout 0 -v ./test/chaos -args -full -cycles $(CYCLES) -lane $(LANE) -results RESULTS$(if $(filter-out auto,$(LANE)),-$(LANE)).md

mutants: packages build ## break the program on purpose, and see that the comparison notices (root, clang-19)
	$(GO) test -tags mutants -count=1 -timeout 0 -v -run TestMutants ./test/conformance

KERNELS ?= 6.1 6.12
RUN ?=
SUITES ?=
FULL ?=
ICOUNT ?=
test-kernels: packages-kernels build ## run the tests on Debian's kernels KERNELS, in emulated machines (root); SUITES and RUN choose, FULL=1 runs all, ICOUNT=1 is for measurements
	@$(GO) run ./test/kernels test -parallel -cpus 1 -kernels '$(KERNELS)' -suites '$(SUITES)' -run '$(RUN)' $(if $(FULL),-full) $(if $(ICOUNT),-icount)

matrix: packages-kernels build ## write into the README what the tests see working on Debian's kernels (root)
	@$(GO) run ./test/kernels test -parallel -cpus 1 -suites e2e -full -matrix

KERNEL ?= 6.12
CMD ?=
kernel-shell: packages-kernels build ## a prompt in an emulated machine with the kernel KERNEL, or run CMD there; ICOUNT=1 is for measurements (root)
	@$(GO) run ./test/kernels shell -kernel '$(KERNEL)' $(if $(ICOUNT),-icount) -command '$(subst ','\'',$(value CMD))'

packages: ## install the Debian packages that demo and test need (root)
	@test/setup/install-packages

packages-kernels: ## the same, and those that machines of QEMU need (root)
	@test/setup/install-packages kernels
	@test/setup/unpack ovn ovn-common ovn-host ovn-central >/dev/null

packages-debian: ## the same, and those that test-package needs (root)
	@test/setup/install-packages debian

packages-containers: ## the same, and those that test-container needs (root)
	@test/setup/install-packages containers

generate: ## compile the BPF programs anew (clang-19, llvm-19, libbpf-dev)
	$(GO) generate ./bpf

check-generated: generate ## fail when the committed BPF objects are not those of the sources
	git diff --exit-code -- bpf

check-kubernetes: ## build the manifests as kustomize does, and read them by the types of Kubernetes
	cd test/deploy/kubernetes && $(GO) test -count=1 ./...

check-grafana: ## read the dashboard by the types of Grafana's own schema
	cd test/deploy/grafana && $(GO) test -count=1 ./...

lint: ## check style and the dependency rules
	$(GOLANGCI_LINT) run ./...

ROUNDS ?= 10
bench: packages build ## measure OVS with and without the lane by turns, ROUNDS times, and write test/bench/results (root)
	@$(GO) run ./test/bench host -rounds $(ROUNDS)

SHORT ?=
bench-kernels: packages-kernels build ## count instructions a frame in an emulated machine, and bulk TCP; SHORT=1 for one round (root)
	@$(GO) run ./test/bench kernels $(if $(SHORT),-short)

# For a quick one: BENCH='-rounds 1 -new 20 -idle 10s -stations 1000,10000'.
BENCH ?= -out test/bench/control -readme README.md
bench-control: packages build ## measure how the daemon keeps up with 500 ports and 100,000 stations, and write the figures into the README (root; about 15 minutes)
	@$(GO) run ./test/bench/control $(BENCH)

fuzz: ## fuzz each parser for FUZZTIME (30s)
	@for pkg in $$(grep -rl --exclude-dir=.cache --include='*_test.go' 'func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -ho 'func Fuzz[A-Za-z0-9]*' $$pkg/*_test.go | cut -c6-); do \
			$(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $${FUZZTIME:-30s} $$pkg || exit 1; \
		done; \
	done

clean: ## remove what was built
	rm -rf bin dist
