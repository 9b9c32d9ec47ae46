#!/bin/sh
# Builds the image of plimsoll and HAProxy, and prints its tag and size.
#
#   contrib/docker/one/image.sh [TAG [BASE [PLIMSOLL]]]
#
# BASE is an image of a Debian. Without it, and without the image plimsoll-debian:13, that is made once
# by debootstrap, as root: no registry is needed. debian:13-slim does as well. PLIMSOLL is the
# executable: without it that of an unpacked release, of `make dist`, or the installed one.
set -eu

tag=${1:-plimsoll-haproxy}
base=${2:-plimsoll-debian:13}
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../../.." && pwd)

fail() {
    echo "image: $*" >&2
    exit 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

find_plimsoll() {
    for binary in "$top/plimsoll" "$top/dist/plimsoll" "$(command -v plimsoll)"; do
        [ ! -x "$binary" ] || [ ! -f "$binary" ] || { echo "$binary" && return; }
    done
    fail "no plimsoll in $top or PATH; run make dist first"
}

make_base() {
    if ! command -v debootstrap >/dev/null || [ "$(id -u)" != 0 ]; then
        fail "image $base is missing: name one, like debian:13-slim, or install debootstrap and run" \
            "this as root"
    fi
    echo "image: making $base by debootstrap, once"
    debootstrap --variant=minbase --include=haproxy trixie "$work/root" >"$work/said" 2>&1 ||
        fail "debootstrap failed: $(tail -n 3 "$work/said")"
    tar -C "$work/root" -c . | docker import - "$base" >/dev/null
    rm -rf "$work/root"
}

binary=${3:-$(find_plimsoll)}
if [ $# -lt 2 ] && ! docker image inspect "$base" >/dev/null 2>&1; then make_base; fi

# The same times for the same release, which keeps Docker's cache.
mkdir -p "$work/context/contrib/docker/one"
cp -p "$binary" "$work/context/plimsoll"
cp -p "$here/entry.sh" "$work/context/contrib/docker/one/"
docker build --quiet --build-arg "BASE=$base" -t "$tag" -f "$here/Dockerfile" "$work/context" \
    >"$work/said" 2>&1 || { cat "$work/said" >&2; fail "docker build failed"; }
docker run --rm --network none "$tag" --version >/dev/null || fail "plimsoll does not run in $tag"
docker run --rm --network none --entrypoint /usr/sbin/haproxy "$tag" -v >/dev/null ||
    fail "HAProxy does not run in $tag"
echo "$tag $(docker image inspect --format '{{.Size}}' "$tag") bytes"
