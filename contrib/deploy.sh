#!/bin/sh
# Deploys a new plimsoll to a host over ssh, and rolls back if the new one does not work there. Prints
# what it did. It is safe to run it again after any failure.
#
#   contrib/deploy.sh [--config FILE] [--port N] [USER@]HOST BINARY
#
# On the host, deploy-target.sh does the work: it is independent of the connection, and finishes or
# rolls back by itself if that is lost; this script reconnects for the outcome.
#
# Required environment variables; no key or secret is an argument:
#   PLIMSOLL_DEPLOY_KEY          file with the private key, or with its base64 in one line; ssh uses a
#                                copy that only we can read
#   PLIMSOLL_DEPLOY_KNOWN_HOSTS  file with the host's key, as `ssh-keyscan -p PORT HOST` prints it; a
#                                host with another key, or without one there, is rejected
# Optional variables:
#   PLIMSOLL_DEPLOY_TRIES    attempts for a lost connection            (5; 1, 2, 4, 8 s apart)
#   PLIMSOLL_DEPLOY_AS       prefix to run a command as root           (none; e.g. `sudo -n`)
#   PLIMSOLL_DEPLOY_BINARY   path of the program on the host           (/usr/local/bin/plimsoll)
#   PLIMSOLL_DEPLOY_CONFIG   path of its config                        (/etc/plimsoll/config.json)
#   PLIMSOLL_DEPLOY_RESTART  command that restarts the service         (systemctl restart plimsoll)
#   PLIMSOLL_DEPLOY_WAIT     seconds until it has to be healthy        (60)
#   PLIMSOLL_DEPLOY_FOLDER   folder of deploys on the host             (/var/lib/plimsoll-deploy)
#
# Exit status: 0 done; 1 failed, and the host is as before; 2 wrong usage; 3 inspect the host:
# neither the new nor the old version is known to work there.
set -eu

say() { echo "deploy: $*"; }

fail() {
    status=$1
    shift
    for line in "$@"; do
        echo "deploy: $line" >&2
    done
    exit "$status"
}

usage() {
    fail 2 "$1" "usage: $0 [--config FILE] [--port N] [USER@]HOST BINARY"
}

config=
port=22
while [ $# -gt 0 ]; do
    case $1 in
    --config) config=${2:?usage: --config FILE} && shift 2 ;;
    --port) port=${2:?usage: --port N} && shift 2 ;;
    -*) usage "unknown option $1" ;;
    *) break ;;
    esac
done
[ $# -eq 2 ] || usage "$# arguments, expected two: a host and a binary"
host=$1
binary=$2
case $host in -* | *[!a-zA-Z0-9_.:@-]*) usage "$host is not a host name" ;; esac
case $port in *[!0-9]* | '') usage "$port is not a port" ;; esac

