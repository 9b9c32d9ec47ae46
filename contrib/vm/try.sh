#!/bin/sh
# Plays a protocol in a whole Debian 13 (machine.sh): the README's install path, scaling, docker
# compose, a Swarm, restarts of Docker and of the machine, backup, removal, upgrade. Meanwhile
# clients on this host count their failed requests. Prints a table, and keeps it as protocol.md.
#
#   try.sh RELEASE.tar.gz LAST_RELEASE.tar.gz APP
#
# APP is the static example app. Each step ends when a state is reached; the limits are generous, as
# an emulated machine is ten times slower. With PLIMSOLL_VM_KEEP=1 the machine runs on after a
# failure.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder=${PLIMSOLL_VM_FOLDER:-$here/../../target/vm}
port=${PLIMSOLL_VM_PORT:-20022}
table=$folder/table
loads=$folder/loads
web_port=$((port + 1)) api_port=$((port + 2)) tasks_port=$((port + 3)) ingress_port=$((port + 4))
app=plimsoll-demo-app:1
# Seconds for whatever Docker or plimsoll has to do.
long=600

fail() {
    echo "try: $*" >&2
    exit 1
}

[ $# = 3 ] || fail "usage: $0 RELEASE.tar.gz LAST_RELEASE.tar.gz APP"
for file in "$@"; do [ -f "$file" ] || fail "$file does not exist; make try-vm makes it"; done
command -v python3 >/dev/null || fail "python3 is missing; install it: apt-get install -y python3"
release=$1 last_release=$2 example=$3

machine() { "$here/machine.sh" "$@"; }
inside() { machine run "set -e; $*"; }
now() { date +%s; }
lines() { grep -c . || true; }

# within SECONDS WORDS COMMAND...: tries until it succeeds.
within() {
    until=$(($(now) + $1))
    words=$2
    shift 2
    while ! "$@" >"$folder/said" 2>&1; do
        if [ "$until" -lt "$(now)" ]; then
            cat "$folder/said" >&2
            fail "not reached: $words"
        fi
        sleep 0.5
    done
    echo "ok  $words"
}

# note WORDS: for the step's row.
note() { seen=${seen:+$seen; }$*; }

# step NAME FUNCTION: one row of the table.
step() {
    echo "--- $1"
    name=$1 began=$(now) seen='' sent=0 failed=0
    "$2"
    [ "$sent" -gt 0 ] || { sent=- && failed=-; }
    echo "| $1 | $(($(now) - began)) | $sent | $failed | $seen |" >>"$table"
    tail -n 1 "$table"
    name=
}

# load NAME PORT PATH CLIENTS PAUSE_S TIMEOUT_S
load() {
    rm -f "$loads/$1"
    python3 "$here/load.py" "$loads/$1" "http://127.0.0.1:$2$3" "$4" "$5" "$6" &
    echo $! >"$loads/$1.pid"
}

# Ends a load, and sets its `requests`, `lost`, `gap` and `reason`.
unload() {
    kill -TERM "$(cat "$loads/$1.pid")"
    wait "$(cat "$loads/$1.pid")" || fail "load $1 died"
    rm "$loads/$1.pid"
    read -r requests lost gap reason <"$loads/$1"
    sent=$((sent + requests)) failed=$((failed + lost))
    echo "ok  $1: $requests requests, $lost failed, at most $gap s without an answer, $reason"
}

# Ends a load that must have lost nothing.
unload_whole() {
    unload "$1"
    [ "$lost" = 0 ] || fail "$1: $lost of $requests requests failed, first: $reason"
    [ "$requests" -gt 5 ] || fail "$1: only $requests requests were sent"
}

is_served() { curl -fsS -o "$folder/answer" --max-time 5 "http://127.0.0.1:$1/"; }
has_ready() { inside "plimsoll status $1 --json" | grep -qx "  \"ready\": $2,"; }
# All of its replicas are ready, and none is draining: NAME NUMBER.
is_settled() {
    inside "plimsoll status $1 --json" |
        grep -cx -e "  \"ready\": $2," -e '  "leaving": 0,' | grep -qx 2
}
is_healthy() { inside 'plimsoll healthcheck'; }

# The config of a service. Docker's calls may take ten times longer than on a real machine.
one() {
    case $1 in
    web)
        echo "\"image\": \"$app\", \"port\": 8080, \"listen\": 80,
            \"cpus\": 0.25, \"memory\": \"64m\","
        ;;
    api) echo '"compose": { "project": "shop", "service": "api" }, "port": 8080, "listen": 81,' ;;
    tasks) echo '"engine": "swarm", "swarm_service": "shop_tasks", "port": 8080, "listen": 82,' ;;
    esac
    case $1 in
    tasks)
        echo '"metrics": [{ "source": "haproxy", "field": "sessions", "target": 2 }],
            "behavior": { "scale_down": { "stabilization": 5 } },'
        ;;
    *) echo '"scale_up_threshold": 70, "scale_down_threshold": 20, "drain_timeout": 60,' ;;
    esac
    echo '"min_replicas": 1, "max_replicas": 3, "cooldown_period": { "up": 3, "down": 10 },
        "health_check": { "path": "/health", "interval": 5, "timeout": 5 } }'
}

