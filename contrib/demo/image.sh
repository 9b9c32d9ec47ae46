#!/bin/sh
# Builds a container image of one static binary, and prints the image's tag.
# Usage: contrib/demo/image.sh APP_BINARY [TAG]
#
# The binary must succeed with --self-test: it runs once in the image as proof that it needs no
# library. If the tag is already an image of this binary, nothing is done.
set -eu

fail() {
    echo "image: $*" >&2
    exit 1
}

case $# in 1 | 2) ;; *) fail "usage: $0 APP_BINARY [TAG]" ;; esac
binary=$1
tag=${2:-plimsoll-demo-app:1}
label=plimsoll-demo.sha256

[ -f "$binary" ] || fail "$binary does not exist; build it first, for example by make demo"
sum=$(sha256sum <"$binary")
sum=${sum%% *}

format="{{.Id}} {{index .Config.Labels \"$label\"}}"
known=$(docker image inspect --format "$format" "$tag" 2>/dev/null) || known=
if [ -n "$known" ] && [ "${known#* }" = "$sum" ]; then
    echo "$tag"
    exit 0
fi

files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
trap 'exit 1' HUP INT TERM
cp "$binary" "$files/app"
chmod 755 "$files/app"
tar -C "$files" --owner=0 --group=0 --numeric-owner -cf "$files/image.tar" app
image=$(docker import --change 'ENTRYPOINT ["/app"]' --change 'EXPOSE 8080' \
    --change "LABEL $label=$sum" "$files/image.tar") || fail "docker import failed"

# Only a working image gets the tag.
if ! timeout 300 docker run --rm --network none "$image" --self-test >"$files/said" 2>&1; then
    cat "$files/said" >&2
    docker image rm "$image" >/dev/null || true
    fail "$binary does not run by itself in a container; is it built with" \
        "RUSTFLAGS='-C target-feature=+crt-static'?"
fi
docker tag "$image" "$tag"
# The image that had the tag before stays while a container uses it.
[ -z "$known" ] || docker image rm "${known%% *}" >/dev/null 2>&1 || true
echo "$tag"
