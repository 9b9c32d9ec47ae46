#!/bin/sh
# dist.sh BINARY ARCH: builds a release in dist/: binary, documents, contrib and checksums in one
# tarball. The build is reproducible. SOURCE_DATE_EPOCH is the timestamp of all files in it.
set -eu

[ $# = 2 ] || { echo "usage: $0 BINARY ARCH" >&2; exit 1; }
binary=$1
top=$(cd "$(dirname "$0")/.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$top/Cargo.toml")
name=plimsoll-$version-linux-$2
dist=$top/dist
: "${SOURCE_DATE_EPOCH:?must be the time of the commit in seconds; make dist gives it}"

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$dist" "$stage/$name"
rm -f "$dist"/plimsoll-*-linux-"$2".tar.gz
install -m 755 "$binary" "$dist/plimsoll"
install -m 755 "$binary" "$stage/$name/plimsoll"
cp "$top"/*.md "$top"/LICENSE-* "$stage/$name"
cp -R "$top/contrib" "$stage/$name/contrib"
# Only useful in the source tree.
(cd "$stage/$name/contrib" &&
    rm -rf demo debian matrix vm systemd/try.sh setup.sh debian-suite.sh is-static.sh \
        dist.sh deb.sh release.sh sbom.py toolchain.sh)
(cd "$stage/$name" && find . -type f | LC_ALL=C sort | xargs sha256sum) >"$stage/sums"
mv "$stage/sums" "$stage/$name/SHA256SUMS"
tar -C "$stage" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --mode=u+rwX,go+rX,go-w \
    --owner=0 --group=0 --numeric-owner --format=ustar -cf - "$name" |
    gzip -n -9 >"$dist/$name.tar.gz"
cd "$dist"
sha256sum plimsoll "$name.tar.gz" >SHA256SUMS
wc -c plimsoll "$name.tar.gz" | sed '$d'