# configure ORDER NAME...: the daemon reads a config with these services, by a reload or restart.
configure() {
    order=$1
    shift
    {
        echo '{ "autoscaler": { "check_interval": 3, "cpu_reserve": 0, "log_format": "journal" },
            "docker": { "timeout": 120 }, "services": {'
        comma=
        for service in "$@"; do
            echo "$comma \"$service\": { $(one "$service")"
            comma=,
        done
        echo '} }'
    } | inside 'cat >/etc/plimsoll/config.json'
    inside "plimsoll check && systemctl $order plimsoll"
}

# The n-th block of commands in the README's section about the installation.
readme_block() {
    tar -xzOf "$release" --wildcards '*/README.md' | awk -v want="$1" '
        /^## / { inside = /^## Install/ }
        inside && /^```sh/ { block++; printing = 1; next }
        /^```/ { printing = 0 }
        inside && printing && block == want'
}

install_by_readme() {
    file=$(basename "$release")
    inside "cat >$file" <"$release"
    readme_block 1 | grep -q install.sh || fail "the README has no block that installs"
    inside "export DEBIAN_FRONTEND=noninteractive; $(readme_block 1)"
    inside 'docker version --format "{{.Server.Version}}"; haproxy -v | head -n 1'
}

make_image() {
    inside 'mkdir -p app && cat >app/app' <"$example"
    inside 'cat >app/image.sh' <"$here/../demo/image.sh"
    inside "chmod +x app/app && sh app/image.sh app/app $app"
}

# "Set your image and its port": of the example config, only the image is another one.
start_by_readme() {
    make_image
    inside "sed -i 's|shop/web:1.4|$app|' /etc/plimsoll/config.json"
    inside "grep -q $app /etc/plimsoll/config.json"
    inside "$(readme_block 2)"
    within $long "one replica of the example config is ready" has_ready web 1
    within 60 "port 80 serves" is_served "$web_port"
    doctor=$(inside 'plimsoll doctor' | tail -n 1)
    note "doctor: $doctor"
}

scale_web() {
    load quiet "$web_port" / 1 0.5 60
    # The limit of Docker's calls is read at the start only.
    configure restart web
    within $long "one replica of the new specification is ready" is_settled web 1
    inside 'curl -fsS 127.0.0.1:8000/metrics' >"$folder/metrics"
    grep -qF 'plimsoll_metric_source_info{source="files"} 1' "$folder/metrics" ||
        fail "the control groups' files are not read"
    note "load is read from the control groups' files"
    asked=$(now)
    load burning "$web_port" "/burn?ms=20" 4 0 60
    within $long "load: three replicas are ready" has_ready web 3
    note "1 to 3 in $(($(now) - asked)) s"
    unload_whole burning
    asked=$(now)
    within $long "no load: one replica is left" is_settled web 1
    note "3 to 1 in $(($(now) - asked)) s"
    unload_whole quiet
}

compose_containers() { inside 'docker compose -p shop ps -q' | lines; }
has_containers() { [ "$(compose_containers)" = "$1" ]; }

scale_compose() {
    inside 'DEBIAN_FRONTEND=noninteractive apt-get -q install -y docker-compose && mkdir -p shop'
    inside 'cat >shop/compose.yaml' <<END
services:
  api:
    image: $app
    cpus: 0.25
    mem_limit: 64m
END
    inside 'cd shop && docker compose up -d'
    configure reload web api
    within $long "compose's container is ready" is_settled api 1
    within $long "HAProxy serves it" is_served "$api_port"
    load burning "$api_port" "/burn?ms=20" 4 0 60
    within $long "load: three of compose's containers are ready" has_ready api 3
    within $long "docker compose shows the same" has_containers 3
    unload_whole burning
    within $long "no load: one is left" is_settled api 1
    within $long "docker compose shows the same" has_containers 1
    note "1 to 3 to 1; \`docker compose ps\` shows the same"
}

# Compose takes clones away without a drain: each client may lose what it has in hand, once for each
# clone.
compose_up() {
    inside 'plimsoll scale api 3 --reason up'
    within $long "three are held" is_settled api 3
    clients=8
    load steady "$api_port" "/slow?ms=200" $clients 0 60
    inside 'cd shop && docker compose up -d'
    within $long "clones are made anew" is_settled api 3
    unload steady
    note "two clones taken away; $clients clients, at most $gap s without an answer"
    [ "$lost" -le $((clients * 2)) ] || fail "more was lost than the clones had in hand: $reason"
    inside 'plimsoll scale api auto'
    within $long "one is left" is_settled api 1
}

docker_answers() { inside 'docker info --format {{.LiveRestoreEnabled}}' | grep -qx "$1"; }
set_live_restore() {
    inside "echo '{ \"live-restore\": $1 }' >/etc/docker/daemon.json && systemctl reload docker"
    within 60 "live-restore is $1" docker_answers "$1"
}
ids() { inside 'docker ps -q --no-trunc | sort'; }

restart_docker_live() {
    set_live_restore true
    before=$(ids)
    load web "$web_port" / 2 0.1 60
    load api "$api_port" / 2 0.1 60
    inside 'systemctl restart docker'
    within $long "Docker answers" docker_answers true
    within $long "the daemon is healthy" is_healthy
    within $long "web is ready" is_settled web 1
    within $long "api is ready" is_settled api 1
    unload_whole web
    unload_whole api
    [ "$before" = "$(ids)" ] || fail "containers were replaced"
    note "the same containers"
    set_live_restore false
}

# Connections that went through IPVS, that is, through the ingress network.
ingress_connections() {
    total=$(inside 'nsenter --net=/run/docker/netns/ingress_sbox cat /proc/net/ip_vs_stats' |
        awk 'NR == 3 { print $1 }')
    echo $((0x$total))
}

scale_swarm() {
    inside "docker swarm init >/dev/null
        docker service create --quiet --detach --no-resolve-image \
        --name shop_tasks --publish 83:8080 --stop-grace-period 10s $app"
    within $long "Swarm's published port serves" is_served "$ingress_port"
    configure reload web api tasks
    within $long "HAProxy serves it" is_served "$tasks_port"
    before=$(ingress_connections)
    load direct "$ingress_port" / 1 0.3 60
    load slow "$tasks_port" "/slow?ms=400" 6 0 60
    within $long "load: three tasks are ready" has_ready tasks 3
    unload_whole slow
    through=$requests
    within $long "no load: one task is left" is_settled tasks 1
    unload_whole direct
    through=$((through + requests))
    passed=$(($(ingress_connections) - before))
    [ "$passed" -ge "$through" ] || fail "of $through requests only $passed went through IPVS"
    note "1 to 3 to 1; $passed connections through IPVS"
}

# What clients see of an outage: requests with a short time limit, on all three services.
watch_all() {
    load web "$web_port" / 1 0.2 3
    load api "$api_port" / 1 0.2 3
    load tasks "$tasks_port" / 1 0.2 3
}

all_serve() {
    for service in web api tasks; do
        within $long "$service is ready" has_ready $service 1
        eval "within $long \"$service serves\" is_served \$${service}_port"
    done
    for service in web api tasks; do
        unload $service
        note "$service down for $gap s"
        eval "within 60 \"$service still serves\" is_served \$${service}_port"
    done
}

restart_docker() {
    watch_all
    inside 'systemctl restart docker'
    within $long "Docker answers" docker_answers false
    all_serve
}

boot_id() { inside 'cat /proc/sys/kernel/random/boot_id'; }
is_another_boot() { [ "$(boot_id)" != "$before" ]; }

reboot() {
    before=$(boot_id)
    watch_all
    machine run 'systemctl reboot' || true
    machine wait $long
    within $long "it booted" is_another_boot
    all_serve
}

newest_backup() { inside "cd plimsoll-*/ && contrib/backup.sh list | tail -n 1"; }
is_held() { inside "plimsoll status web --json" | grep -q '"reason": "before the backup"'; }

backup() {
    load web "$web_port" / 1 0.2 60
    inside 'plimsoll scale web 2 --reason "before the backup"'
    within $long "two replicas are held" is_settled web 2
    inside 'cd plimsoll-*/ && contrib/backup.sh save'
    archive=/var/backups/plimsoll/$(newest_backup)
    inside "cd plimsoll-*/ && contrib/backup.sh verify $archive"
    inside 'systemctl stop plimsoll && rm /var/lib/plimsoll/state.json /etc/plimsoll/config.json'
    inside "cd plimsoll-*/ && contrib/backup.sh restore $archive"
    inside 'systemctl start plimsoll'
    within $long "the hold of before is back" is_held
    within $long "two replicas are ready" is_settled web 2
    unload_whole web
    inside 'plimsoll scale web auto'
    note "config and state removed and restored"
}

remove() {
    load web "$web_port" / 2 0.1 60
    load api "$api_port" / 2 0.1 60
    load tasks "$tasks_port" / 2 0.1 60
    inside 'cd plimsoll-*/ && contrib/install.sh uninstall'
    ! inside 'command -v plimsoll || systemctl cat plimsoll' 2>/dev/null ||
        fail "plimsoll is still there"
    inside 'test -e /etc/plimsoll/config.json && test -d /var/lib/plimsoll'
    inside 'pgrep -x haproxy >/dev/null' || fail "HAProxy is gone"
    for service in web api tasks; do unload_whole $service; done
    note "HAProxy and all replicas keep serving"
}

# Without what the newer version left: its state may have another format.
install_last() {
    # shellcheck disable=SC2016 # for the shell inside
    inside 'pkill -x haproxy
        docker ps -aq --filter label=io.plimsoll.service=web | xargs -r docker rm -f
        rm -rf /var/lib/plimsoll /run/plimsoll; mkdir last' >/dev/null
    inside 'cd last && tar -xzf -' <"$last_release"
    inside 'cd last/plimsoll-*/ && contrib/install.sh && systemctl enable --now plimsoll'
    for service in web api tasks; do within $long "$service is ready" is_settled $service 1; done
}

# shellcheck disable=SC2016 # for the shell inside
running_sum() { inside 'sha256sum </proc/$(systemctl show -P MainPID plimsoll)/exe'; }
new_sum() { tar -xzOf "$release" --wildcards '*/plimsoll' | sha256sum; }
runs_new() { [ "$(running_sum)" = "$(new_sum)" ]; }

upgrade() {
    install_last
    ! runs_new || echo "try: the last release is the same program as this one" >&2
    for service in web api tasks; do
        eval "within 60 \"$service serves\" is_served \$${service}_port"
        eval "load $service \$${service}_port / 2 0.1 60"
    done
    inside "cd plimsoll-*/ && PLIMSOLL_INSTALL_WAIT=$long contrib/install.sh"
    # An installer that only copies says that a restart is next.
    runs_new || inside 'systemctl restart plimsoll'
    within 60 "the new program runs" runs_new
    within $long "it is healthy" is_healthy
    for service in web api tasks; do
        within $long "$service is ready" is_settled $service 1
        unload_whole $service
    done
    note "from $(basename "$last_release" .tar.gz)"
}

versions() {
    # shellcheck disable=SC2016 # for the shell inside
    inside '
        echo "Debian $(cat /etc/debian_version), kernel $(uname -r),"
        echo "$(systemctl --version | head -n 1 | cut -d " " -f 1-2),"
        echo "control groups $(stat -f -c %T /sys/fs/cgroup | sed "s/cgroup2fs/version 2/"),"
        echo "Docker $(docker version --format "{{.Server.Version}}"),"
        echo "docker compose $(docker compose version --short),"
        echo "HAProxy $(haproxy -v | sed -n "1s/^.*version \([^ ]*\).*/\1/p"),"
        plimsoll --version'
}

print_table() {
    echo "| step | s | requests | failed | seen |"
    echo "|---|---|---|---|---|"
    cat "$table"
}

write_protocol() {
    {
        echo "# A whole Debian 13, by \`make try-vm\`"
        echo
        echo "$(date -u +%F), QEMU with $(cat "$folder/accelerator"). Failed requests are those of"
        echo "clients that never retry."
        echo
        cat "$folder/versions"
        echo
        print_table
    } >"$here/protocol.md"
}

# shellcheck disable=SC2317 # by the trap
on_exit() {
    code=$?
    trap - EXIT
    set +e
    for file in "$loads"/*.pid; do [ ! -e "$file" ] || kill "$(cat "$file")" 2>/dev/null; done
    if [ "$code" != 0 ]; then
        echo "| ${name:-} | | | | FAILED |" >>"$table"
        print_table >&2
        inside 'plimsoll status; journalctl -u plimsoll --no-pager -n 60; docker ps -a' >&2
    fi
    if [ "$code" = 0 ] || [ -z "${PLIMSOLL_VM_KEEP:-}" ]; then machine stop; fi
    exit "$code"
}

boot() { machine start && note "by $(cat "$folder/accelerator")"; }

mkdir -p "$loads"
: >"$table"
rm -f "$loads"/*
trap on_exit EXIT
trap 'exit 1' HUP INT TERM
step "boot" boot
step "install by the README" install_by_readme
step "check, doctor, start by the README" start_by_readme
step "load out and in" scale_web
step "docker compose: load out and in" scale_compose
step "\`docker compose up -d\` takes clones away" compose_up
step "\`systemctl restart docker\`, live-restore" restart_docker_live
step "Swarm through its ingress network: load out and in" scale_swarm
step "\`systemctl restart docker\`" restart_docker
step "reboot" reboot
step "backup and restore" backup
step "removal" remove
step "upgrade from the last release" upgrade
versions >"$folder/versions"
write_protocol
cat "$here/protocol.md"
