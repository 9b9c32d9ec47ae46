#!/usr/bin/env bash
# Saves what plimsoll cannot make again, and brings it back.
#
#   backup.sh save [FILE...]       config, state and HAProxy's last good file, and FILEs
#   backup.sh list                 what was saved, oldest first
#   backup.sh verify ARCHIVE       whether it is whole
#   backup.sh restore ARCHIVE [--root DIR] [--dry-run]
#                                  each file to where it was, below DIR; what is there now stays
#                                  beside it as FILE.before-restore
#
# Name as FILEs what the config points at: files of secrets, certificates, a base_config. Caches,
# sockets, locks and what is written anew at a start are left out.
#
# Where things are, unless the config says otherwise:
#   PLIMSOLL_CONFIG           /etc/plimsoll/config.json
#   PLIMSOLL_STATE_DIR        /var/lib/plimsoll              autoscaler.state_dir
#   PLIMSOLL_HAPROXY_CONFIG   /var/lib/plimsoll/haproxy.cfg  load_balancer.config
#   PLIMSOLL_BACKUP_DIR       /var/backups/plimsoll
#   PLIMSOLL_BACKUP_KEEP      14, how many archives stay; only files named as ours ever go
#
# An archive may hold secrets: it is for its owner alone. Exit status: 0 done, 1 failed, 2 wrong
# usage.
set -euo pipefail
umask 077
export LC_ALL=C

config=${PLIMSOLL_CONFIG:-/etc/plimsoll/config.json}
state=${PLIMSOLL_STATE_DIR:-/var/lib/plimsoll}
haproxy=${PLIMSOLL_HAPROXY_CONFIG:-/var/lib/plimsoll/haproxy.cfg}
folder=${PLIMSOLL_BACKUP_DIR:-/var/backups/plimsoll}
keep=${PLIMSOLL_BACKUP_KEEP:-14}

# What an archive's name is, for find. Nothing else is ever deleted, but folders of work like these.
readonly archive_regex='\./plimsoll-[0-9]{8}T[0-9]{6}Z\.tar\.gz'
readonly work_regex='\./\.plimsoll-work-[a-zA-Z0-9]{8}'
readonly sums=SHA256SUMS

say() { echo "backup: $*"; }

fail() {
    local status=$1 line
    shift
    for line in "$@"; do echo "backup: $line" >&2; done
    exit "$status"
}

usage() {
    fail 2 "$1" "usage: $0 save [FILE...] | list | verify ARCHIVE" \
        "       $0 restore ARCHIVE [--root DIR] [--dry-run]"
}

work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

found() { find . -maxdepth 1 -regextype posix-extended "$@"; }

# A copy of a file below the folder of work, by its whole path.
take() {
    if ! mkdir -p "$work/files$(dirname "$1")" || ! cp -p -- "$1" "$work/files$1"; then
        fail 1 "$1 cannot be copied to $folder; is the disk full?"
    fi
}

# What cannot be looked into would seem to be empty.
may_look() {
    if [ -e "$1" ] && { [ ! -r "$1" ] || [ ! -x "$1" ]; }; then
        fail 1 "$1 cannot be looked into; run this as root, or as the daemon's user"
    fi
}

# The files to save, each ended by a NUL. A state that is not there yet is told, and no failure.
wanted() {
    local file
    printf '%s\0' "$config"
    for file in "$state/state.json" "$state/events.jsonl" "$haproxy.good"; do
        if [ -f "$file" ]; then printf '%s\0' "$file"; else say "$file is not there yet" >&2; fi
    done
    # The one before, by which the daemon goes on when that is full.
    [ ! -f "$state/events.jsonl.1" ] || printf '%s\0' "$state/events.jsonl.1"
    for file in "$@"; do printf '%s\0' "$file"; done
}

# A config that says otherwise would leave the state out: KEY PLACE VARIABLE.
compare() {
    if grep -q "\"$1\"" "$config" && ! grep -qF "\"$2\"" "$config"; then
        say "$config has $1, and not $2; set $3 if that is where it is" >&2
    fi
}

begin() {
    if ! mkdir -p -- "$folder" || ! cd -- "$folder"; then
        fail 1 "$folder cannot be made or entered"
    fi
    exec 9>.lock || fail 1 "$folder cannot be written to"
    flock -w 300 9 || fail 1 "another backup holds $folder/.lock for five minutes now"
    # Left by one that was killed: whoever has the lock is the only one.
    found -type d -regex "$work_regex" -exec rm -rf -- {} +
    work=$(mktemp -d "$PWD/.plimsoll-work-XXXXXXXX") ||
        fail 1 "$folder cannot be written to; is the disk full?"
}

