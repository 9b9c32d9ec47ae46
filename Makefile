# Everything is plain cargo underneath; this file knows the order and the set-up.

export PREFIX ?= /usr/local
export DESTDIR ?=
# When the release was made, for everything in it.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
CARGO_HOME ?= $(HOME)/.cargo
HOST := $(shell uname -m)
SYSROOT := $(shell rustc --print sysroot 2>/dev/null)
# musl where that target is installed; else glibc, linked in.
TARGET ?= $(HOST)-unknown-linux-$(if $(wildcard $(SYSROOT)/lib/rustlib/$(HOST)-unknown-linux-musl),musl,gnu)
ARCH := $(firstword $(subst -, ,$(TARGET)))
# Of another architecture, Debian's name for it.
LINKER := $(if $(filter-out $(HOST),$(ARCH)),--config 'target.$(TARGET).linker="$(ARCH)-linux-gnu-gcc"')
# Relocations are packed, which saves 0.1 MB. Places of the building machine are left out, so that the
# same commit gives the same bytes anywhere. Between flags stands the sign that cargo knows, as a
# folder may have spaces in its name.
FLAGS := $$(printf '%s\037%s\037%s\037%s' -Ctarget-feature=+crt-static \
	-Clink-arg=-Wl,-z,pack-relative-relocs \
	'--remap-path-prefix=$(CURDIR)=.' '--remap-path-prefix=$(CARGO_HOME)=cargo')
STATIC := CARGO_ENCODED_RUSTFLAGS="$(FLAGS)" cargo build --locked --release --target $(TARGET) $(LINKER)
OUT := target/$(TARGET)/release
IMAGE := plimsoll-demo-app:1
DEMO_IMAGE := plimsoll-demo-haproxy:1
# Of `make bench-haproxy` and `make soak`. REQUESTS=10000000 EVENTS=1000 RELOADS=200 is the long run.
REQUESTS ?= 1000000
EVENTS ?= 100
RELOADS ?= 20
SOAK_MINUTES ?= 60

.DEFAULT_GOAL := help
.PHONY: help demo demo-compose test build bench bench-haproxy soak check check-examples install uninstall dist deb release try-systemd try-vm setup setup-test setup-compose image test-matrix

help: ## print this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## install what is missing (Docker, HAProxy) and start Docker
	@contrib/setup.sh

setup-test:
	@contrib/setup.sh test

setup-compose:
	@contrib/setup.sh compose

demo: setup image ## show the main job on a real Docker and a real HAProxy, in two minutes
	@$(STATIC) --quiet --bin plimsoll --example demo
	@$(OUT)/examples/demo --plimsoll $(OUT)/plimsoll --app $(OUT)/examples/app

demo-compose: setup-compose image ## the same with docker compose: an app gets three labels; needs port 80
	@$(STATIC) --quiet --bin plimsoll --example demo
	@contrib/docker/one/image.sh $(DEMO_IMAGE) "$$(contrib/demo/base.sh)" $(OUT)/plimsoll
	@$(OUT)/examples/demo --compose $(DEMO_IMAGE)

test: setup-test image ## every test: unit, black box, and end to end on Docker and HAProxy
	cargo test --locked --bin plimsoll --test it -- --test-threads=4
	cargo test --locked --test browser -- --test-threads=2
	cargo test --locked --test e2e -- --test-threads=2

test-matrix: setup-test ## the tests end to end on HAProxy and Docker of Debian 12, 13 and sid
	@contrib/matrix/run.sh

build: ## a debug build
	cargo build --locked

