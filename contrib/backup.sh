#!/usr/bin/env bash
# Backs up and restores plimsoll's config, state and load history.
#
#   backup.sh save [FILE...]       config, state, load history and HAProxy's last good file, and FILEs
#   backup.sh list                 the archives, oldest first
#   backup.sh verify ARCHIVE       checks that it is complete
#   backup.sh restore ARCHIVE [--root DIR] [--dry-run] [FILE...]
#                                  writes each file to its place below DIR; a replaced file is
#                                  kept as FILE.before-restore
#
# Pass as FILEs what the config refers to: secrets, certificates, a base_config. Pass them again to
# restore them: an archive does not decide where root writes on this host. Caches, sockets, locks and
# files that are generated at a start are left out.
#
# The state folder belongs to the daemon's account, and root works in it. So no symbolic link in it is
# followed, a file is completed in a folder that only root may enter and then renamed, the state gets
# the owner of its folder, and no file is restored with a setuid bit.
#
# Variables and defaults, with the config key each has to agree with:
#   PLIMSOLL_CONFIG           /etc/plimsoll/config.json
#   PLIMSOLL_STATE_DIR        /var/lib/plimsoll              autoscaler.state_dir
#   PLIMSOLL_HAPROXY_CONFIG   /var/lib/plimsoll/haproxy.cfg  load_balancer.config
#   PLIMSOLL_BACKUP_DIR       /var/backups/plimsoll
#   PLIMSOLL_BACKUP_KEEP      14, number of archives to keep; no other file is deleted
#
# The load history takes about 50 KiB a day and service, and less than half of it in an archive. Of more
# than 192 MiB the newest days are saved, and a line says how many files are left out. A restore leaves
# days that the archive does not have as they are.
#
# An archive may contain secrets: only its owner may read it. Exit status: 0 done, 1 failed, 2 wrong
# usage.
set -euo pipefail
umask 077
export LC_ALL=C

config=${PLIMSOLL_CONFIG:-/etc/plimsoll/config.json}
state=${PLIMSOLL_STATE_DIR:-/var/lib/plimsoll}
haproxy=${PLIMSOLL_HAPROXY_CONFIG:-/var/lib/plimsoll/haproxy.cfg}
folder=${PLIMSOLL_BACKUP_DIR:-/var/backups/plimsoll}
keep=${PLIMSOLL_BACKUP_KEEP:-14}