save() {
    local file name try
    case $keep in
    '' | 0* | *[!0-9]*) fail 2 "PLIMSOLL_BACKUP_KEEP is $keep, a number above 0 is needed" ;;
    esac
    for file in "$config" "$state" "$haproxy" "$@"; do
        case $file in
        *$'\n'*) fail 2 "the name of $file has a line end" ;;
        /*) ;;
        *) fail 2 "$file does not begin with /" ;;
        esac
    done
    for file in "$config" "$@"; do
        if [ ! -f "$file" ] || [ ! -r "$file" ]; then fail 1 "$file is no file that we can read"; fi
    done
    may_look "$state"
    may_look "$(dirname "$haproxy")"
    compare state_dir "$state" PLIMSOLL_STATE_DIR
    begin
    while IFS= read -r -d '' file; do take "$file"; done < <(wanted "$@")
    (cd "$work/files" && find . -type f -print0 | sort -z | xargs -0 sha256sum -- >"$work/$sums" &&
        mv "$work/$sums" "$sums") || fail 1 "$folder cannot be written to; is the disk full?"
    if ! tar -C "$work/files" -czf "$work/archive" . || ! sync "$work/archive"; then
        fail 1 "no archive could be written to $folder; is the disk full?"
    fi
    verify "$work/archive" >/dev/null
    for try in 1 2 3 4 5; do
        name=plimsoll-$(date -u +%Y%m%dT%H%M%SZ).tar.gz
        # Of this very second: the lock lets nobody else make one, so the next is free.
        [ -e "$name" ] || break
        [ "$try" -lt 5 ] || fail 1 "$folder/$name is there already"
        sleep 1
    done
    mv -n -- "$work/archive" "$name" && sync .
    say "$folder/$name: $(wc -c <"$name") bytes, $(($(wc -l <"$work/files/$sums"))) files"
    forget
}

# The oldest, by the time in their names.
forget() {
    local old
    found -type f -regex "$archive_regex" -print0 | sort -z | head -z -n "-$keep" |
        while IFS= read -r -d '' old; do
            rm -f -- "$old"
            say "$folder/${old#./} is gone, $keep are kept"
        done
}

list() {
    cd -- "$folder" 2>/dev/null || fail 1 "$folder is not there: nothing was saved yet"
    found -type f -regex "$archive_regex" -printf '%P\n' | sort
}

# Unpacks an archive below the folder of work, and compares each file with its sum.
verify() {
    local names unpacked=$work/unpacked
    names=$(tar -tzf "$1" 2>&1) || fail 1 "$1 is no whole archive: ${names##*$'\n'}"
    case $'\n'$names/ in */../* | *$'\n'/*) fail 1 "$1 holds names that lead out of it" ;; esac
    rm -rf "$unpacked"
    mkdir "$unpacked"
    tar -C "$unpacked" -xpzf "$1" || fail 1 "$1 cannot be unpacked in $work"
    [ -z "$(find "$unpacked" ! -type f ! -type d)" ] || fail 1 "$1 holds more than files"
    [ -f "$unpacked/$sums" ] || fail 1 "$1 is none of our archives: it has no $sums"
    (cd "$unpacked" && sha256sum --quiet -c "$sums" >&2) || fail 1 "$1 is damaged"
    # And nothing that has no sum.
    [ "$(find "$unpacked" -type f | wc -l)" -eq $(($(wc -l <"$unpacked/$sums") + 1)) ] ||
        fail 1 "$1 holds files that are not in its $sums"
    say "$1 is whole"
}

# What would become of one file: NEW PLACE.
fate() {
    if [ ! -e "$2" ]; then
        echo "is not there now"
    elif cmp -s "$1" "$2"; then
        echo "is the same now"
    else
        echo "differs now; that one would stay as $2.before-restore"
    fi
}

# Folders that are not there are everybody's to enter, as those of a fresh install.
set_beside() {
    (umask 022 && mkdir -p -- "$(dirname "$1")") && cp -p -- "$2" "$1.restoring" &&
        sync "$1.restoring"
}

restore() {
    local archive=${1:-} root='' dry='' file place
    [ -n "$archive" ] || usage "restore needs an archive"
    shift
    while [ $# -gt 0 ]; do
        case $1 in
        --dry-run) dry=yes && shift ;;
        --root)
            root=${2:-}
            [ -d "$root" ] || usage "--root needs a folder that is there"
            shift 2
            ;;
        *) usage "$1 is no option of restore" ;;
        esac
    done
    [ -f "$archive" ] || fail 1 "$archive is not there; see: $0 list"
    work=$(mktemp -d)
    verify "$archive"
    if [ -n "$dry" ]; then
        each_file | while IFS= read -r -d '' file; do
            say "would write $root$file, which $(fate "$work/unpacked$file" "$root$file")"
        done
        return
    fi
    # The daemon would write its own state over it, at its next turn.
    if [ -e "$root$state/lock" ] && ! flock -n "$root$state/lock" true; then
        fail 1 "a daemon runs on $root$state; end it first: systemctl stop plimsoll"
    fi
    # First all of it beside its places, so that a full disk changes nothing.
    each_file | while IFS= read -r -d '' file; do
        set_beside "$root$file" "$work/unpacked$file" && continue
        each_file | while IFS= read -r -d '' file; do rm -f -- "$root$file.restoring"; done
        fail 1 "$root$file cannot be written; nothing was changed"
    done
    each_file | while IFS= read -r -d '' file; do
        place=$root$file
        if [ -e "$place" ] && ! cmp -s "$place" "$place.restoring"; then
            cp -p -- "$place" "$place.before-restore"
        fi
        mv -f -- "$place.restoring" "$place"
        say "wrote $place"
    done
}

# Of an unpacked archive: the path of each file, each ended by a NUL.
each_file() { (cd "$work/unpacked" && find . -type f ! -path "./$sums" -printf '/%P\0' | sort -z); }

action=${1:-}
[ $# -eq 0 ] || shift
case $action in
save) save "$@" ;;
list) list ;;
verify)
    [ $# -eq 1 ] || usage "verify needs one archive"
    [ -f "$1" ] || fail 1 "$1 is not there; see: $0 list"
    work=$(mktemp -d)
    verify "$1"
    ;;
restore) restore "$@" ;;
*) usage "${action:-nothing} is none of save, list, verify and restore" ;;
esac
