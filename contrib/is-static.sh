#!/bin/sh
# is-static.sh FILE: checks that an executable needs no interpreter and no shared library; prints its
# size.
set -eu

file=${1:?usage: is-static.sh FILE}
if ! command -v readelf >/dev/null; then
    echo "is-static: readelf is missing; install binutils" >&2
    exit 1
fi
if readelf -lW "$file" | grep -q INTERP || readelf -dW "$file" | grep -q NEEDED; then
    echo "is-static: $file is not static" >&2
    readelf -dW "$file" | grep NEEDED >&2 || true
    exit 1
fi
kind=$(readelf -hW "$file" | awk '/Type:/ { print ($2 == "DYN") ? "static-pie" : "static" }')
bytes=$(wc -c <"$file")
echo "$file: $kind, $bytes bytes"