bench: setup image ## measure: cost of a tick, a decision, an answer, the load history and a simulated week, beside a Python daemon
	$(STATIC) --bin plimsoll
	PLIMSOLL_BENCH_BIN=$(OUT)/plimsoll cargo bench --locked --bench ticks
	PLIMSOLL_BENCH_BIN=$(OUT)/plimsoll cargo bench --locked --bench decide
	PLIMSOLL_BENCH_BIN=$(OUT)/plimsoll cargo bench --locked --bench forecast
	PLIMSOLL_BENCH_BIN=$(OUT)/plimsoll cargo bench --locked --bench advise
	PLIMSOLL_BENCH_BIN=$(OUT)/plimsoll cargo bench --locked --bench traces
	PLIMSOLL_BENCH_BIN=$(OUT)/plimsoll cargo bench --locked --bench api
	PLIMSOLL_BENCH_BIN=$(OUT)/plimsoll cargo bench --locked --bench history
	PLIMSOLL_BENCH_BIN=$(OUT)/plimsoll cargo bench --locked --bench steps
	PLIMSOLL_BENCH_BIN=$(OUT)/plimsoll cargo bench --locked --bench beside

bench-haproxy: setup-test image ## count what REQUESTS lose during EVENTS and RELOADS of HAProxy, beside the naive way
	$(STATIC) --bin plimsoll
	PLIMSOLL_BENCH_BIN=$(OUT)/plimsoll PLIMSOLL_BENCH_IMAGE=$(IMAGE) PLIMSOLL_BENCH_REQUESTS=$(REQUESTS) \
		PLIMSOLL_BENCH_EVENTS=$(EVENTS) PLIMSOLL_BENCH_RELOADS=$(RELOADS) cargo bench --locked --bench haproxy

soak: setup image ## an hour (SOAK_MINUTES) of load, scaling, deaths and reloads: fails if anything grows
	$(STATIC) --bin plimsoll
	PLIMSOLL_BENCH_BIN=$(OUT)/plimsoll PLIMSOLL_BENCH_IMAGE=$(IMAGE) PLIMSOLL_SOAK_MINUTES=$(SOAK_MINUTES) \
		cargo bench --locked --bench soak

check: ## format and lints
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

check-examples: ## every example config, by the program's own check
	@for file in contrib/examples/*.json; do \
		cargo run --locked --quiet --bin plimsoll -- check --config $$file || exit; \
	done

# Without cargo, as root often is, what was built before is installed.
install: $(if $(shell command -v cargo),dist) ## binary, systemd unit, documents below PREFIX (after DESTDIR); no config is touched
	@contrib/install.sh

uninstall: ## take that away again; config and state stay
	@contrib/install.sh uninstall

dist: ## static executable and tarball with checksums in dist/; reproducible
	@contrib/toolchain.sh $(TARGET)
	$(STATIC) --bin plimsoll
	@contrib/is-static.sh $(OUT)/plimsoll
	@contrib/dist.sh $(OUT)/plimsoll $(ARCH)

deb: dist ## a Debian package in dist/
	@contrib/deb.sh $(ARCH)

release: deb ## dist, deb, and an image, an SBOM, notes and checksums; also TARGET=aarch64-unknown-linux-gnu
	@contrib/release.sh $(TARGET)

try-systemd: dist image ## the unit in a booted Debian: start, reload, crash, hang, stop; needs debootstrap
	@contrib/systemd/try.sh dist/plimsoll-*-linux-$(ARCH).tar.gz

# The release from which `try-vm` upgrades. None is tagged yet; this commit stands for it.
LAST := 4c8b285

try-vm: dist ## a whole Debian 13 in QEMU: the README's installation, scaling, restarts, a reboot, upgrade
	@$(STATIC) --quiet --example app
	@contrib/vm/release.sh $(LAST) target/vm/plimsoll-$(LAST).tar.gz
	@contrib/vm/try.sh dist/plimsoll-*-linux-$(ARCH).tar.gz target/vm/plimsoll-$(LAST).tar.gz \
		$(OUT)/examples/app

image: ## the example app as a Docker image, which the demo and the tests run
	@$(STATIC) --quiet --example app
	@contrib/demo/image.sh $(OUT)/examples/app $(IMAGE)
