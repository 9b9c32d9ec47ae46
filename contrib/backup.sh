#!/usr/bin/env bash
# Saves what plimsoll cannot make again, and brings it back.
#
#   backup.sh save [FILE...]       config, state and HAProxy's last good file, and FILEs
#   backup.sh list                 what was saved, oldest first
#   backup.sh verify ARCHIVE       whether it is whole
#   backup.sh restore ARCHIVE [--root DIR] [--dry-run] [FILE...]
#                                  each file to where it was, below DIR; what is there now stays
#                                  beside it as FILE.before-restore
#
# Name as FILEs what the config points at: files of secrets, certificates, a base_config; and name
# them again to restore them: an archive does not say where on this host root writes. Caches, sockets,
# locks and what is written anew at a start are left out.
#
# The folder of the state is the daemon's account's, and root works in it: no symbolic link in there
# is followed, a file is made whole in a folder that only root may enter and then renamed, the state
# belongs to the owner of its folder, and nothing comes back with a setuid bit.
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
# The daemon reads no longer file; and an archive that grows beyond all bounds fills no disk.
readonly file_bytes_max=$((64 << 20)) archive_bytes_max=$((256 << 20))

say() { echo "backup: $*"; }

fail() {
    local status=$1 line
    shift
    for line in "$@"; do echo "backup: $line" >&2; done
    exit "$status"
}

usage() {
    fail 2 "$1" "usage: $0 save [FILE...] | list | verify ARCHIVE" \
        "       $0 restore ARCHIVE [--root DIR] [--dry-run] [FILE...]"
}

