#!/bin/sh
# Process 1 of the image: runs plimsoll as user 10001, with the group of Docker's socket, and ends
# HAProxy after it when the container is stopped. As a shell waits for any child, it also reaps the
# HAProxy processes, which are nobody's children.
#
#   docker run ... IMAGE                      the daemon
#   docker run ... IMAGE check                any other command of plimsoll
#   docker exec CONTAINER entry.sh doctor     with the daemon's user and groups
#
# DOCKER_HOST names another socket, or tcp://HOST:PORT.
set -u

case ${DOCKER_HOST:-} in
'') socket=/var/run/docker.sock ;;
unix://*) socket=${DOCKER_HOST#unix://} ;;
/*) socket=$DOCKER_HOST ;;
*) socket= ;;
esac
user=10001
pids="/run/plimsoll/haproxy.pid /run/plimsoll/haproxy.pid.known"

say() { echo "entry: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

# A proxy in another container may just be about to open it.
wait_for_socket() {
    [ -n "${DOCKER_HOST:-}" ] || return 0
    tries=100
    while [ ! -S "$socket" ] && [ "$tries" -gt 0 ]; do
        sleep 0.1
        tries=$((tries - 1))
    done
}

# Sets `as`: what gives the daemon its user, that group, and the two capabilities that the systemd unit
# gives it: for ports below 1024, and for starting HAProxy without that group.
choose_user() {
    me=$(stat -Lc %u /proc/self)
    rights=+setgid,+net_bind_service
    as="setpriv --reuid=$user --regid=$user --inh-caps=$rights --ambient-caps=$rights"
    if [ -z "$socket" ]; then
        # Nobody needs a group for Docker over TCP; what is wrong with it plimsoll says.
        if [ "$me" = 0 ]; then as="$as --clear-groups"; else as=; fi
        return
    fi
    wait_for_socket
    [ -S "$socket" ] || fail "$socket is no socket; mount it: -v $socket:$socket"
    group=$(stat -Lc %g "$socket")
    mode=$(stat -Lc %a "$socket")
    if [ "$me" != 0 ]; then
        as=
        [ -w "$socket" ] || fail "user $me may not write to $socket, which is of group $group" \
            "(mode $mode): run the container as root, which starts plimsoll as user $user with that" \
            "group, or give it the group: --group-add $group"
        return
    fi
    [ $((0$mode & 020)) -ne 0 ] || fail "the group of $socket, $group, may not write to it (mode" \
        "$mode), and plimsoll does not run as root here: chmod g+w it"
    as="$as --groups=$group"
}

# The HAProxy processes that run. The number of an ended one may be another process's by now.
haproxies() {
    for file in $pids; do
        [ ! -r "$file" ] || while read -r pid _; do
            read -r name <"/proc/$pid/comm" && [ "$name" = haproxy ] && echo "$pid"
        done <"$file"
    done 2>/dev/null
}

# They end after the requests that they have, or when Docker's patience ends (stop_grace_period).
drain() {
    for pid in $(haproxies); do kill -USR1 "$pid" 2>/dev/null; done
    while [ -n "$(haproxies)" ]; do sleep 0.1; done
}

case ${1:-run} in
run) choose_user ;;
doctor)
    choose_user
    # shellcheck disable=SC2086 # a list of words
    exec $as plimsoll "$@"
    ;;
*) exec plimsoll "$@" ;;
esac

daemon=
stopping=
trap 'stopping=yes; kill -TERM "$daemon" 2>/dev/null' TERM INT
trap 'kill -HUP "$daemon"' HUP
trap 'kill -USR1 "$daemon"' USR1
while [ -z "$stopping" ]; do
    # shellcheck disable=SC2086 # a list of words
    $as plimsoll "${@:-run}" &
    daemon=$!
    [ -z "$stopping" ] || kill -TERM "$daemon"
    # A signal ends `wait` too.
    while wait "$daemon"; status=$?; kill -0 "$daemon" 2>/dev/null; do :; done
    [ -z "$stopping" ] || break
    [ -n "$(haproxies)" ] || exit "$status"
    say "plimsoll ended with status $status; it is started again, HAProxy keeps serving"
    sleep 2
done
drain
