#!/bin/sh
# Prepares this machine for `make demo`: installs missing programs (as root on a Debian-like system;
# elsewhere it prints what to do) and starts dockerd if none answers. With the argument `compose` it
# also gets docker compose v2, for `make demo-compose`. With the argument `test` it prepares for
# `make test`, which also needs the programs of `further` below, but none of them as a service. It asks
# nothing, and is safe to run repeatedly and in parallel.
#
# For special setups, and to try this script beside a running dockerd:
#   PLIMSOLL_SETUP_SOCKET         where dockerd must answer        (/var/run/docker.sock)
#   PLIMSOLL_SETUP_PIDFILE        dockerd's pid file               (/var/run/docker.pid)
#   PLIMSOLL_SETUP_EXEC_ROOT      dockerd's run-time directory     (/var/run/docker)
#   PLIMSOLL_SETUP_LOG            where a started dockerd logs     (/var/log/plimsoll-dockerd.log)
#   PLIMSOLL_SETUP_LOCK           held while something is changed  (/run/plimsoll-setup.lock)
#   PLIMSOLL_SETUP_DOCKERD_FLAGS  more flags for a started dockerd (none); flags that move the
#                                 socket and so on must agree with the variables above
# Never give a second dockerd `--bridge none`: it deletes docker0, which the first one needs.
set -eu

socket=${PLIMSOLL_SETUP_SOCKET:-/var/run/docker.sock}
pidfile=${PLIMSOLL_SETUP_PIDFILE:-/var/run/docker.pid}
exec_root=${PLIMSOLL_SETUP_EXEC_ROOT:-/var/run/docker}
log=${PLIMSOLL_SETUP_LOG:-/var/log/plimsoll-dockerd.log}
lock=${PLIMSOLL_SETUP_LOCK:-/run/plimsoll-setup.lock}
dockerd_flags=${PLIMSOLL_SETUP_DOCKERD_FLAGS:-}
# One per line.
case ${1:-} in
compose) further=$(docker compose version >/dev/null 2>&1 || echo compose-2.26) ;;
test) further='
axe-core
chromium
compose-2.26
docker-compose
docker-registry
fish
h2load
haproxy-3.0
openssl
postgresql
prometheus
python3-grpcio
python3-websockets
python3-yaml
shellcheck
ssh
sshd
tmux
zsh
' ;;
*) further= ;;
esac

# A user's PATH often lacks the directories of daemons.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

say() { echo "setup: $*"; }

fail() {
    for line in "$@"; do
        echo "setup: $line" >&2
    done
    exit 1
}

# Programs of Debian 13, which the tests use in addition to those of this system; `make test` and
# `make demo-compose` expect these names.
newer=/var/cache/plimsoll
have() {
    case $1 in
    axe-core) [ -r "$newer/$1/axe.min.js" ] ;;
    compose-2.26) [ -x "$newer/$1/usr/libexec/docker/cli-plugins/docker-compose" ] ;;
    haproxy-3.0) [ -x "$newer/$1/usr/sbin/haproxy" ] ;;
    # Its programs are not in PATH.
    postgresql) set -- /usr/lib/postgresql/*/bin/postgres && [ -x "$1" ] && command -v pgbench >/dev/null ;;
    python3-grpcio) /usr/bin/python3 -c 'import grpc' 2>/dev/null ;;
    python3-websockets) /usr/bin/python3 -c 'import websockets' 2>/dev/null ;;
    python3-yaml) /usr/bin/python3 -c 'import yaml' 2>/dev/null ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

# Prints the missing commands, one per line.
missing() {
    for command in docker dockerd haproxy ip cc $further; do
        have "$command" || echo "$command"
    done
}

# Prints the server's version; fails if none answers.
docker_version() {
    timeout 5 docker --host "unix://$socket" version --format '{{.Server.Version}}' 2>/dev/null
}

is_ready() {
    [ -z "$(missing)" ] && docker=$(docker_version)
}

finish() {
    say "ready: docker $docker, haproxy $(haproxy -v | sed -n '1s/^.*version \([^ ]*\).*/\1/p')"
    exit 0
}

packages_for() {
    for command in "$@"; do
        case $command in
        # Newer releases ship the client separately from docker.io.
        docker)
            echo docker.io
            if apt-cache show docker-cli >/dev/null 2>&1; then echo docker-cli; fi
            ;;
        dockerd) echo docker.io iptables ;;
        ip) echo iproute2 ;;
        # gcc only recommends the C library's headers, but linking needs them.
        cc) echo gcc libc6-dev ;;
        axe-core) echo ca-certificates curl ;;
        h2load) echo nghttp2-client ;;
        compose-2.26 | haproxy-3.0) echo patchelf debian-archive-keyring ;;
        ssh) echo openssh-client ;;
        sshd) echo openssh-server ;;
        # The package has the command's name.
        *) echo "$command" ;;
        esac
    done
}