# The pattern of archive names, for find. Only these and work folders are ever deleted.
readonly archive_regex='\./plimsoll-[0-9]{8}T[0-9]{6}Z\.tar\.gz'
readonly work_regex='\./\.plimsoll-work-[a-zA-Z0-9]{8}'
readonly sums=SHA256SUMS
# The daemon reads no larger file. The archive's limit keeps a bad one from filling the disk.
readonly file_bytes_max=$((64 << 20)) archive_bytes_max=$((256 << 20))
# The load history: a file a day and service, of which the daemon reads no larger one.
readonly day_regex='[a-zA-Z0-9][a-zA-Z0-9_.-]*-[0-9]{4}-[0-9]{2}-[0-9]{2}\.csv'
readonly day_bytes_max=$((1 << 20)) history_bytes_max=$((192 << 20))

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
# Staging folders beside the files to restore, with one file each.
staged=()
clean() {
    [ -z "$work" ] || rm -rf -- "$work"
    [ ${#staged[@]} -eq 0 ] || rm -rf -- "${staged[@]}"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM

found() { find . -maxdepth 1 -regextype posix-extended "$@"; }

# Copies a file into the work folder, under its full path.
take() {
    if ! mkdir -p "$work/files$(dirname "$1")" || ! cp -p -- "$1" "$work/files$1"; then
        fail 1 "$1 cannot be copied to $folder; is the disk full?"
    fi
}

# A folder, and no link to one.
is_folder() { [ -d "$1" ] && [ ! -L "$1" ]; }

# A regular file, and no link to one.
is_plain() { [ -f "$1" ] && [ ! -L "$1" ]; }

# The same for a file in a folder that another user may write to, where it may be replaced at any time:
# it is opened without following links or blocking, and read up to a limit.
take_foreign() {
    local names owner mode time size
    read -r names owner mode time size < <(stat -c '%h %u:%g %a %Y %s' -- "$1") ||
        fail 1 "$1 cannot be read"
    [ "$names" -eq 1 ] || fail 1 "$1 has $names names (hard links); find out who made it, then remove it"
    [ "$size" -le "$file_bytes_max" ] ||
        fail 1 "$1 has $size bytes, more than any file of the daemon's"
    if ! mkdir -p "$work/files$(dirname "$1")" ||
        ! dd if="$1" of="$work/files$1" iflag=nofollow,nonblock,fullblock bs=1M \
            count=$((file_bytes_max >> 20)) status=none; then
        fail 1 "$1 cannot be copied to $folder; is the disk full?"
    fi
    # Like cp: without the permission to change the owner, keep it.
    chown "$owner" "$work/files$1" 2>/dev/null || true
    # Without setuid, setgid, sticky, and write permission for others.
    chmod "$(printf '%o' $((0$mode & 0775)))" "$work/files$1"
    touch -d "@$time" "$work/files$1"
}

# A folder that cannot be read would seem to be empty.
may_read() {
    if [ -e "$1" ] && { [ ! -r "$1" ] || [ ! -x "$1" ]; }; then
        fail 1 "$1 cannot be read; run this as root, or as the daemon's user"
    fi
}

# Files that the daemon writes. The last one is the previous events.jsonl.
written=("$state/state.json" "$state/events.jsonl" "$haproxy.good" "$state/events.jsonl.1"
    "$state/report.json")

is_day() { [[ "$1" == "$state/history/"* && "${1#"$state/history/"}" =~ ^$day_regex$ ]]; }

# Whether the daemon writes a file of this name.
is_written() {
    local file
    ! is_day "$1" || return 0
    for file in "${written[@]}"; do [ "$1" != "$file" ] || return 0; done
    return 1
}

# Newest days first, up to a limit. Like take_foreign, in the folder as it is now: another one in its
# place would not be followed.
take_history() {
    local names size name copies=$work/files$state/history bytes=0 old=0
    [ -e "$state/history" ] || return 0
    may_read "$state/history"
    is_folder "$state/history" || fail 1 "$state/history is not a folder; find out who made it, then remove it"
    mkdir -p "$copies" || fail 1 "$folder cannot be written to; is the disk full?"
    cd -P -- "$state/history"
    [ "$PWD" = "$(cd -P -- "$state" && pwd)/history" ] || fail 1 "$state/history was replaced meanwhile"
    while read -r -d '' names size name; do
        if [ "$names" -ne 1 ] || [ "$size" -gt "$day_bytes_max" ]; then
            say "$state/history/$name is left out: it has other names (hard links), or over 1 MiB" >&2
            continue
        fi
        bytes=$((bytes + size))
        if [ "$bytes" -gt "$history_bytes_max" ]; then
            old=$((old + 1))
            continue
        fi
        dd if="./$name" of="$copies/$name" iflag=nofollow,nonblock,fullblock bs=1M count=1 status=none ||
            [ ! -e "./$name" ] || fail 1 "$state/history/$name cannot be copied to $folder; is the disk full?"
    done < <(found -type f -regex "\./$day_regex" -printf '%n %s %P\0' | newest_first)
    cd -- "$OLDPWD"
    [ "$old" -eq 0 ] ||
        say "the load history has over $((history_bytes_max >> 20)) MiB: its $old oldest files are left out" >&2
}

# By the day at the end of each name.
newest_first() {
    sed -z -E 's/^(.*)-([0-9-]{10})\.csv$/\2 \1-\2.csv/' | sort -z -r | sed -z 's/^[^ ]* //'
}

# A missing state file is reported and is no error: the daemon may not have run yet.
take_all() {
    local file
    take "$config"
    for file in "${written[@]}"; do
        if is_plain "$file"; then
            take_foreign "$file"
        elif [ -e "$file" ] || [ -L "$file" ]; then
            fail 1 "$file is not a regular file; find out who made it, then remove it"
        elif [ "$file" != "$state/events.jsonl.1" ] && [ "$file" != "$state/report.json" ]; then
            say "$file is not there yet" >&2
        fi
    done
    take_history
    for file in "$@"; do take "$file"; done
}

# Warns if the config names another place, as the backup would lack that file: KEY PLACE VARIABLE.
compare() {
    if grep -q "\"$1\"" "$config" && ! grep -qF "\"$2\"" "$config"; then
        say "$config has another $1 than $2; set $3 to it" >&2
    fi
}

begin() {
    if ! mkdir -p -- "$folder" || ! cd -- "$folder"; then
        fail 1 "$folder cannot be made or entered"
    fi
    exec 9>.lock || fail 1 "$folder cannot be written to"
    flock -w 300 9 || fail 1 "another backup has held $folder/.lock for five minutes"
    # Left by a killed run: the lock excludes a running one.
    found -type d -regex "$work_regex" -exec rm -rf -- {} +
    work=$(mktemp -d "$PWD/.plimsoll-work-XXXXXXXX") ||
        fail 1 "$folder cannot be written to; is the disk full?"
}

save() {
    local file name try
    case $keep in
    '' | 0* | *[!0-9]*) fail 2 "PLIMSOLL_BACKUP_KEEP must be a number above 0, got $keep" ;;
    esac
    for file in "$config" "$state" "$haproxy" "$@"; do
        case $file in
        *$'\n'*) fail 2 "the name of $file has a line end" ;;
        /*) ;;
        *) fail 2 "$file must begin with /" ;;
        esac
    done
    for file in "$config" "$@"; do
        if [ ! -f "$file" ] || [ ! -r "$file" ]; then fail 1 "$file is not a readable file"; fi
    done
    may_read "$state"
    may_read "$(dirname "$haproxy")"
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
        # An archive of this second exists; the lock excludes other runs, so the next name is free.
        [ -e "$name" ] || break
        [ "$try" -lt 5 ] || fail 1 "$folder/$name already exists"
        sleep 1
    done
    mv -n -- "$work/archive" "$name" && sync .
    say "$folder/$name: $(wc -c <"$name") bytes, $(($(wc -l <"$work/files/$sums"))) files"
    forget
}

# Deletes the oldest, by the time in their names.
forget() {
    local old
    found -type f -regex "$archive_regex" -print0 | sort -z | head -z -n "-$keep" |
        while IFS= read -r -d '' old; do
            rm -f -- "$old"
            say "$folder/${old#./} deleted, $keep are kept"
        done
}

list() {
    cd -- "$folder" 2>/dev/null || fail 1 "$folder does not exist: nothing was saved yet"
    found -type f -regex "$archive_regex" -printf '%P\n' | sort
}

# Unpacks an archive into the work folder, and compares each file with its checksum.
verify() {
    local names rows unpacked=$work/unpacked plain=$work/plain.tar
    # Up to a limit: a small archive may unpack to more than the disk can hold.
    if ! gzip -dc -- "$1" 2>"$work/said" | head -c $((archive_bytes_max + 1)) >"$plain" &&
        [ "$(wc -c <"$plain")" -le "$archive_bytes_max" ]; then
        fail 1 "$1 is not a complete archive: $(tail -n 1 "$work/said")"
    fi
    [ "$(wc -c <"$plain")" -le "$archive_bytes_max" ] ||
        fail 1 "$1 unpacks to over $((archive_bytes_max >> 20)) MiB, more than any backup of this script"
    names=$(tar -tf "$plain" 2>&1) || fail 1 "$1 is not a complete archive: ${names##*$'\n'}"
    ! grep -qE '^/|(^|/)\.\.(/|$)' <<<"$names" || fail 1 "$1 has file names outside of it"
    rows=$(tar --numeric-owner -tvf "$plain")
    ! grep -q '^[^d-]' <<<"$rows" || fail 1 "$1 has entries that are not files"
    rm -rf "$unpacked"
    mkdir "$unpacked"
    tar -C "$unpacked" -xpf "$plain" || fail 1 "$1 cannot be unpacked in $work"
    rm -f "$plain"
    [ -z "$(find "$unpacked" ! -type f ! -type d)" ] || fail 1 "$1 has entries that are not files"
    find "$unpacked" -type f -exec chmod u-s,g-s,o-w,-t {} +
    [ -f "$unpacked/$sums" ] || fail 1 "$1 is not an archive of this script: it has no $sums"
    (cd "$unpacked" && sha256sum --quiet -c "$sums" >&2) || fail 1 "$1 is damaged"
    # No file may lack a checksum.
    [ "$(find "$unpacked" -type f | wc -l)" -eq $(($(wc -l <"$unpacked/$sums") + 1)) ] ||
        fail 1 "$1 has files that are not in its $sums"
    say "$1 is complete"
}

# Whether both files are the same: NEW PLACE.
is_same() { is_plain "$2" && timeout 60 cmp -s "$1" "$2"; }

# What a restore would do to one file: NEW PLACE.
fate() {
    if [ ! -e "$2" ] && [ ! -L "$2" ]; then
        echo "does not exist now"
    elif is_same "$1" "$2"; then
        echo "is unchanged"
    else
        echo "differs; the present one would be kept as $2.before-restore"
    fi
}

# stage NEW PLACE OWNER: copies the file to a folder beside its place. Only we may enter that folder,
# so nobody can replace the copy. Missing parent folders are created with mode 755, as by an install.
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

# put STAGED PLACE: keeps the present file under another name. Neither step follows a link.
put() {
    if [ -e "$2" ] || [ -L "$2" ]; then
        is_same "$1/new" "$2" || ln -fPT -- "$2" "$2.before-restore" ||
            mv -fT -- "$2" "$2.before-restore" || return 1
    fi
    mv -fT -- "$1/new" "$2" && say "wrote $2"
}

# What a restore would do to the load history: ROOT FILE...
foresee_history() {
    local root=$1 file absent=0 differ=0
    shift
    for file in "$@"; do
        if [ ! -e "$root$file" ] && [ ! -L "$root$file" ]; then
            absent=$((absent + 1))
        elif ! is_same "$work/unpacked$file" "$root$file"; then
            differ=$((differ + 1))
        fi
    done
    say "would write $# files to $root$state/history: $absent do not exist now, $differ differ (the present" \
        "ones would be kept as FILE.before-restore), $(($# - absent - differ)) are unchanged"
}

# Runs a command as the owner of a folder: FOLDER COMMAND...
as_owner() {
    local owner user
    owner=$(stat -c '--reuid=%u --regid=%g' -- "$1") && user=$(stat -c %u -- "$1") || return 1
    shift
    if [ "$(id -u)" -ne 0 ] || [ "$user" -eq 0 ]; then
        "$@"
    else
        # shellcheck disable=SC2086 # two options
        setpriv $owner --clear-groups -- "$@"
    fi
}

# The days of the load history: ROOT COUNT. The account writes them itself: whatever it put in the place
# of its folder, it reaches nothing that it did not before.
put_history() {
    (umask 022 && mkdir -p -- "$1$state") || fail 1 "$1$state cannot be made"
    # shellcheck disable=SC2016 # expanded by the account's shell
    tar -C "$work/unpacked$state/history" --owner=0 --group=0 -cf - . |
        as_owner "$1$state" bash -c '
            set -euo pipefail
            umask 077
            mkdir -p -- "$1" && cd -- "$1"
            new=$(mktemp -d .plimsoll-restore-XXXXXXXX)
            trap "rm -rf -- \"\$new\"" EXIT
            tar -C "$new" --no-same-owner -xf -
            for file in "$new"/*.csv; do
                place=./${file##*/}
                if [ -f "$place" ] && [ ! -L "$place" ] && timeout 60 cmp -s -- "$file" "$place"; then
                    continue
                fi
                if [ -e "$place" ] || [ -L "$place" ]; then mv -fT -- "$place" "$place.before-restore"; fi
                mv -fT -- "$file" "$place"
            done
            sync .
        ' bash "$1$state/history" ||
        fail 1 "the load history cannot be written to $1$state/history; nothing else was changed"
    say "wrote $2 files to $1$state/history"
}

