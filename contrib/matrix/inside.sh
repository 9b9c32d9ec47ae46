#!/bin/sh
# One run of run.sh, in namespaces of its own for mounts, network and processes. Docker, HAProxy and
# compose of given trees take the place of the machine's. Everything ends with this script.
# Usage: inside.sh RUN HAPROXY_TREE DOCKER_TREE COMPOSE_TREE FILTER
#
# It leaves in RUN the logs, the folders of failed tests, and the row for the table.
set -eu

run=$1
haproxy=$2
docker=$3
compose=$4
filter=$5
plugin=usr/libexec/docker/cli-plugins/docker-compose

# The whole row, for a run that ends early.
give_up() {
    echo "matrix: $1" >&2
    echo "| $(date +%F) | - | - | - | 0 | 0 | 0 | $1 |" >"$run/row"
    exit 1
}

separate() {
    ip link set lo up
    mount -t tmpfs -o mode=755 run /run
    # The network devices of this namespace, and the control groups of the machine.
    mkdir -p /run/lock /run/tmp /run/cgroup
    mount --rbind /sys/fs/cgroup /run/cgroup
    mount -t sysfs sysfs /sys
    mount --move /run/cgroup /sys/fs/cgroup
    rmdir /run/cgroup
    mount --bind "$run/tmp" /run/tmp
    mount --bind "$run/docker" /var/lib/docker
    mount --bind "$haproxy/usr/sbin/haproxy" /usr/sbin/haproxy
    mount --bind "$compose/$plugin" "/var/cache/plimsoll/compose-2.26/$plugin"
    for program in usr/bin/docker usr/bin/docker-init usr/bin/containerd \
        usr/bin/containerd-shim-runc-v2 usr/sbin/dockerd usr/sbin/docker-proxy usr/sbin/runc; do
        ln -s "$docker/$program" "$run/bin"
    done
    for program in iptables iptables-save iptables-restore ip6tables ip6tables-save \
        ip6tables-restore; do
        ln -s "$docker/usr/sbin/xtables-nft-multi" "$run/bin/$program"
    done
    # Short: a socket's path is limited.
    export TMPDIR=/run/tmp PATH="$run/bin:$PATH" CARGO_NET_OFFLINE=true
    XTABLES_LIBDIR=$(dirname "$(find "$docker/usr/lib" -name libxt_conntrack.so)")
    export XTABLES_LIBDIR
    unset DOCKER_HOST DOCKER_CONTEXT
}

start_dockerd() {
    dockerd >"$run/dockerd.log" 2>&1 </dev/null &
    dockerd=$!
    until=$(($(date +%s) + 60))
    until docker version >/dev/null 2>&1; do
        if [ "$until" -lt "$(date +%s)" ] || ! kill -0 "$dockerd" 2>/dev/null; then
            give_up "dockerd does not answer: $(tail -n 1 "$run/dockerd.log" | tr '|' '/')"
        fi
        sleep 0.2
    done
}

versions() {
    format='{{.Server.Version}}{{range .Server.Components}}, {{.Name}} {{.Version}}{{end}}'
    # The engine is named first and again.
    engine=$(docker version --format "$format" | sed 's/, Engine [^,]*//; s/, docker-init.*//')
    of_haproxy=$(haproxy -v | sed -n '1s/^.*version \([^ ]*\).*/\1/p')
    of_compose=$("$compose/$plugin" version --short)
    echo "| $(date +%F) | $of_haproxy | $engine | $of_compose"
}

# The last number before a word of cargo's summary.
count() { sed -n "s/^test result:.* \([0-9]*\) $2.*/\1/p" "$1"; }

failures() { sed -n 's/^test \([^ ]*\) \.\.\. FAILED$/\1/p' "$1"; }

# The first line of a panic, or cargo's.
reason() {
    text=$(sed -n '/panicked at/{n;p;q}' "$1")
    echo "${text:-$(tail -n 1 "$1")}" | cut -c 1-160 | tr '|`' "/'"
}

# A failed test again, alone: another may have taken its time.
again() {
    log=$run/$1-$(echo "$2" | tr ':' '_').log
    if cargo test --locked --test "$1" -- --exact "$2" >"$log" 2>&1 &&
        [ "$(count "$log" passed)" = 1 ]; then
        notes="$notes\`$2\` failed, and passed alone. "
    else
        notes="$notes\`$2\` failed twice: $(reason "$log"). "
        bad=1
    fi
}

# tests NAME THREADS FILTER...: adds to the counts.
tests() {
    log=$run/$1.log
    name=$1
    threads=$2
    shift 2
    cargo test --locked --test "$name" -- --test-threads="$threads" "$@" 2>&1 | tee "$log"
    [ -n "$(count "$log" passed)" ] || give_up "$name has no result: $(reason "$log")"
    passed=$((passed + $(count "$log" passed)))
    failed=$((failed + $(count "$log" failed)))
    skipped=$((skipped + $(count "$log" ignored)))
    for test in $(failures "$log"); do
        again "$name" "$test"
    done
}

separate
start_dockerd
row=$(versions)
make image
began=$(date +%s)
passed=0
failed=0
skipped=0
notes=
bad=
tests e2e 2 "$filter"
# Those that run HAProxy.
[ -n "$filter" ] || tests it 4 haproxy:: haproxy_modes:: ownership:: backup::
[ "$skipped" = 0 ] || bad=1 notes="$notes$skipped skipped. "
[ "$passed" -gt 0 ] || bad=1 notes="${notes}No test ran. "
echo "$row | $passed | $failed | $(($(date +%s) - began)) | $notes|" >"$run/row"
docker ps -aq | xargs -r docker rm -f >/dev/null
kill "$dockerd"
wait "$dockerd" || true
[ -z "$bad" ]
