#!/bin/sh
# Fetches programs of another Debian suite for tests, beside the installed ones:
#
#   contrib/debian-suite.sh FOLDER SUITES PACKAGES EXECUTABLE...
#   contrib/debian-suite.sh target/haproxy trixie haproxy usr/sbin/haproxy
#   contrib/debian-suite.sh target/docker 'sid experimental' 'docker.io docker-cli' \
#       usr/sbin/dockerd usr/bin/docker usr/bin/containerd
#
# FOLDER/EXECUTABLE then runs with its loader and libraries below FOLDER. Each of PACKAGES is the
# newest of all SUITES. Nothing is installed; apt's own sources, lists and state are not changed.
# It uses apt's mirror, does nothing if all executables run, and prints apt's output. Needs root,
# patchelf, and an apt that was updated once. Parallel runs are safe.
set -eu

fail() {
    for line in "$@"; do
        echo "debian-suite: $line" >&2
    done
    exit 1
}

[ $# -ge 4 ] || fail "usage: $0 FOLDER SUITES PACKAGES EXECUTABLE..."
folder=$1
suites=$2
packages=$3
shift 3

# An incomplete download or a missing library leaves nothing that its loader can load.
runs() { LD_TRACE_LOADED_OBJECTS=1 "$1" 2>&1 | grep -q 'libc\.so' && ! broken "$1" | grep -q .; }
broken() { LD_TRACE_LOADED_OBJECTS=1 "$1" 2>&1 | grep -e 'not found' -e 'cannot'; }

# Prints the first executable that does not run.
first_broken() {
    for executable in "$@"; do
        runs "$folder/$executable" || { echo "$executable" && return; }
    done
}

case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
missing=$(first_broken "$@")
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] || fail "$folder/$missing is missing; run this as root"
command -v patchelf >/dev/null || fail "patchelf is missing; install it: apt-get install patchelf"

# The mirror of this machine's Debian; security updates have another one.
# shellcheck disable=SC2016 # apt-get's own variables
mirror=$(apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)' |
    sed -n 's/^Packages Debian Debian main //p' | head -n 1)
[ -n "$mirror" ] || fail "apt knows no mirror of Debian here" \
    "on a Debian, run apt-get update first; elsewhere put $packages into $folder by hand"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || fail "$keyring is missing; install debian-archive-keyring"

mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/new"
# With an empty package database, apt fetches all dependencies.
: >"$work/state/status"
for suite in $suites; do
    echo "deb [signed-by=$keyring] $mirror $suite main"
done >"$work/sources.list"
# Else apt prefers an older version to one of experimental.
printf 'Package: %s\nPin: release o=Debian\nPin-Priority: 500\n' "$packages" >"$work/preferences"
cat >"$work/apt.conf" <<END
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "$work/preferences";
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
        DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -c "$work/apt.conf" "$@" \
            </dev/null && return
        echo "debian-suite: the $try apt-get $1 failed"
    done
    fail "cannot fetch $packages of $suites from $mirror; apt-get's output is above" \
        "if it lacks the keys, install a newer debian-archive-keyring"
}
apt update
# shellcheck disable=SC2086 # a list of words
apt install -y --download-only --no-install-recommends $packages
for file in "$work"/cache/archives/*.deb; do
    dpkg-deb --extract "$file" "$work/new"
done
# Which versions these are.
(cd "$work/cache/archives" && ls ./*.deb) >"$work/new/packages"
# Documents and the like, half of it.
rm -rf "$work/new/usr/share"

# Some of them are still outside of /usr in Debian 12.
machine=$(basename "$(dirname "$(find "$work/new" -name libc.so.6 | head -n 1)")")
libraries=$folder/usr/lib/$machine:$folder/lib/$machine
for executable in "$@"; do
    # On a complete system the loader's folder is a link.
    loader=$(patchelf --print-interpreter "$work/new/$executable")
    [ -e "$work/new$loader" ] || loader=/usr$loader
    [ -e "$work/new$loader" ] || fail "the packages of $packages have no loader $loader"
    # RPATH instead of RUNPATH: only RPATH applies to indirect dependencies.
    patchelf --set-interpreter "$folder$loader" --force-rpath \
        --set-rpath "$libraries" "$work/new/$executable"
done
chmod 755 "$work/new"
rm -rf "$folder"
mv -T "$work/new" "$folder"
missing=$(first_broken "$@")
[ -z "$missing" ] || fail "$folder/$missing does not run:" \
    "$(LD_TRACE_LOADED_OBJECTS=1 "$folder/$missing" 2>&1 | head -n 20)"
