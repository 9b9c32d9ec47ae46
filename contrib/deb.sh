#!/bin/sh
# deb.sh ARCH: builds a Debian package in dist/ from the binary that make dist left there, with dpkg-deb
# alone. SOURCE_DATE_EPOCH is the timestamp of all files in it.
set -eu

[ $# = 1 ] || { echo "usage: $0 ARCH" >&2; exit 1; }
top=$(cd "$(dirname "$0")/.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$top/Cargo.toml")-1
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:?must be the time of the commit; make deb gives it}"
case $1 in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) arch=$1 ;;
esac

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"
umask 022
DESTDIR=$stage PREFIX=/usr "$top/contrib/install.sh"

doc=$stage/usr/share/doc/plimsoll
rm "$doc"/LICENSE-*
gzip -n -9 <"$doc/CHANGELOG.md" >"$doc/changelog.gz"
rm "$doc/CHANGELOG.md"
cp "$top/contrib/debian/copyright" "$doc/copyright"
{
    printf 'plimsoll (%s) unstable; urgency=medium\n\n' "$version"
    printf '  * See changelog.gz for what a user can notice.\n\n'
    printf ' -- The Plimsoll founders <plimsoll@example.org>  %s\n' \
        "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -n -9 >"$doc/changelog.Debian.gz"
install -D -m 644 "$top/contrib/debian/lintian-overrides" \
    "$stage/usr/share/lintian/overrides/plimsoll"
mv "$stage/usr/share/zsh/site-functions" "$stage/usr/share/zsh/vendor-completions"

mkdir "$stage/DEBIAN"
for script in postinst prerm postrm; do
    install -m 755 "$top/contrib/debian/$script" "$stage/DEBIAN/$script"
done
echo /etc/plimsoll/config.json.example >"$stage/DEBIAN/conffiles"
(cd "$stage" && find usr -type f | LC_ALL=C sort | xargs md5sum >DEBIAN/md5sums)
kilobytes=$(du -sk --apparent-size --exclude=DEBIAN "$stage" | cut -f 1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$kilobytes/" \
    "$top/contrib/debian/control" >"$stage/DEBIAN/control"

rm -f "$top"/dist/plimsoll_*_"$arch".deb
package=$top/dist/plimsoll_${version}_$arch.deb
dpkg-deb --root-owner-group -Zxz --build "$stage" "$package" >/dev/null
cd "$top/dist"
wc -c "$(basename "$package")"
