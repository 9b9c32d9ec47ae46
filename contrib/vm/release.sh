#!/bin/sh
# release.sh REVISION FILE: builds the release tarball of another revision of this repository, for
# try.sh to upgrade from. Does nothing if FILE exists.
set -eu

[ $# = 2 ] || { echo "usage: $0 REVISION FILE" >&2; exit 1; }
[ ! -e "$2" ] || exit 0
top=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$(dirname "$2")"
source=$(cd "$(dirname "$2")" && pwd)/source
rm -rf "$source"
mkdir "$source"
trap 'rm -rf "$source"' EXIT
trap 'exit 1' HUP INT TERM
# Fails without such a revision, which `git archive` in a pipe would not.
time=$(git -C "$top" log -1 --format=%ct "$1")
git -C "$top" archive "$1" | tar -C "$source" -x
SOURCE_DATE_EPOCH=$time CARGO_TARGET_DIR=$source/target make -C "$source" --no-print-directory dist
mv "$source"/dist/plimsoll-*-linux-*.tar.gz "$2"
