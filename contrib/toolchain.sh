#!/bin/sh
# toolchain.sh TARGET: whether this machine can build for a target like aarch64-unknown-linux-gnu;
# else says what is missing and how to get it.
set -eu

target=${1:?usage: toolchain.sh TARGET}
arch=${target%%-*}
missing=

lacks() {
    for line in "$@"; do
        echo "toolchain: $line" >&2
    done
    missing=yes
}

library=$(rustc --print target-libdir --target "$target" 2>/dev/null) || library=
if [ -z "$library" ]; then
    lacks "rustc knows no target $target; see: rustc --print target-list"
elif [ -z "$(find "$library" -name 'libstd-*.rlib' 2>/dev/null)" ]; then
    lacks "Rust's standard library for $target is missing: there is no libstd in $library" \
        "  get it: rustup target add $target" \
        "  without rustup it is a package of your rustc's own version, on Debian libstd-rust-dev"
fi
linker=$arch-linux-gnu-gcc
if [ "$arch" != "$(uname -m)" ] && ! command -v "$linker" >/dev/null; then
    lacks "the linker $linker is missing" \
        "  get it, on Debian: apt-get install gcc-$(echo "$arch" | tr _ -)-linux-gnu" \
        "  or build on a machine of that architecture"
fi
if [ -n "$missing" ]; then
    echo "toolchain: nothing was built for $target" >&2
    exit 1
fi