# An archive is not trusted: only the daemon's files, the config and the named files are written.
only_known() {
    local file known
    while IFS= read -r -d '' file; do
        ! is_day "$file" || continue
        for known in "$config" "${written[@]}" "$@"; do [ "$file" != "$known" ] || continue 2; done
        fail 1 "the archive also has $file; name it after the archive to restore it"
    done < <(each_file)
}

restore() {
    local archive=${1:-} root='' dry='' file owner i files=() days=() named=()
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
        *) usage "$1 is neither an option of restore nor a FILE that begins with /" ;;
        esac
    done
    [ -f "$archive" ] || fail 1 "$archive does not exist; see: $0 list"
    work=$(mktemp -d)
    verify "$archive"
    only_known "${named[@]}"
    while IFS= read -r -d '' file; do
        if is_day "$file"; then days+=("$file"); else files+=("$file"); fi
    done < <(each_file)
    if [ -n "$dry" ]; then
        [ ${#days[@]} -eq 0 ] || foresee_history "$root" "${days[@]}"
        for file in "${files[@]}"; do
            say "would write $root$file, which $(fate "$work/unpacked$file" "$root$file")"
        done
        return
    fi
    # The daemon would overwrite it with its own state at its next tick.
    if is_plain "$root$state/lock" && ! flock -n "$root$state/lock" true; then
        fail 1 "a daemon uses $root$state; stop it first: systemctl stop plimsoll"
    fi
    # First stage all files, so that a full disk changes nothing.
    for file in "${files[@]}"; do
        owner=
        ! is_written "$file" || owner=$(stat -c %u:%g -- "$(dirname "$root$file")" 2>/dev/null) || owner=
        stage "$work/unpacked$file" "$root$file" "$owner" ||
            fail 1 "$root$file cannot be written; nothing was changed"
    done
    [ ${#days[@]} -eq 0 ] || put_history "$root" ${#days[@]}
    for i in "${!files[@]}"; do
        put "${staged[$i]}" "$root${files[$i]}" || fail 1 "$root${files[$i]} cannot be replaced"
    done
}

# Prints the path of each file of an unpacked archive, each ended by a NUL.
each_file() { (cd "$work/unpacked" && find . -type f ! -path "./$sums" -printf '/%P\0' | sort -z); }

action=${1:-}
[ $# -eq 0 ] || shift
case $action in
save) save "$@" ;;
list) list ;;
verify)
    [ $# -eq 1 ] || usage "verify needs one archive"
    [ -f "$1" ] || fail 1 "$1 does not exist; see: $0 list"
    work=$(mktemp -d)
    verify "$1"
    ;;
restore) restore "$@" ;;
*) usage "${action:-nothing} is not one of save, list, verify and restore" ;;
esac
