#!/bin/sh
# Tests the systemd unit: boots a Debian with systemd in a container, installs a release there, and
# tries start, reload, restart, crash, hang, stop, upgrade and uninstall, under traffic.
# Usage: contrib/systemd/try.sh RELEASE.tar.gz, as root, with Docker, debootstrap and a network.
#
# The daemon inside uses this host's Docker through its socket. Everything is removed at the end,
# except the Debian image, which the next run uses again.
set -eu

image=plimsoll-try-systemd:1
app=plimsoll-demo-app:1
name=plimsoll-try-$$
release=${1:?usage: try.sh RELEASE.tar.gz}
socket=${PLIMSOLL_SETUP_SOCKET:-/var/run/docker.sock}

fail() {
    echo "try: $*" >&2
    exit 1
}

inside() { docker exec "$name" "$@"; }

remove() {
    docker rm -f "$name" >/dev/null 2>&1 || true
    docker ps -aq --filter "label=io.plimsoll.service=$name" | xargs -r docker rm -f >/dev/null
}

make_image() {
    ! docker image inspect "$image" >/dev/null 2>&1 || return 0
    command -v debootstrap >/dev/null || fail "debootstrap is missing; install it, then run this again"
    echo "try: making a Debian with systemd, once"
    root=$(mktemp -d)
    packages=systemd,systemd-sysv,dbus,haproxy,procps,curl
    debootstrap --variant=minbase --include="$packages" bookworm "$root" >"$root.log" 2>&1 ||
        fail "debootstrap does not work; see $root.log"
    # The distribution's own HAProxy is not the one that is tried.
    rm -f "$root/etc/systemd/system/multi-user.target.wants/haproxy.service"
    tar -C "$root" -c . | docker import - "$image" >/dev/null
    rm -rf "$root" "$root.log"
}

boot() {
    # No more rights than systemd needs to set up units, as some hosts cannot give all of them, and than
    # root on a host has to look at the daemon's process.
    docker run -d --name "$name" --cap-add SYS_ADMIN --cap-add SYS_PTRACE \
        --security-opt seccomp=unconfined \
        --security-opt apparmor=unconfined --cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup \
        --tmpfs /run --tmpfs /run/lock --tmpfs /tmp -v "$socket:/run/docker.sock" \
        -e container=docker "$image" /sbin/init >/dev/null
    # shellcheck disable=SC2016 # for the shell inside
    within 60 "systemd is up" inside sh -c \
        'case $(systemctl is-system-running) in running | degraded) ;; *) exit 1 ;; esac'
}

# within SECONDS WORDS COMMAND...: tries until it succeeds.
within() {
    until=$(($(date +%s) + $1))
    words=$2
    shift 2
    while ! "$@" >/dev/null 2>&1; do
        if [ "$until" -lt "$(date +%s)" ]; then
            inside journalctl -u plimsoll --no-pager -n 40 >&2 || true
            fail "failed: $words"
        fi
        sleep 0.2
    done
    echo "ok  $words"
}

# now WORDS COMMAND...
now() {
    words=$1
    shift
    within 0 "$words" "$@"
}

