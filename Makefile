# Everything is plain cargo underneath; this file knows the order and the set-up.

PREFIX ?= /usr/local
DESTDIR ?=
ARCH := $(shell uname -m)
SYSROOT := $(shell rustc --print sysroot 2>/dev/null)
# musl where that target is installed; else glibc, linked in.
TARGET ?= $(if $(wildcard $(SYSROOT)/lib/rustlib/$(ARCH)-unknown-linux-musl),$(ARCH)-unknown-linux-musl,$(ARCH)-unknown-linux-gnu)
# Relocations of the zone database packed: almost a megabyte less.
FLAGS := -C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs
STATIC := RUSTFLAGS="$(FLAGS)" cargo build --locked --release --target $(TARGET)
OUT := target/$(TARGET)/release
IMAGE := plimsoll-demo-app:1

.DEFAULT_GOAL := help
.PHONY: help demo test build bench bench-haproxy check install dist setup setup-test image

help: ## print this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## install what is missing (Docker, HAProxy) and start Docker
	@contrib/setup.sh

setup-test:
	@contrib/setup.sh test

demo: setup image ## show the main job on a real Docker and a real HAProxy, in two minutes
	@$(STATIC) --quiet --bin plimsoll --example demo
	@$(OUT)/examples/demo --plimsoll $(OUT)/plimsoll --app $(OUT)/examples/app

test: setup-test image ## every test: unit, black box, and end to end on Docker and HAProxy
	cargo test --locked --bin plimsoll --test it -- --test-threads=4
	cargo test --locked --test e2e -- --test-threads=2

build: ## a debug build
	cargo build --locked

bench: setup image ## measure: cost of a tick and of a decision, memory, a simulated week
	$(STATIC) --bin plimsoll
	PLIMSOLL_BENCH_BIN=$(OUT)/plimsoll cargo bench --locked --bench ticks
	PLIMSOLL_BENCH_BIN=$(OUT)/plimsoll cargo bench --locked --bench decide

bench-haproxy: setup image ## count what clients lose while HAProxy's servers come and go, beside the naive way
	$(STATIC) --bin plimsoll
	PLIMSOLL_BENCH_BIN=$(OUT)/plimsoll cargo bench --locked --bench haproxy

check: ## format and lints
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

check-examples: ## every example config, by the program's own check
	@for file in contrib/examples/*.json; do \
		cargo run --locked --quiet --bin plimsoll -- check --config $$file || exit; \
	done

install: dist ## install the static binary below PREFIX (DESTDIR is put before it)
	install -D -m 755 dist/plimsoll $(DESTDIR)$(PREFIX)/bin/plimsoll

dist: ## a static executable in dist/, checked to be one
	$(STATIC) --bin plimsoll
	@mkdir -p dist && cp $(OUT)/plimsoll dist/plimsoll
	@contrib/is-static.sh dist/plimsoll

image: ## the example app as a Docker image, which the demo and the tests run
	@$(STATIC) --quiet --example app
	@contrib/demo/image.sh $(OUT)/examples/app $(IMAGE)
