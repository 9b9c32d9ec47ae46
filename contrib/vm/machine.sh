#!/bin/sh
# A whole Debian 13 in QEMU, for try.sh, which plays a protocol in it:
#
#   machine.sh start         boots a fresh copy of the disk; the first time the disk is made, which
#                            takes some minutes
#   machine.sh run COMMAND   runs a shell command in it as root, with our stdin
#   machine.sh wait SECONDS  waits until it can be reached, by a connection of its own
#   machine.sh stop          shuts it down
#
# Everything is below target/vm; remove that folder to have the disk made anew. Needs root, as
# debootstrap does. The guest has no network but what is forwarded to it from ports of 127.0.0.1.
#
#   PLIMSOLL_VM_FOLDER   where it lives             (target/vm)
#   PLIMSOLL_VM_PORT     the first of five ports    (20022)
#   PLIMSOLL_VM_MEMORY   memory in MiB              (3072)
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
folder=${PLIMSOLL_VM_FOLDER:-$top/target/vm}
port=${PLIMSOLL_VM_PORT:-20022}
memory=${PLIMSOLL_VM_MEMORY:-3072}
disk=$folder/disk.img
pid_file=$folder/qemu.pid
console=$folder/console.log
# Of a Unix socket, whose path has to be short.
master=/run/plimsoll-vm-$port.ssh
# What a provider's Debian has. What the README installs is only fetched.
packages=systemd,systemd-sysv,dbus,udev,kmod,linux-image-amd64,openssh-server,ca-certificates
packages=$packages,curl,iproute2,procps,netbase,libpam-systemd,apparmor,iptables,perl,python3,git
packages=$packages,xz-utils,less,needrestart
fetched='docker.io haproxy docker-compose'

say() { echo "machine: $*"; }

fail() {
    for line in "$@"; do
        echo "machine: $line" >&2
    done
    exit 1
}

# need COMMAND PACKAGE
need() {
    command -v "$1" >/dev/null || fail "$1 is missing" "install it: apt-get install -y $2"
}

guest() {
    ssh -F /dev/null -p "$port" -i "$folder/key" -o BatchMode=yes -o IdentitiesOnly=yes \
        -o IdentityAgent=none -o HostKeyAlias=vm -o UserKnownHostsFile="$folder/known_hosts" \
        -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o LogLevel=ERROR \
        -o ConnectTimeout=10 -o ServerAliveInterval=10 -o ServerAliveCountMax=3 \
        -o ControlMaster=auto -o ControlPersist=600 -o ControlPath="$master" \
        root@127.0.0.1 "$@"
}

leave_master() {
    [ ! -S "$master" ] || ssh -F /dev/null -o ControlPath="$master" -O exit vm 2>/dev/null || true
}

# Mirrors fail now and then.
twice() {
    "$@" >>"$folder/make.log" 2>&1 && return
    say "once more: $*"
    "$@" >>"$folder/make.log" 2>&1 || fail "failed: $*" "see $folder/make.log"
}

make_root() {
    # The mirror of this machine's Debian; security updates have another one.
    # shellcheck disable=SC2016 # apt-get's own variables
    format='$(CREATED_BY) $(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)'
    mirror=$(apt-get indextargets --format "$format" |
        sed -n 's/^Packages Debian Debian main //p' | head -n 1)
    [ -n "$mirror" ] || fail "apt knows no mirror of Debian here; run apt-get update first"
    debootstrap --variant=minbase --include="$packages" trixie "$root" "$mirror" \
        >"$folder/make.log" 2>&1 || fail "debootstrap failed; see $folder/make.log"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    twice chroot "$root" apt-get -q update
    # As on a host with a network, but fetched beforehand.
    # shellcheck disable=SC2086 # a list of words
    twice chroot "$root" apt-get -q install -y --download-only $fetched
    : >"$root/etc/resolv.conf"
}

configure_root() {
    printf '[Match]\nName=en* eth*\n[Network]\nDHCP=ipv4\n' \
        >"$root/etc/systemd/network/80-vm.network"
    echo '/dev/vda / ext4 defaults 0 1' >"$root/etc/fstab"
    echo vm >"$root/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 vm\n' >"$root/etc/hosts"
    mkdir -p "$root/etc/systemd/system.conf.d"
    printf '[Manager]\nDefaultTimeoutStartSec=10min\nDefaultDeviceTimeoutSec=10min\n' \
        >"$root/etc/systemd/system.conf.d/slow.conf"
    # They complain that /proc is not mounted.
    chroot "$root" systemctl -q enable systemd-networkd ssh 2>>"$folder/make.log"
    chroot "$root" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer 2>>"$folder/make.log"
    rm -f "$folder/key" "$folder/key.pub"
    ssh-keygen -q -t ed25519 -N '' -C vm -f "$folder/key"
    install -D -m 600 "$folder/key.pub" "$root/root/.ssh/authorized_keys"
    sed 's/^/vm /' "$root/etc/ssh/ssh_host_ed25519_key.pub" >"$folder/known_hosts"
}