serves() { inside curl -fsS -o /dev/null --max-time 5 http://127.0.0.1/; }
is() { [ "$(inside systemctl show -P "$1" plimsoll)" = "$2" ]; }
is_ready() { inside systemctl show -P StatusText plimsoll | grep -q '2 of 2 replicas ready$'; }
main() { inside systemctl show -P MainPID plimsoll; }
restarts_pass() { [ "$1" -lt "$(inside systemctl show -P NRestarts plimsoll)" ] && is ActiveState active; }

install_release() {
    docker cp "$release" "$name:/root/release.tar.gz"
    group=$(stat -c %g "$socket")
    inside sh -ec "getent group $group >/dev/null || groupadd -r -g $group docker
        cd /root && tar -xzf release.tar.gz && cd plimsoll-*/ && contrib/install.sh"
    docker exec -i "$name" sh -c 'cat >/etc/plimsoll/config.json' <<END
{ "autoscaler": { "check_interval": 1, "cpu_reserve": 0, "log_format": "journal" },
  "services": { "$name": { "image": "$app", "port": 8080, "listen": 80, "min_replicas": 2,
    "max_replicas": 3, "scale_up_threshold": 75, "scale_down_threshold": 25, "cpus": 0.5,
    "health_check": { "path": "/health", "interval": 1, "timeout": 1 } } } }
END
    # The test need not wait a minute for the watchdog.
    inside sh -ec 'mkdir -p /etc/systemd/system/plimsoll.service.d
        printf "[Service]\nWatchdogSec=6s\n" >/etc/systemd/system/plimsoll.service.d/try.conf
        systemctl daemon-reload'
}

start_traffic() {
    docker exec -d "$name" sh -c 'n=0; failed=0
        while [ ! -e /root/enough ]; do
            n=$((n + 1))
            curl -fsS -o /dev/null --max-time 5 http://127.0.0.1/ || failed=$((failed + 1))
            sleep 0.02
        done
        echo "$n requests, $failed failed" >/root/traffic.new
        mv /root/traffic.new /root/traffic'
}

# First by hand, as root: the HAProxy that this leaves is one that the unit's account cannot replace.
try_as_root() {
    docker exec -d "$name" plimsoll run
    within 60 "run by root, HAProxy serves on port 80" serves
    inside pkill -TERM -x plimsoll
    within 30 "the daemon of root's ends" inside sh -c '! pgrep -x plimsoll'
    inside systemctl start plimsoll
    now "it is active after its first evaluation" is ActiveState active
    within 30 "it reports root's HAProxy" inside sh -c \
        'journalctl -u plimsoll | grep -q "belongs to another user"'
    now "root's HAProxy keeps serving" serves
    inside pkill -USR1 -x haproxy
}

# upgrade STATUS WORDS: install.sh ends with this exit status, and says these words.
upgrade() {
    status=0
    inside sh -c 'cd /root/plimsoll-*/ && PLIMSOLL_INSTALL_WAIT=10 contrib/install.sh' >"$said" 2>&1 ||
        status=$?
    if [ "$status" != "$1" ] || ! grep -q "$2" "$said"; then
        cat "$said" >&2
        fail "the upgrade ended with status $status, not $1 and: $2"
    fi
    echo "ok  an upgrade ends with status $1: $2"
}

# Puts a new version into the release, whose daemon only runs this command.
break_release() {
    # shellcheck disable=SC2016 # for the shell inside
    inside sh -ec 'cd /root/plimsoll-*/
        [ -e real ] || mv plimsoll real
        printf "#!/bin/sh\n[ \"\$1\" != run ] || { echo no such moon; exec %s; }\nexec %s \"\$@\"\n" \
            "$1" "$PWD/real" >plimsoll
        chmod 755 plimsoll' sh "$1"
}

try_upgrades() {
    said=$(mktemp)
    for command in "sleep 1000" false; do
        break_release "$command"
        upgrade 1 "plimsoll .* runs again"
        grep -q "no such moon" "$said" || fail "the log is not shown: $(cat "$said")"
        ! grep -q "no copy is kept" "$said" || fail "the state is not found: $(cat "$said")"
        within 30 "the previous version has its replicas" is_ready
    done
    # Bytes after its end make the binary another build.
    inside sh -ec 'cd /root/plimsoll-*/ && mv -f real plimsoll && echo >>plimsoll'
    upgrade 0 "the previous version is kept"
    within 30 "the new version has its replicas" is_ready
    upgrade 0 "runs already"
    inside sed -i 's/"max_replicas": 3/"max_replicas": 0/' /etc/plimsoll/config.json
    inside sh -ec 'cd /root/plimsoll-*/ && echo >>plimsoll'
    upgrade 1 "nothing was changed"
    inside cp /root/good.json /etc/plimsoll/config.json
    now "it is active as before" is ActiveState active
    rm -f "$said"
}

live() {
    try_as_root
    within 60 "both replicas are ready, and systemctl status says so" is_ready
    within 10 "HAProxy serves on port 80" serves
    now "neither runs as root" inside sh -c '! pgrep -u root -x "plimsoll|haproxy"'
    # shellcheck disable=SC2016 # for the shell inside
    now "HAProxy is in no group of the daemon's" inside sh -c \
        'for pid in $(pgrep -x haproxy); do grep -q "^Groups:[[:space:]]*$" /proc/$pid/status || exit 1; done'
    start_traffic
    inside systemctl reload plimsoll
    now "a reload ends" is ActiveState active
    inside cp /etc/plimsoll/config.json /root/good.json
    inside sed -i 's/"max_replicas": 3/"max_replicas": 0/' /etc/plimsoll/config.json
    now "a reload with a bad config fails" inside sh -c '! systemctl reload plimsoll'
    now "and says what is bad" inside sh -c 'journalctl -u plimsoll | grep -q "max_replicas: must be"'
    now "and the old config stays in use" is ActiveState active
    inside cp /root/good.json /etc/plimsoll/config.json
    inside systemctl restart plimsoll
    within 30 "it is restarted" is_ready
    times=$(inside systemctl show -P NRestarts plimsoll)
    inside kill -KILL "$(main)"
    within 30 "killed, it is started again" restarts_pass "$times"
    times=$(inside systemctl show -P NRestarts plimsoll)
    within 30 "replicas are ready again" is_ready
    inside kill -STOP "$(main)"
    within 60 "hanging, it is started again by the watchdog" restarts_pass "$times"
    within 30 "replicas are ready again" is_ready
    inside systemctl stop plimsoll
    now "it is stopped" is ActiveState inactive
    now "HAProxy keeps serving" serves
    inside systemctl start plimsoll
    within 30 "it continues with the existing replicas" is_ready
    try_upgrades
    inside touch /root/enough
    within 30 "traffic is over" inside test -e /root/traffic
    traffic=$(inside cat /root/traffic)
    case $traffic in *" 0 failed") echo "ok  $traffic" ;; *) fail "$traffic" ;; esac
}

leave() {
    inside systemctl stop plimsoll
    inside systemctl kill plimsoll
    within 30 "HAProxy ends on SIGTERM" inside sh -c '! pgrep haproxy'
    inside sh -c 'cd /root/plimsoll-*/ && contrib/install.sh uninstall'
    now "the program is gone" inside sh -c '! command -v plimsoll'
    now "the config is not" inside test -e /etc/plimsoll/config.json
}

docker image inspect "$app" >/dev/null 2>&1 || fail "image $app is missing: make image"
trap remove EXIT
trap 'exit 1' HUP INT TERM
make_image
boot
install_release
# shellcheck disable=SC2016 # for the shell inside
now "systemd finds no fault in the units" inside sh -c \
    '[ -z "$(systemd-analyze verify plimsoll.service plimsoll-backup.timer 2>&1)" ]'
inside systemd-analyze security plimsoll.service --no-pager | tail -n 1
live
leave