number() {
    case $2 in '' | 0?* | *[!0-9]* | ?????*) usage "$1 must be a number up to 9999, got $2" ;; esac
}
tries=${PLIMSOLL_DEPLOY_TRIES:-5}
wait=${PLIMSOLL_DEPLOY_WAIT:-60}
number PLIMSOLL_DEPLOY_TRIES "$tries"
number PLIMSOLL_DEPLOY_WAIT "$wait"
as=${PLIMSOLL_DEPLOY_AS:-}
folder=${PLIMSOLL_DEPLOY_FOLDER:-/var/lib/plimsoll-deploy}
binary_there=${PLIMSOLL_DEPLOY_BINARY:-/usr/local/bin/plimsoll}
config_there=${PLIMSOLL_DEPLOY_CONFIG:-/etc/plimsoll/config.json}
restart=${PLIMSOLL_DEPLOY_RESTART:-systemctl restart plimsoll}
for path in "$folder" "$binary_there" "$config_there"; do
    case $path in /*) ;; *) usage "$path must begin with /" ;; esac
done

is_file() {
    [ -n "$2" ] || fail 2 "$1 is not set; it names a file: $3"
    if [ ! -r "$2" ] || [ ! -s "$2" ]; then
        fail 2 "$1: $2 is not a readable file, or is empty"
    fi
}
is_file PLIMSOLL_DEPLOY_KEY "${PLIMSOLL_DEPLOY_KEY:-}" "the private key"
is_file PLIMSOLL_DEPLOY_KNOWN_HOSTS "${PLIMSOLL_DEPLOY_KNOWN_HOSTS:-}" "the host's public key"
is_file BINARY "$binary" "the program"
[ -z "$config" ] || is_file --config "$config" "the config"
target=$(dirname "$0")/deploy-target.sh
is_file "$0" "$target" "what runs on the host"

umask 077
ours=$(mktemp -d)
trap 'rm -rf "$ours"' EXIT
trap 'exit 3' HUP INT TERM
# ssh rejects a key without its final line end, or one that others can read, as with files of a CI. A
# CI masks only secrets of one line.
if grep -q '^-----BEGIN ' "$PLIMSOLL_DEPLOY_KEY"; then
    cp "$PLIMSOLL_DEPLOY_KEY" "$ours/given"
elif ! base64 -d "$PLIMSOLL_DEPLOY_KEY" >"$ours/given" 2>/dev/null; then
    fail 2 "the file that PLIMSOLL_DEPLOY_KEY names has neither a private key nor its base64"
fi
{
    tr -d '\r' <"$ours/given"
    echo
} >"$ours/key"
tr -d '\r' <"$PLIMSOLL_DEPLOY_KNOWN_HOSTS" >"$ours/known_hosts"

mkdir "$ours/files"
cp "$target" "$ours/files/target.sh"
cp "$binary" "$ours/files/plimsoll"
[ -z "$config" ] || cp "$config" "$ours/files/config.json"
(cd "$ours/files" && sha256sum -- * >"$ours/sums" && mv "$ours/sums" SHA256SUMS)
sum=$(sha256sum <"$ours/files/SHA256SUMS" | cut -c 1-12)
# The name of this run, to find it again after a lost connection.
run=$(date -u +%Y%m%dT%H%M%SZ)-$sum-$$

# Quotes one word of a command for the remote shell.
quoted() {
    printf "'"
    printf '%s' "$1" | sed "s/'/'\\\\''/g"
    printf "' "
}

# Runs a script on the host: SECONDS SCRIPT ARGUMENT..., with our stdin.
there() {
    seconds=$1
    shift
    command="$as sh -c "
    command=$command$(quoted "$1")$(quoted sh)
    shift
    for word in "$@"; do
        command=$command$(quoted "$word")
    done
    timeout "$seconds" ssh -F /dev/null -p "$port" -i "$ours/key" -T \
        -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none \
        -o StrictHostKeyChecking=yes -o UserKnownHostsFile="$ours/known_hosts" \
        -o GlobalKnownHostsFile=/dev/null -o UpdateHostKeys=no -o LogLevel=ERROR \
        -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 \
        "$host" "$command" 2>"$ours/said"
}

# Reports a permanent failure of a step and exits with STATUS; returns if a retry may help: STEP CODE
# STATUS. ssh's own code is 255, that of `timeout` 124, that of a killed process 137.
judge() {
    if grep -q 'Host key verification failed' "$ours/said"; then
        set -- "$host has another host key than $PLIMSOLL_DEPLOY_KNOWN_HOSTS;" "$3" \
            "either the file is out of date, or another machine answers: find out which"
    elif grep -q 'error in libcrypto\|invalid format' "$ours/said"; then
        set -- "the file that PLIMSOLL_DEPLOY_KEY names has no private key that ssh can read" "$3"
    elif grep -q 'Permission denied (' "$ours/said"; then
        set -- "$host rejects the key of PLIMSOLL_DEPLOY_KEY for this user" "$3"
    else
        case $2 in 255 | 124 | 137) return 0 ;; esac
        set -- "$1 failed on $host with status $2" "$3"
    fi
    sed 's/^/  /' "$ours/said" >&2
    why=$1
    status=$2
    shift 2
    fail "$status" "$why" "$@"
}

# Runs one step, again while only the connection fails: FUNCTION STEP STATUS, the exit status of a
# permanent failure.
persist() {
    try=1
    until "$1"; do
        judge "$2" $? "$3"
        why=$(tail -n 1 "$ours/said")
        [ "$try" -lt "$tries" ] ||
            fail "$3" "$2: no connection to $host after $tries attempts: ${why:-lost}"
        pause=$((1 << (try < 4 ? try - 1 : 3)))
        say "$2: attempt $try of $tries: ${why:-the connection was lost}; again in $pause s"
        sleep "$pause"
        try=$((try + 1))
    done
}

# shellcheck disable=SC2016 # scripts for the remote shell
{
    receive='umask 077 && mkdir -p "$1/$2" && cd "$1/$2" && tar -xof - && sha256sum -c --quiet SHA256SUMS'
    # The folder `begun` can be created once, so a second start after a lost answer does nothing.
    start='cd "$1/$2" || exit; if mkdir begun 2>/dev/null; then shift; shift
        setsid sh ./target.sh "$@" >log 2>&1 </dev/null & fi'
    # Prints the log, then the status as the last line. Waits for the status within its time limit.
    follow='cd "$1/$2" || exit; left=$3
        while [ ! -e status ] && [ "$left" -gt 0 ]; do sleep 1; left=$((left - 1)); done
        cat log; if [ -e status ]; then cat status; else echo unknown; fi'
}

# Deploy and roll-back, each with a restart and the wait for health, plus a margin.
limit=$((wait * 4 + 180))

send_files() { tar -C "$ours/files" -cf - . | there 300 "$receive" "$folder" "$run"; }

begin() {
    there 30 "$start" "$folder" "$run" "$binary_there" "$config_there" "$restart" "$wait" </dev/null
}

outcome() {
    there $((limit + 30)) "$follow" "$folder" "$run" "$limit" </dev/null >"$ours/outcome"
}

say "$(wc -c <"$binary") bytes of $binary${config:+ and $config} to $host"
persist send_files "sending the files" 1
# From here on the host may have started although the answer was lost.
persist begin "beginning there" 3
persist outcome "waiting for the outcome" 3
sed '$d' "$ours/outcome" | sed "s/^/$host: /"
case $(tail -n 1 "$ours/outcome") in
0) say "done" ;;
1) fail 1 "failed; $host is as before" ;;
*) fail 3 "failed; inspect $host: $folder/$run/log, and: $binary_there healthcheck" ;;
esac
