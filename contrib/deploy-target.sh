#!/bin/sh
# The half of deploy.sh that runs on the host, in a folder with the new files: plimsoll, SHA256SUMS and
# perhaps config.json. It outlives the connection that started it. At the end it writes a file
# `status`: 0 done, 1 failed and rolled back, 3 neither the new nor the old version works.
#
#   deploy-target.sh BINARY CONFIG RESTART WAIT
#
# After a success the previous version is kept as BINARY.previous and CONFIG.previous.
# shellcheck disable=SC2317 # what the trap calls is reachable
set -eu

binary=$1
config=$2
restart=$3
wait=$4
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin
export PATH
umask 077
here=$(pwd -P)
deploys=$(dirname "$here")

# Set while new files are in place that are not known to work.
changed=

say() { echo "$*"; }

# Every run of this script ends here.
finish() {
    trap - EXIT
    echo "$1" >status.new
    mv -f status.new status
    exit 0
}

fail() {
    say "$*"
    exit 1
}

on_exit() {
    trap '' HUP INT TERM
    # From here on each failure is handled separately.
    set +e
    if [ -n "$changed" ]; then go_back; fi
    finish 1
}
trap on_exit EXIT
trap 'say "got a signal to end"; exit 1' INT TERM
trap '' HUP

# Replaces FILE by NEW, with the mode and owner of the present file, else with MODE and GROUP; without
# such a group, with that of the folder: FILE NEW [MODE GROUP].
replace() {
    cp "$2" "$1.deploy" || return
    if [ -e "$1" ]; then
        chmod --reference="$1" "$1.deploy" && chown --reference="$1" "$1.deploy" || return
    else
        chmod "${3:-755}" "$1.deploy" || return
        chgrp "${4:-root}" "$1.deploy" 2>/dev/null ||
            chgrp --reference="$(dirname "$1")" "$1.deploy" || return
    fi
    sync "$1.deploy"
    # A rename is atomic: readers see the complete old or new file.
    mv -f "$1.deploy" "$1"
}

# Keeps the previous file beside the new one: FILE COPY.
keep() {
    [ -e "$2" ] || return 0
    cp -p "$2" "$1.previous.deploy"
    mv -f "$1.previous.deploy" "$1.previous"
}

restart() {
    # Descriptor 9 is the lock; no started process may inherit it.
    timeout "$((wait + 30))" sh -c "$restart" 9>&- && return
    say "\`$restart\` failed with status $?"
    return 1
}

# Three times in a row: a daemon that dies early may be healthy for a moment.
wait_healthy() {
    good=0
    end=$(($(date +%s) + wait))
    while [ "$(date +%s)" -le "$end" ]; do
        if said=$(timeout 10 "$binary" healthcheck --config "$config" 2>&1); then
            good=$((good + 1))
            [ "$good" -lt 3 ] || return 0
        else
            good=0
        fi
        sleep 1
    done
    say "not healthy within $wait s: $said"
    return 1
}

# Restores the previous file, or removes a file that did not exist before: FILE COPY.
put_back() {
    if [ -e "$2" ]; then replace "$1" "$2"; else rm -f "$1"; fi
}

go_back() {
    say "rolling back"
    if ! put_back "$binary" before/plimsoll ||
        { [ -e config.json ] && ! put_back "$config" before/config.json; }; then
        say "could not restore the previous files; they are in $here/before"
        finish 3
    fi
    if [ ! -e before/plimsoll ]; then
        say "there was no previous version; the new one is removed"
        finish 1
    fi
    if restart && wait_healthy; then
        say "the previous version runs again and is healthy"
        finish 1
    fi
    say "the previous version does not get healthy either"
    finish 3
}

# Deletes the folders of old deploys, by the exact form of their names; keeps the last five.
forget_old() {
    find "$deploys" -maxdepth 1 -type d -regextype posix-extended \
        -regex '.*/[0-9]{8}T[0-9]{6}Z-[0-9a-f]{12}-[0-9]+' | sort | head -n -5 |
        while read -r old; do rm -rf "$old"; done
}

exec 9>"$deploys/lock"
flock -n 9 || fail "another deploy is running on this host; nothing was changed"
sha256sum -c --quiet SHA256SUMS || fail "the received files have wrong checksums; nothing was changed"
chmod 700 plimsoll
version=$(timeout 10 ./plimsoll --version) ||
    fail "the new program does not run here ($(uname -sm)); nothing was changed"
new_config=$config
[ ! -e config.json ] || new_config=$here/config.json
[ -e "$new_config" ] ||
    fail "there is no $config and none was sent (--config FILE); nothing was changed"
timeout 60 ./plimsoll check --config "$new_config" ||
    fail "$version rejects the config; nothing was changed"

same() { [ -e "$1" ] && cmp -s "$1" "$2"; }
if same "$binary" plimsoll && { [ ! -e config.json ] || same "$config" config.json; }; then
    # After a deploy that lost its connection, or a host that went down before the restart.
    say "$version and its config are already in place"
else
    mkdir before
    [ ! -e "$binary" ] || cp -p "$binary" before/plimsoll
    [ ! -e "$config" ] || cp -p "$config" before/config.json
    mkdir -p "$(dirname "$binary")"
    changed=yes
    replace "$binary" plimsoll 755 root
    # The daemon's account must be able to read it.
    [ ! -e config.json ] || replace "$config" config.json 640 plimsoll
    say "$version is at $binary"
fi
if ! restart || ! wait_healthy; then
    [ -z "$changed" ] || exit 1
    say "and there is no previous version to roll back to"
    finish 3
fi
changed=
keep "$binary" before/plimsoll
[ ! -e config.json ] || keep "$config" before/config.json
rm -rf before plimsoll
forget_old
say "the new version runs and is healthy"
finish 0