make_disk() {
    need debootstrap debootstrap
    need mkfs.ext4 e2fsprogs
    say "making a Debian 13, once; this takes some minutes"
    mkdir -p "$folder"
    # Devices and programs of other users, which some places for temporary files forbid.
    root=$folder/root
    rm -rf "$root"
    make_root
    configure_root
    cp "$root"/boot/vmlinuz-* "$folder/vmlinuz"
    cp "$root"/boot/initrd.img-* "$folder/initrd"
    rm -f "$folder/base.new"
    truncate -s 8G "$folder/base.new"
    mkfs.ext4 -q -F -d "$root" "$folder/base.new"
    rm -rf "$root"
    mv "$folder/base.new" "$folder/base.img"
}

runs() {
    [ -r "$pid_file" ] && [ "$(cat "/proc/$(cat "$pid_file")/comm" 2>/dev/null)" = qemu-system-x86 ]
}

# boot ACCELERATOR CPU. Emulated, mitigations and large pages would take most of the processor.
boot() {
    forwards=
    number=$port
    for inside in 22 80 81 82 83; do
        forwards=$forwards,hostfwd=tcp:127.0.0.1:$number-:$inside
        number=$((number + 1))
    done
    rm -f "$console"
    qemu-system-x86_64 -accel "$1" -cpu "$2" -smp 2 -m "$memory" -display none -daemonize \
        -pidfile "$pid_file" -serial "file:$console" -kernel "$folder/vmlinuz" \
        -initrd "$folder/initrd" -append "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 \
mitigations=off transparent_hugepage=never" \
        -drive "file=$disk,if=virtio,format=raw,cache=unsafe,discard=unmap" \
        -device virtio-net-pci,netdev=net -device virtio-rng-pci \
        -netdev "user,id=net,restrict=on$forwards" 2>"$folder/qemu.log"
}

# Until a shell answers: within SECONDS.
wait_reached() {
    until=$(($(date +%s) + $1))
    while [ "$(date +%s)" -lt "$until" ]; do
        runs || return 1
        ! timeout 60 sh "$0" run true 2>/dev/null || return 0
        leave_master
        sleep 1
    done
    return 1
}

end() {
    leave_master
    runs || return 0
    kill "$(cat "$pid_file")"
    until=$(($(date +%s) + 10))
    while runs && [ "$(date +%s)" -lt "$until" ]; do sleep 0.2; done
}

start() {
    need qemu-system-x86_64 qemu-system-x86
    need ssh openssh-client
    ! runs || fail "it runs already; end it: $0 stop"
    [ -e "$folder/base.img" ] || make_disk
    for try in kvm,host,30 tcg,max,600; do
        accelerator=${try%%,*}
        [ "$accelerator" != kvm ] || [ -w /dev/kvm ] || continue
        cp --sparse=always "$folder/base.img" "$disk"
        cpu=${try#*,}
        kind=$accelerator
        [ "$kind" != tcg ] || kind=tcg,thread=multi
        if boot "$kind" "${cpu%,*}" && wait_reached "${try##*,}"; then
            echo "$accelerator" >"$folder/accelerator"
            say "it runs with $accelerator"
            return
        fi
        say "it does not get ready with $accelerator: $(tail -n 1 "$folder/qemu.log")"
        end
    done
    tail -n 20 "$console" >&2
    fail "the machine does not boot; the end of $console is above" \
        "if a port is in use, set PLIMSOLL_VM_PORT; it is $port now"
}

stop() {
    runs || return 0
    timeout 60 sh "$0" run 'systemctl poweroff' 2>/dev/null || true
    leave_master
    until=$(($(date +%s) + 180))
    while runs && [ "$(date +%s)" -lt "$until" ]; do sleep 0.5; done
    ! runs || say "it does not shut down; ending it"
    end
    rm -f "$disk"
}

[ "$(id -u)" = 0 ] || fail "run this as root: sudo $0 $*"
case ${1:-} in
start) start ;;
run) shift && guest "$@" ;;
wait)
    leave_master
    wait_reached "$2" || fail "the machine was not reached within $2 s; see $console"
    ;;
stop) stop ;;
*) fail "usage: $0 start | run COMMAND | wait SECONDS | stop" ;;
esac