# Runs apt-get, twice if necessary: mirrors fail now and then. Descriptor 9 is the lock; no daemon that
# a package starts may inherit it.
apt() {
    for try in first second; do
        DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" >"$apt_said" 2>&1 </dev/null 9>&- && return
        say "the $try apt-get $1 failed"
    done
    tail -n 20 "$apt_said" >&2
    fail "apt-get $* failed; its last output is above"
}

# Packages start their services at once and at every boot. Of these services the tests start their
# own instances.
services_of() {
    for command in "$@"; do
        case $command in
        prometheus) echo prometheus ;;
        docker-registry) echo docker-registry ;;
        postgresql) echo postgresql ;;
        sshd) echo ssh ;;
        esac
    done
}

policy=/usr/sbin/policy-rc.d
mark='# of plimsoll, for as long as packages are installed'
keep_still() {
    # An existing policy belongs to the administrator, or to a container image that starts nothing.
    [ $# -gt 0 ] && [ ! -e "$policy" ] || return 0
    trap 'rm -f "$apt_said" "$policy"' EXIT
    # Called with the service and the action; 101 forbids it.
    {
        printf '#!/bin/sh\n%s\nfor still in %s; do\n' "$mark" "$*"
        # shellcheck disable=SC2016 # for the generated script
        printf '    [ "${1%%.service}" != $still ] || exit 101\ndone\n'
    } >"$policy"
    chmod 755 "$policy"
}

# The package would make a database of its own; the tests make theirs.
without_database() {
    clusters=/etc/postgresql-common/createcluster.d
    for command in "$@"; do
        [ "$command" = postgresql ] || continue
        mkdir -p "$clusters"
        [ -e "$clusters/plimsoll.conf" ] || echo 'create_main_cluster = false' >"$clusters/plimsoll.conf"
    done
}

let_start() {
    trap 'rm -f "$apt_said"' EXIT
    if grep -qF "$mark" "$policy" 2>/dev/null; then rm -f "$policy"; fi
    for service in "$@"; do
        update-rc.d "$service" disable >/dev/null 2>&1 || say "$service may start at the next boot"
    done
}

# Debian has no package of it. One file is taken out of npm's archive, which has to be this very one.
axe_version=4.14.1
axe_sha256=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
fetch_axe() {
    say "fetching axe-core $axe_version to $newer/axe-core"
    mkdir -p "$newer/axe-core"
    archive=$newer/axe-core/axe-core.tgz
    curl -fsSL --retry 2 --max-time 120 -o "$archive" \
        "${NPM_CONFIG_REGISTRY:-https://registry.npmjs.org}/axe-core/-/axe-core-$axe_version.tgz" ||
        fail "axe-core was not fetched; set NPM_CONFIG_REGISTRY to a registry that this host reaches"
    echo "$axe_sha256  $archive" | sha256sum --check --status || fail "$archive is not axe-core $axe_version"
    tar -xzf "$archive" -C "$newer/axe-core" --strip-components=1 package/axe.min.js package/LICENSE
    rm -f "$archive"
}

fetch_newer() {
    for command in "$@"; do
        case $command in
        axe-core) fetch_axe && continue ;;
        compose-2.26) set -- trixie docker-compose usr/libexec/docker/cli-plugins/docker-compose ;;
        haproxy-3.0) set -- trixie haproxy usr/sbin/haproxy ;;
        *) continue ;;
        esac
        say "fetching $command of Debian 13 to $newer/$command"
        "$(dirname "$0")/debian-suite.sh" "$newer/$command" "$@" 9>&- || fail "$command was not fetched"
    done
}

install_missing() {
    commands=$(missing)
    [ -n "$commands" ] || return 0
    apt_said=$(mktemp)
    trap 'rm -f "$apt_said"' EXIT
    # First, because a fresh machine has no package lists.
    apt update
    # shellcheck disable=SC2086,SC2046 # lists of words
    set -- $(packages_for $commands | tr ' ' '\n' | sort -u)
    say "installing $*"
    # shellcheck disable=SC2086 # a list of words
    still=$(services_of $commands)
    # Without systemd dockerd is started below. The package's own script, and with it the installation,
    # fails where it may not raise limits, as in a container.
    dockerd=docker
    [ ! -d /run/systemd/system ] || dockerd=
    # shellcheck disable=SC2086 # lists of words
    keep_still $still $dockerd
    # shellcheck disable=SC2086 # a list of words
    without_database $commands
    apt install -y --no-install-recommends "$@"
    # shellcheck disable=SC2086 # a list of words
    let_start $still
    # shellcheck disable=SC2086 # a list of words
    fetch_newer $commands
    commands=$(missing | tr '\n' ' ')
    [ -z "$commands" ] || fail "still missing after installing $*: $commands"
}

