GO ?= go
export GOFLAGS := -buildvcs=false

.PHONY: build
build: ## build bin/ovs-xdpd and bin/ovs-xdpctl
	$(GO) build -trimpath -o bin/ovs-xdpd ./cmd/ovs-xdpd
	$(GO) build -trimpath -o bin/ovs-xdpctl ./cmd/ovs-xdpctl
