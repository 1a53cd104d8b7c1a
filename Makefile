# dynwatch. `make` alone explains itself.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS     := -s -w -X main.version=$(VERSION)
FUZZTIME    ?= 1m
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/dynwatch, one static binary
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/dynwatch ./cmd/dynwatch

.PHONY: build-all
build-all: ## build for linux/amd64 and linux/arm64 into dist/
	for arch in amd64 arm64; do \
		GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o dist/dynwatch-linux-$$arch ./cmd/dynwatch; \
	done

.PHONY: chart
chart: ## rewrite the plain manifests in deploy/kubernetes from the Helm chart
	cd deploy/charttest && $(GO) test -count=1 ./... -update

.PHONY: image
image: ## build the container image of both architectures into dist/ (needs buildah)
	scripts/image '$(VERSION)' dist

.PHONY: packages
packages: ## build .deb and .rpm of both architectures, and their SBOMs, into dist/
	scripts/packages "$$(printf '%s' '$(VERSION)' | sed -E 's/^v//; s/^[^0-9].*|^[0-9a-f]{7,}.*/0.0.0~&/')" dist

.PHONY: setup
setup: ## install the Debian packages that tests use (scripts/packages.txt)
	scripts/setup

# Packages whose tests watch this whole host, or hold programs to what they take of it: each runs alone, for they see one another's clients.
WATCHERS := /(bpf|capture/(afpacket|ebpf|library)|cmd|deploy|e2e)(/|$$)

.PHONY: test
test: setup lint check-generated build-all ## do all set-up, then run every test with the race detector
	packages=$$($(GO) list ./... | grep -vE '$(WATCHERS)'); CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 20m $$packages
	packages=$$($(GO) list ./... | grep -E '$(WATCHERS)'); CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 20m -p 1 $$packages
	CGO_ENABLED=0 $(GO) test -count=1 ./internal/privilege
	cd deploy/charttest && $(GO) test -count=1 ./...

.PHONY: test-kernels
test-kernels: ## try dynwatch on other kernels, in an emulator (docs/kernels.md); not part of test
	scripts/test-kernels $(KERNELS)

.PHONY: test-libraries
test-libraries: ## try the library probes with other versions of the libraries (docs/libraries.md); not part of test
	scripts/test-libraries $(LIBRARIES)

.PHONY: pictures
pictures: ## redraw docs/images (VIEW=folder of a page that draws dashboards, see scripts/pictures); not part of test
	VERSION='$(VERSION)' scripts/pictures '$(VIEW)'

.PHONY: lint
lint: ## gofmt, clang-format, go vet, staticcheck, and the project's own rules on words
	scripts/lint '$(STATICCHECK)'

.PHONY: fmt
fmt: ## format the code
	gofmt -w $$(git ls-files '*.go')
	clang-format-14 -i bpf/*.bpf.c bpf/*.h bench/live/*.bpf.c

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME each (default 1m)
	scripts/fuzz '$(FUZZTIME)'

.PHONY: bench
bench: ## measure the ratios that README.md shows, beside tcpdump and tshark
	scripts/bench

.PHONY: soak
soak: ## an hour of churn for the agent (SOAK=10m for less), and a hundred kills of its alerts' sender; the report is dist/soak.log
	mkdir -p dist
	{ date -u; \
	DYNWATCH_CHAOS_ROUNDS=100 $(GO) test -count=1 -timeout 30m -v -run TestKilledWhileFindingsArrive ./internal/alert; \
	SOAK=$${SOAK:-1h} $(GO) test -v -count 1 -timeout 3h ./e2e/soak; \
	date -u; echo "the soak has passed"; } 2>&1 | tee dist/soak.log

.PHONY: bench-live
bench-live: ## measure what a live capture costs, misses and takes, beside tcpdump (root)
	scripts/bench-live

.PHONY: generate
generate: ## regenerate everything that is generated
	$(GO) generate ./...

.PHONY: check-generated
check-generated: ## fail if the committed eBPF objects are not what the pinned clang makes
	scripts/check-generated

.PHONY: golden
golden: ## rewrite golden files from the present output (look at the diff)
	$(GO) test ./internal/output ./internal/metrics ./internal/config ./cmd/dynwatch ./analyze/rules ./dashboards ./bench/scale -update

.PHONY: man
man: build ## write man pages to dist/man
	bin/dynwatch man dist/man

.PHONY: install
install: build ## install to $(DESTDIR)/usr/local/bin
	install -D -m 0755 bin/dynwatch $(DESTDIR)/usr/local/bin/dynwatch

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