# Prints the process of a pid file, if it runs and has the expected name. A file with the pid of
# another process is stale, and would keep the daemon from starting.
living() {
    [ -r "$1" ] || return 1
    pid=$(cat "$1")
    [ -n "$pid" ] && name=$(cat "/proc/$pid/comm" 2>/dev/null) || return 1
    [ "$name" = "$2" ] && return 0
    say "removing $1: process $pid is $name, not $2"
    rm -f "$1"
    return 1
}

# Waits up to a minute for dockerd, or until process $1 is gone.
wait_for_dockerd() {
    until=$(($(date +%s) + 60))
    while [ "$(date +%s)" -lt "$until" ]; do
        if [ -S "$socket" ] && docker=$(docker_version); then return 0; fi
        kill -0 "$1" 2>/dev/null || return 1
        sleep 0.2
    done
    return 1
}

explain_no_dockerd() {
    [ ! -r "$log" ] || tail -n 20 "$log" >&2
    fail "dockerd does not answer at $socket; the end of $log is above" \
        "inside a container dockerd needs the container to run with --privileged" \
        "if the log complains about overlay, set" \
        "  PLIMSOLL_SETUP_DOCKERD_FLAGS=--storage-driver=vfs and run this again" \
        "if it complains about iptables, try: update-alternatives --set iptables" \
        "  /usr/sbin/iptables-legacy"
}

start_dockerd() {
    if [ -d /run/systemd/system ]; then
        systemctl start docker 9>&- || fail "see: journalctl -u docker"
        # Process 1 never ends, so this waits the full minute.
        wait_for_dockerd 1 || fail "docker runs but does not answer at $socket"
        say "started docker with systemctl"
        return
    fi
    if living "$pidfile" dockerd; then
        say "dockerd runs as process $pid; waiting for its answer"
        wait_for_dockerd "$pid" || fail "dockerd (process $pid) does not answer at $socket;" \
            "look at its log, or end it with: kill $pid"
        return
    fi
    # dockerd would wait for a containerd that does not exist.
    living "$exec_root/containerd/containerd.pid" containerd || true
    # shellcheck disable=SC2086 # a list of flags
    setsid dockerd $dockerd_flags >"$log" 2>&1 </dev/null 9>&- &
    started=$!
    wait_for_dockerd "$started" || explain_no_dockerd
    say "started dockerd as process $started, logging to $log"
}

say_how_by_hand() {
    commands=$(missing | tr '\n' ' ')
    [ -z "$commands" ] || echo "setup: missing: $commands" >&2
    have docker && ! docker_version >/dev/null &&
        echo "setup: docker does not answer at $socket to user $(id -un)" >&2
    if have apt-get; then
        # shellcheck disable=SC2086 # a list of words
        by_hand=$(packages_for $further | tr '\n' ' ')
        [ -z "$further" ] || echo "setup: programs of Debian 13 are fetched as root only" >&2
        fail "run this script as root (sudo $0), or by hand:" \
            "  sudo apt-get install docker.io iptables haproxy iproute2 gcc libc6-dev $by_hand" \
            "  sudo systemctl start docker    # or: sudo dockerd &" \
            "  sudo adduser $(id -un) docker     # then log in again"
    fi
    fail "this script installs only on Debian and its relatives; with your package manager get" \
        "  Docker, HAProxy, iproute2, a C compiler$(echo "$further" | tr '\n' ' ')" \
        "then start dockerd, for example: sudo systemctl start docker"
}

if ! have cargo; then
    [ ! -x "${HOME:-/root}/.cargo/bin/cargo" ] ||
        fail "cargo is installed but not in PATH; run: . \"\$HOME/.cargo/env\""
    fail "cargo is missing; get Rust as https://rustup.rs says, then run this again"
fi
! is_ready || finish
if [ "$(id -u)" != 0 ] || ! have apt-get; then say_how_by_hand; fi

exec 9>"$lock"
flock -w 900 9 || fail "another setup has held $lock for 15 minutes"
# Another run may have done everything meanwhile.
! is_ready || finish
install_missing
# A package may have started it.
docker=$(docker_version) || start_dockerd
finish
