#!/bin/sh
# Fetches a program of Debian 13 (trixie) onto an older Debian, beside what is installed there, for
# tests against its version:
#
#   contrib/trixie.sh FOLDER PACKAGE EXECUTABLE
#   contrib/trixie.sh /var/cache/plimsoll/haproxy-3.0 haproxy usr/sbin/haproxy
#   contrib/trixie.sh /var/cache/plimsoll/compose-2.26 docker-compose \
#       usr/libexec/docker/cli-plugins/docker-compose
#
# FOLDER/EXECUTABLE then runs as it is: its loader and libraries are those below FOLDER. Nothing is
# installed, and apt's own sources, lists and state are not touched. The mirror is the one that apt
# uses here. Does nothing where the executable runs already. Needs root, patchelf, and an apt that
# was updated once. Its output is what apt says. Two at once may do the work twice; that does no harm.
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

# Neither a library that is lacking nor a download that was cut leaves something that runs.
runs() { "$1" -v >/dev/null 2>&1 || "$1" version >/dev/null 2>&1; }

! runs "$folder/$executable" || exit 0
[ "$(id -u)" = 0 ] || fail "$folder/$executable is missing; run this as root"
command -v patchelf >/dev/null || fail "patchelf is missing; install it: apt-get install patchelf"

# Where this machine's own Debian comes from; its security updates come from elsewhere.
# shellcheck disable=SC2016 # apt-get's own variables
mirror=$(apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)' |
    sed -n 's/^Packages Debian Debian main //p' | head -n 1)
[ -n "$mirror" ] || fail "apt knows no mirror of Debian here" \
    "on a Debian, run apt-get update first; elsewhere $package has to be put at $folder/$executable by hand"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || fail "$keyring is missing; install debian-archive-keyring"

case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/new"
# With no package installed, all that the program needs is fetched with it.
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

# Mirrors have bad moments.
apt() {
    for try in first second; do
        DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -c "$work/apt.conf" "$@" </dev/null && return
        echo "trixie: the $try apt-get $1 failed"
    done
    fail "cannot fetch $package of Debian 13 from $mirror; what apt-get said is above" \
        "if it lacks the keys, install a newer debian-archive-keyring"
}
apt update
apt install -y --download-only --no-install-recommends "$package"
for file in "$work"/cache/archives/*.deb; do
    dpkg-deb --extract "$file" "$work/new"
done

# The folder of the loader is a link in a whole system.
loader=$(patchelf --print-interpreter "$work/new/$executable")
[ -e "$work/new$loader" ] || loader=/usr$loader
[ -e "$work/new$loader" ] || fail "the packages of $package bring no loader $loader"
libraries=$(dirname "$(find "$work/new/usr/lib" -name libc.so.6 | head -n 1)")
# The older kind of path, as only that counts for libraries of libraries.
patchelf --set-interpreter "$folder$loader" --force-rpath \
    --set-rpath "$folder${libraries#"$work/new"}" "$work/new/$executable"
chmod 755 "$work/new"
rm -rf "$folder"
mv -T "$work/new" "$folder"
runs "$folder/$executable" || fail "$folder/$executable does not run:" \
    "$("$folder/$executable" -v 2>&1 | head -n 3)"
