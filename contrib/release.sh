#!/bin/sh
# release.sh TARGET: completes a release in dist/ after dist.sh and deb.sh: an image of the binary, a
# list of the crates in it (CycloneDX), notes from the changelog, and checksums of all. The same commit
# and toolchain give the same bytes. SOURCE_DATE_EPOCH is the timestamp of all.
#
# The image is that of contrib/docker/Dockerfile, packed without Docker: `docker load -i FILE`. One with
# HAProxy is not part of a release, as it would age with Debian's packages; contrib/docker/one/image.sh
# builds it.
set -eu

target=${1:?usage: release.sh TARGET}
arch=${target%%-*}
top=$(cd "$(dirname "$0")/.." && pwd)
dist=$top/dist
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$top/Cargo.toml")
name=plimsoll-$version-linux-$arch
: "${SOURCE_DATE_EPOCH:?must be the time of the commit in seconds; make release gives it}"
case $arch in
x86_64) machine=amd64 ;;
aarch64) machine=arm64 ;;
*) machine=$arch ;;
esac

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

# pack FOLDER FILE...
pack() {
    tar -C "$1" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --mode=u+rwX,go+rX,go-w \
        --owner=0 --group=0 --numeric-owner --format=ustar -cf - "$2"
}

sum() { sha256sum "$1" | cut -d ' ' -f 1; }

# In the format of docker save.
image() {
    mkdir "$stage/tree" "$stage/image"
    install -m 755 "$dist/plimsoll" "$stage/tree/plimsoll"
    pack "$stage/tree" plimsoll >"$stage/image/layer.tar"
    seconds=000000000
    test='["CMD", "/plimsoll", "healthcheck"]'
    cat >"$stage/image/config.json" <<END
{ "architecture": "$machine", "os": "linux",
  "created": "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)",
  "config": { "Env": ["PATH=/"], "Entrypoint": ["/plimsoll"], "Cmd": ["run"],
    "Healthcheck": { "Test": $test,
      "Interval": 10$seconds, "Timeout": 5$seconds, "StartPeriod": 60$seconds } },
  "rootfs": { "type": "layers", "diff_ids": ["sha256:$(sum "$stage/image/layer.tar")"] } }
END
    cat >"$stage/image/manifest.json" <<END
[{ "Config": "config.json", "RepoTags": ["plimsoll:$version", "plimsoll:latest"],
   "Layers": ["layer.tar"] }]
END
    pack "$stage/image" . | gzip -n -9 >"$dist/$name-image.tar.gz"
}

# The section of this version, else of what is not released yet.
notes() {
    heading="## $version"
    grep -q "^$heading" "$top/CHANGELOG.md" || heading="## Unreleased"
    echo "# plimsoll $version"
    awk -v heading="$heading" '/^## /{ inside = index($0, heading) == 1; next } inside' \
        "$top/CHANGELOG.md"
}

image
(cd "$top" && python3 contrib/sbom.py "$target") >"$stage/sbom"
mv "$stage/sbom" "$dist/$name.cdx.json"
notes >"$dist/$name-notes.md"
cd "$dist"
# Of every architecture that was built.
set -- "plimsoll-$version-linux-"* "plimsoll_$version-1_"*.deb
sha256sum plimsoll "$@" >SHA256SUMS
wc -c "$@" | sed '$d'
