#!/bin/sh
# Fetches a program of Debian 13 (trixie) for tests on an older Debian, beside the installed ones:
#
#   contrib/trixie.sh FOLDER PACKAGE EXECUTABLE
#   contrib/trixie.sh /var/cache/plimsoll/haproxy-3.0 haproxy usr/sbin/haproxy
#   contrib/trixie.sh /var/cache/plimsoll/compose-2.26 docker-compose \
#       usr/libexec/docker/cli-plugins/docker-compose
#
# FOLDER/EXECUTABLE then runs with its loader and libraries below FOLDER. Nothing is installed, and
# apt's own sources, lists and state are not changed. It uses apt's mirror, does nothing if the
# executable already runs, and prints apt's output. Needs root, patchelf, and an apt that was updated
# once. Parallel runs are safe.
set -eu

fail() {
    for line in "$@"; do
        echo "trixie: $line" >&2
    done
    exit 1
}

[ $# = 3 ] || fail "usage: $0 FOLDER PACKAGE EXECUTABLE"
folder=$1
package=$2
executable=$3

# An incomplete download or a missing library leaves nothing that runs.
runs() { "$1" -v >/dev/null 2>&1 || "$1" version >/dev/null 2>&1; }

! runs "$folder/$executable" || exit 0
[ "$(id -u)" = 0 ] || fail "$folder/$executable is missing; run this as root"
command -v patchelf >/dev/null || fail "patchelf is missing; install it: apt-get install patchelf"

# The mirror of this machine's Debian; security updates have another one.
# shellcheck disable=SC2016 # apt-get's own variables
mirror=$(apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)' |
    sed -n 's/^Packages Debian Debian main //p' | head -n 1)
[ -n "$mirror" ] || fail "apt knows no mirror of Debian here" \
    "on a Debian, run apt-get update first; elsewhere install $package at $folder/$executable by hand"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || fail "$keyring is missing; install debian-archive-keyring"

case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/new"
# With an empty package database, apt fetches all dependencies.
: >"$work/state/status"
echo "deb [signed-by=$keyring] $mirror trixie main" >"$work/sources.list"
cat >"$work/apt.conf" <<END
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$work/state";
Dir::State::status "$work/state/status";
Dir::Cache "$work/cache";
APT::Default-Release "";
APT::Sandbox::User "root";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
END

# Mirrors fail now and then.
apt() {
    for try in first second; do
        DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -c "$work/apt.conf" "$@" </dev/null && return
        echo "trixie: the $try apt-get $1 failed"
    done
    fail "cannot fetch $package of Debian 13 from $mirror; apt-get's output is above" \
        "if it lacks the keys, install a newer debian-archive-keyring"
}
apt update
apt install -y --download-only --no-install-recommends "$package"
for file in "$work"/cache/archives/*.deb; do
    dpkg-deb --extract "$file" "$work/new"
done

# On a complete system the loader's folder is a link.
loader=$(patchelf --print-interpreter "$work/new/$executable")
[ -e "$work/new$loader" ] || loader=/usr$loader
[ -e "$work/new$loader" ] || fail "the packages of $package have no loader $loader"
libraries=$(dirname "$(find "$work/new/usr/lib" -name libc.so.6 | head -n 1)")
# RPATH instead of RUNPATH: only RPATH applies to indirect dependencies.
patchelf --set-interpreter "$folder$loader" --force-rpath \
    --set-rpath "$folder${libraries#"$work/new"}" "$work/new/$executable"
chmod 755 "$work/new"
rm -rf "$folder"
mv -T "$work/new" "$folder"
runs "$folder/$executable" || fail "$folder/$executable does not run:" \
    "$("$folder/$executable" -v 2>&1 | head -n 3)"
