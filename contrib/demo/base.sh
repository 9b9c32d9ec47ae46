#!/bin/sh
# Makes the base of plimsoll's image of this host's own programs, and prints its tag: nothing is
# downloaded. Usage: contrib/demo/base.sh [TAG]
#
# If the tag is already an image of these files, nothing is done.
set -eu

tag=${1:-plimsoll-demo-base:1}
label=plimsoll-demo.sha256
# What contrib/docker/one/Dockerfile runs, and what it takes.
programs='chmod chown cp grep haproxy mkdir setpriv sh sleep sort stat tr xargs'

fail() {
    echo "base: $*" >&2
    exit 1
}

# As the Dockerfile names them.
place() {
    case $1 in
    chmod | chown | cp | grep | mkdir | sh) echo "/bin/$1" ;;
    haproxy) echo "/usr/sbin/$1" ;;
    *) echo "/usr/bin/$1" ;;
    esac
}

# The programs, with what their loader prints: a program that is no ELF file is refused here too.
files() {
    for name in $programs; do
        program=$(place "$name")
        [ -x "$program" ] || fail "$program is missing"
        echo "$program"
        LD_TRACE_LOADED_OBJECTS=1 "$program" | tr -s ' \t' '\n' | grep '^/' ||
            fail "$program needs no library; this host is not like a Debian"
    done
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
files >"$work/all"
sort -u "$work/all" >"$work/files"
# shellcheck disable=SC2046 # a list of words
sum=$(sha256sum $(cat "$work/files") | sha256sum)
sum=${sum%% *}

format="{{index .Config.Labels \"$label\"}}"
if known=$(docker image inspect --format "$format" "$tag" 2>/dev/null) && [ "$known" = "$sum" ]; then
    echo "$tag"
    exit 0
fi
mkdir "$work/root"
xargs cp -L --parents -t "$work/root" <"$work/files"
tar -C "$work/root" --owner=0 --group=0 --numeric-owner -c . |
    docker import --change "LABEL $label=$sum" - "$tag" >/dev/null || fail "docker import failed"
echo "$tag"
