#!/bin/sh
# Makes a container image of one static binary and nothing else, and prints the image's tag.
# Usage: contrib/demo/image.sh APP_BINARY [TAG]
#
# The binary must answer --self-test with success: it runs once in its image as proof that it
# needs no library. When the tag names an image of this very binary already, nothing is done.
set -eu

fail() {
    echo "image: $*" >&2
    exit 1
}

case $# in 1 | 2) ;; *) fail "usage: $0 APP_BINARY [TAG]" ;; esac
binary=$1
tag=${2:-plimsoll-demo-app:1}
label=plimsoll.demo.sha256

[ -f "$binary" ] || fail "$binary is not there; build it first: make demo does"
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
    --change "LABEL $label=$sum" "$files/image.tar") || fail "docker import did not work"

# Only an image that runs gets the tag.
if ! timeout 60 docker run --rm --network none "$image" --self-test >"$files/said" 2>&1; then
    cat "$files/said" >&2
    docker image rm "$image" >/dev/null || true
    fail "$binary does not run by itself in a container; is it built with" \
        "RUSTFLAGS='-C target-feature=+crt-static'?"
fi
docker tag "$image" "$tag"
# The image that had the tag before stays as long as a container uses it.
[ -z "$known" ] || docker image rm "${known%% *}" >/dev/null 2>&1 || true
echo "$tag"
