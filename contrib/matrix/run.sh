#!/bin/sh
# Runs the end-to-end tests against HAProxy and Docker of several Debian suites, as root:
#
#   contrib/matrix/run.sh                                   the three pairs below
#   contrib/matrix/run.sh --haproxy 3.0 --docker 20.10      one pair
#   contrib/matrix/run.sh --haproxy newest fleet::          tests of that name only
#
# HAProxy is 2.6 (Debian 12), 3.0 (Debian 13) or newest (sid or experimental), Docker 20.10, 26.1 or
# newest, by default of the same suite. Programs are fetched to target/matrix, where a run has its
# own Docker, too; see inside.sh. The result without a filter is kept in contrib/matrix.md. A test
# that fails is run again alone; if it fails again, this fails.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
matrix=$top/target/matrix
table=contrib/matrix.md

fail() {
    for line in "$@"; do
        echo "matrix: $line" >&2
    done
    exit 1
}

suites_of() {
    case $1 in
    2.6 | 20.10) echo bookworm ;;
    3.0 | 26.1) echo trixie ;;
    newest) echo sid experimental ;;
    *) fail "no version $1: HAProxy is 2.6, 3.0 or newest, Docker is 20.10, 26.1 or newest" ;;
    esac
}

# The version of the other program in the same suite.
partner_of() {
    case $1 in
    2.6) echo 20.10 ;;
    3.0) echo 26.1 ;;
    20.10) echo 2.6 ;;
    26.1) echo 3.0 ;;
    *) echo newest ;;
    esac
}

# fetch NAME SUITES PACKAGES EXECUTABLE...: to $matrix/NAME
fetch() {
    name=$1
    shift
    contrib/debian-suite.sh "$matrix/$name" "$@" || fail "$name was not fetched"
}

fetch_all() {
    suites=$(suites_of "$1")
    fetch "haproxy-$1" "$suites" haproxy usr/sbin/haproxy
    suites=$(suites_of "$2")
    # Debian 12 has the client in docker.io, and no compose v2.
    packages="docker.io docker-cli iptables"
    compose=$2
    if [ "$2" = 20.10 ]; then
        packages="docker.io iptables"
        compose=26.1
    fi
    fetch "docker-$2" "$suites" "$packages" usr/bin/docker usr/sbin/dockerd \
        usr/sbin/docker-proxy usr/bin/containerd usr/bin/containerd-shim-runc-v2 usr/sbin/runc \
        usr/sbin/xtables-nft-multi
    fetch "compose-$compose" "$(suites_of "$compose")" docker-compose \
        usr/libexec/docker/cli-plugins/docker-compose
}

# A killed dockerd leaves the control groups of its containers.
remove_groups() {
    find "$run" -maxdepth 5 -path '*/containers/*' -type d -prune 2>/dev/null |
        while read -r container; do
            rmdir "/sys/fs/cgroup/docker/${container##*/}" \
                /sys/fs/cgroup/*/docker/"${container##*/}" 2>/dev/null || true
        done
}

# All processes of a run end with unshare.
child=
end() {
    if [ -n "$child" ]; then
        kill -KILL "$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
        remove_groups
        rm -rf "$run/docker"
    fi
}
trap end EXIT
trap 'exit 1' HUP INT TERM

# run_pair HAPROXY DOCKER [FILTER]
run_pair() {
    echo "matrix: HAProxy $1, Docker $2"
    fetch_all "$1" "$2"
    run=$matrix/run-$1-$2
    rm -rf "$run"
    mkdir -p "$run/docker" "$run/tmp" "$run/bin"
    unshare --mount --net --pid --fork --kill-child --mount-proc contrib/matrix/inside.sh \
        "$run" "$matrix/haproxy-$1" "$matrix/docker-$2" "$matrix/compose-$compose" "${3:-}" &
    child=$!
    status=0
    wait "$child" || status=$?
    end
    child=
    [ -s "$run/row" ] || fail "HAProxy $1, Docker $2: there is no result; see $run"
    cat "$run/row"
    [ -n "${3:-}" ] || keep "$1" "$2"
    return "$status"
}

# Replaces the pair's row.
keep() {
    row="| $1, $2 $(cat "$run/row")"
    {
        sed '/^| [0-9n]/d' "$table"
        {
            grep '^| [0-9n]' "$table" | grep -vF "| $1, $2 |" || true
            echo "$row"
        } | LC_ALL=C sort
    } >"$run/table"
    cat "$run/table" >"$table"
}

haproxy=
docker=
while [ $# -gt 0 ]; do
    case $1 in
    --haproxy | --docker) [ $# -gt 1 ] || fail "$1 needs a version" ;;
    esac
    case $1 in
    --haproxy) haproxy=$2 && shift ;;
    --docker) docker=$2 && shift ;;
    -*) fail "usage: $0 [--haproxy 2.6|3.0|newest] [--docker 20.10|26.1|newest] [FILTER]" ;;
    *) break ;;
    esac
    shift
done
[ $# -le 1 ] || fail "one filter only, got: $*"
filter=${1:-}
[ "$(id -u)" = 0 ] || fail "namespaces, mounts and dockerd need root"
cargo fetch --locked --quiet
cargo test --locked --no-run --test e2e --test it
if [ -n "$haproxy$docker" ]; then
    : "${haproxy:=$(partner_of "$docker")}" "${docker:=$(partner_of "$haproxy")}"
    run_pair "$haproxy" "$docker" "$filter"
    exit
fi
failed=
for haproxy in 2.6 3.0 newest; do
    docker=$(partner_of "$haproxy")
    run_pair "$haproxy" "$docker" "$filter" || failed="$failed $haproxy,$docker"
done
[ -n "$filter" ] || cat "$table"
[ -z "$failed" ] || fail "failed:$failed; logs are in $matrix"
