#!/bin/sh
# Puts a new plimsoll on a host over ssh, and goes back to the one before when the new one does not
# work there. Prints what it did. May be run again after whatever happened.
#
#   contrib/deploy.sh [--config FILE] [--port N] [USER@]HOST BINARY
#
# On the host, deploy-target.sh does the work: it runs apart from the connection, and finishes or goes
# back by itself when that is lost; this script comes back for the outcome.
#
# What it is given, by the environment, so that no key or secret is an argument:
#   PLIMSOLL_DEPLOY_KEY          file with the private key, or with one line that is the base64 of it;
#                                a copy that only we can read is used
#   PLIMSOLL_DEPLOY_KNOWN_HOSTS  file with the host's key, as `ssh-keyscan -p PORT HOST` prints it; a
#                                host with another key, or none there, is refused
# and what may be said in addition:
#   PLIMSOLL_DEPLOY_TRIES    how often a lost connection is tried      (5; 1, 2, 4, 8 s apart)
#   PLIMSOLL_DEPLOY_AS       what makes a command root on the host     (none; e.g. `sudo -n`)
#   PLIMSOLL_DEPLOY_BINARY   where the program is on the host          (/usr/local/bin/plimsoll)
#   PLIMSOLL_DEPLOY_CONFIG   where its config is                       (/etc/plimsoll/config.json)
#   PLIMSOLL_DEPLOY_RESTART  what makes the service a new one          (systemctl restart plimsoll)
#   PLIMSOLL_DEPLOY_WAIT     how long it may take to be healthy, s     (60)
#   PLIMSOLL_DEPLOY_FOLDER   where deploys are kept on the host        (/var/lib/plimsoll-deploy)
#
# Exit status: 0 done; 1 failed, and the host has what it had before; 2 wrong usage; 3 look at the
# host: neither the new nor the old version is known to work there.
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
    -*) usage "$1 is no option" ;;
    *) break ;;
    esac
done
[ $# -eq 2 ] || usage "$# arguments are given, a host and a binary are needed"
host=$1
binary=$2
case $host in -* | *[!a-zA-Z0-9_.:@-]*) usage "$host is no host" ;; esac
case $port in *[!0-9]* | '') usage "$port is no port" ;; esac

number() {
    case $2 in '' | 0?* | *[!0-9]* | ?????*) usage "$1 is $2, a number up to 9999 is needed" ;; esac
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
    case $path in /*) ;; *) usage "$path does not begin with /" ;; esac
done

is_file() {
    [ -n "$2" ] || fail 2 "$1 is not set; it names a file: $3"
    if [ ! -r "$2" ] || [ ! -s "$2" ]; then
        fail 2 "$1: $2 is no file with something in it that we can read"
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
# ssh refuses a key that others can read, as files of a CI are, and one without its last line end.
# A CI masks only what is one line.
if grep -q '^-----BEGIN ' "$PLIMSOLL_DEPLOY_KEY"; then
    cp "$PLIMSOLL_DEPLOY_KEY" "$ours/given"
elif ! base64 -d "$PLIMSOLL_DEPLOY_KEY" >"$ours/given" 2>/dev/null; then
    fail 2 "the file that PLIMSOLL_DEPLOY_KEY names holds neither a private key nor base64 of one"
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
# A name for this run, by which it is found again after a lost connection.
run=$(date -u +%Y%m%dT%H%M%SZ)-$sum-$$

# One word of a command for the shell over there.
quoted() {
    printf "'"
    printf '%s' "$1" | sed "s/'/'\\\\''/g"
    printf "' "
}

# Runs a script over there: SECONDS SCRIPT ARGUMENT..., with our stdin.
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

# Says why a step failed for good, and ends with STATUS; or returns when the connection may be better
# in a moment: STEP CODE STATUS. ssh's own code is 255, that of `timeout` 124, of the killed 137.
judge() {
    if grep -q 'Host key verification failed' "$ours/said"; then
        set -- "$host does not show the key that $PLIMSOLL_DEPLOY_KNOWN_HOSTS has for it;" "$3" \
            "either that file is out of date, or something else answers there: find out which"
    elif grep -q 'error in libcrypto\|invalid format' "$ours/said"; then
        set -- "the file that PLIMSOLL_DEPLOY_KEY names holds no private key that ssh can read" "$3"
    elif grep -q 'Permission denied (' "$ours/said"; then
        set -- "$host does not take the key of PLIMSOLL_DEPLOY_KEY for this user" "$3"
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

# One step, over again while only the connection fails: FUNCTION STEP STATUS, the last for when it
# cannot be done.
persist() {
    try=1
    until "$1"; do
        judge "$2" $? "$3"
        why=$(tail -n 1 "$ours/said")
        [ "$try" -lt "$tries" ] ||
            fail "$3" "$2: no connection to $host in $tries tries: ${why:-lost}"
        pause=$((1 << (try < 4 ? try - 1 : 3)))
        say "$2: try $try of $tries: ${why:-the connection was lost}; again in $pause s"
        sleep "$pause"
        try=$((try + 1))
    done
}

# shellcheck disable=SC2016 # scripts for over there
{
    receive='umask 077 && mkdir -p "$1/$2" && cd "$1/$2" && tar -xof - && sha256sum -c --quiet SHA256SUMS'
    # The folder `begun` can be made once, so a second start, after a lost answer, starts nothing.
    start='cd "$1/$2" || exit; if mkdir begun 2>/dev/null; then shift; shift
        setsid sh ./target.sh "$@" >log 2>&1 </dev/null & fi'
    # The status is the last line of what this prints. Until there is one: as long as it may take.
    follow='cd "$1/$2" || exit; left=$3
        while [ ! -e status ] && [ "$left" -gt 0 ]; do sleep 1; left=$((left - 1)); done
        cat log; if [ -e status ]; then cat status; else echo unknown; fi'
}

# Both ways, each with a restart and the wait for health; then a little more.
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
# From here on it may have begun before an answer was lost.
persist begin "beginning there" 3
persist outcome "waiting for the outcome" 3
sed '$d' "$ours/outcome" | sed "s/^/$host: /"
case $(tail -n 1 "$ours/outcome") in
0) say "done" ;;
1) fail 1 "failed; $host has what it had before" ;;
*) fail 3 "failed; look at $host: $folder/$run/log, and: $binary_there healthcheck" ;;
esac