work=
# Beside the places of what is restored: folders with a file each.
staged=()
clean() {
    [ -z "$work" ] || rm -rf -- "$work"
    [ ${#staged[@]} -eq 0 ] || rm -rf -- "${staged[@]}"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM

found() { find . -maxdepth 1 -regextype posix-extended "$@"; }

# A copy of a file below the folder of work, by its whole path.
take() {
    if ! mkdir -p "$work/files$(dirname "$1")" || ! cp -p -- "$1" "$work/files$1"; then
        fail 1 "$1 cannot be copied to $folder; is the disk full?"
    fi
}

# A plain file, and no link to one.
is_plain() { [ -f "$1" ] && [ ! -L "$1" ]; }

# The same of a file in a folder that another may write to: what is in there may become another file
# at any time, so it is opened without following a link or waiting, and read up to a bound.
take_foreign() {
    local names owner mode time size
    read -r names owner mode time size < <(stat -c '%h %u:%g %a %Y %s' -- "$1") ||
        fail 1 "$1 cannot be read"
    [ "$names" -eq 1 ] || fail 1 "$1 has $names names (hard links); look who made it, and remove it"
    [ "$size" -le "$file_bytes_max" ] ||
        fail 1 "$1 has $size bytes, more than any file of the daemon's"
    if ! mkdir -p "$work/files$(dirname "$1")" ||
        ! dd if="$1" of="$work/files$1" iflag=nofollow,nonblock,fullblock bs=1M \
            count=$((file_bytes_max >> 20)) status=none; then
        fail 1 "$1 cannot be copied to $folder; is the disk full?"
    fi
    # As cp does: whoever may not give it away keeps it.
    chown "$owner" "$work/files$1" 2>/dev/null || true
    # Without setuid, setgid and sticky, and without writing for everybody.
    chmod "$(printf '%o' $((0$mode & 0775)))" "$work/files$1"
    touch -d "@$time" "$work/files$1"
}

# What cannot be looked into would seem to be empty.
may_look() {
    if [ -e "$1" ] && { [ ! -r "$1" ] || [ ! -x "$1" ]; }; then
        fail 1 "$1 cannot be looked into; run this as root, or as the daemon's user"
    fi
}

# What the daemon wrote. The last is what events.jsonl was, before it was full.
written=("$state/state.json" "$state/events.jsonl" "$haproxy.good" "$state/events.jsonl.1")

# Of a name: whether the daemon wrote it.
is_written() {
    local file
    for file in "${written[@]}"; do [ "$1" != "$file" ] || return 0; done
    return 1
}

# A missing state file is reported and is no error: the daemon may not have run yet.
take_all() {
    local file
    take "$config"
    for file in "${written[@]}"; do
        if is_plain "$file"; then
            take_foreign "$file"
        elif [ -e "$file" ] || [ -L "$file" ]; then
            fail 1 "$file is no plain file; look who made it, and remove it"
        elif [ "$file" != "$state/events.jsonl.1" ]; then
            say "$file is not there yet" >&2
        fi
    done
    for file in "$@"; do take "$file"; done
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
    take_all "$@"
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
    local names rows unpacked=$work/unpacked plain=$work/plain.tar
    # Up to a bound: a few bytes may stand for more than the disk has.
    if ! gzip -dc -- "$1" 2>"$work/said" | head -c $((archive_bytes_max + 1)) >"$plain" &&
        [ "$(wc -c <"$plain")" -le "$archive_bytes_max" ]; then
        fail 1 "$1 is no whole archive: $(tail -n 1 "$work/said")"
    fi
    [ "$(wc -c <"$plain")" -le "$archive_bytes_max" ] ||
        fail 1 "$1 unpacks to over $((archive_bytes_max >> 20)) MiB, which no backup of ours has"
    names=$(tar -tf "$plain" 2>&1) || fail 1 "$1 is no whole archive: ${names##*$'\n'}"
    ! grep -qE '^/|(^|/)\.\.(/|$)' <<<"$names" || fail 1 "$1 holds names that lead out of it"
    rows=$(tar --numeric-owner -tvf "$plain")
    ! grep -q '^[^d-]' <<<"$rows" || fail 1 "$1 holds more than files"
    rm -rf "$unpacked"
    mkdir "$unpacked"
    tar -C "$unpacked" -xpf "$plain" || fail 1 "$1 cannot be unpacked in $work"
    rm -f "$plain"
    [ -z "$(find "$unpacked" ! -type f ! -type d)" ] || fail 1 "$1 holds more than files"
    find "$unpacked" -type f -exec chmod u-s,g-s,o-w,-t {} +
    [ -f "$unpacked/$sums" ] || fail 1 "$1 is none of our archives: it has no $sums"
    (cd "$unpacked" && sha256sum --quiet -c "$sums" >&2) || fail 1 "$1 is damaged"
    # And nothing that has no sum.
    [ "$(find "$unpacked" -type f | wc -l)" -eq $(($(wc -l <"$unpacked/$sums") + 1)) ] ||
        fail 1 "$1 holds files that are not in its $sums"
    say "$1 is whole"
}

# The same, now: NEW PLACE.
is_same() { is_plain "$2" && timeout 60 cmp -s "$1" "$2"; }

# What would become of one file: NEW PLACE.
fate() {
    if [ ! -e "$2" ] && [ ! -L "$2" ]; then
        echo "is not there now"
    elif is_same "$1" "$2"; then
        echo "is the same now"
    else
        echo "differs now; that one would stay as $2.before-restore"
    fi
}

# stage NEW PLACE OWNER: a copy beside the place. Its folder is ours alone: being in there, nobody can
# put another in its place. Folders that are not there are everybody's to enter, as those of a fresh
# install.
stage() {
    local dir beside
    dir=$(dirname "$2")
    (umask 022 && mkdir -p -- "$dir") && beside=$(mktemp -d -- "$dir/.plimsoll-restore-XXXXXXXX") ||
        return 1
    staged+=("$beside")
    (cd -P -- "$beside" && [ "$(stat -c '%u %a' .)" = "$(id -u) 700" ] && [ -z "$(ls -A)" ] &&
        cp -p -- "$1" new && { [ -z "$3" ] || chown "$3" new 2>/dev/null || [ "$(id -u)" -ne 0 ]; } &&
        sync new)
}

# put STAGED PLACE: what is there now keeps a name of its own. Neither step follows a link.
put() {
    if [ -e "$2" ] || [ -L "$2" ]; then
        is_same "$1/new" "$2" || ln -fPT -- "$2" "$2.before-restore" ||
            mv -fT -- "$2" "$2.before-restore" || return 1
    fi
    mv -fT -- "$1/new" "$2" && say "wrote $2"
}

# An archive says what it likes: only what the daemon wrote, the config and what is named is written.
only_known() {
    local file known
    while IFS= read -r -d '' file; do
        for known in "$config" "${written[@]}" "$@"; do [ "$file" != "$known" ] || continue 2; done
        fail 1 "the archive also holds $file; name it after the archive, if it is to be restored"
    done < <(each_file)
}

restore() {
    local archive=${1:-} root='' dry='' file owner i files=() named=()
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
        /*) named+=("$1") && shift ;;
        *) usage "$1 is no option of restore, and no FILE that begins with /" ;;
        esac
    done
    [ -f "$archive" ] || fail 1 "$archive is not there; see: $0 list"
    work=$(mktemp -d)
    verify "$archive"
    only_known "${named[@]}"
    while IFS= read -r -d '' file; do files+=("$file"); done < <(each_file)
    if [ -n "$dry" ]; then
        for file in "${files[@]}"; do
            say "would write $root$file, which $(fate "$work/unpacked$file" "$root$file")"
        done
        return
    fi
    # The daemon would write its own state over it, at its next turn.
    if is_plain "$root$state/lock" && ! flock -n "$root$state/lock" true; then
        fail 1 "a daemon runs on $root$state; end it first: systemctl stop plimsoll"
    fi
    # First all of it beside its places, so that a full disk changes nothing.
    for file in "${files[@]}"; do
        owner=
        ! is_written "$file" || owner=$(stat -c %u:%g -- "$(dirname "$root$file")" 2>/dev/null) || owner=
        stage "$work/unpacked$file" "$root$file" "$owner" ||
            fail 1 "$root$file cannot be written; nothing was changed"
    done
    for i in "${!files[@]}"; do
        put "${staged[$i]}" "$root${files[$i]}" || fail 1 "$root${files[$i]} cannot be replaced"
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
