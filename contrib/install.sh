#!/bin/sh
# Installs, upgrades or uninstalls plimsoll. Works in an unpacked release, and in the source tree
# after `make dist`. Run it as root, or with DESTDIR.
#
#   contrib/install.sh              variables: PREFIX=/usr/local, SYSCONFDIR=/etc, DESTDIR=,
#                                   PLIMSOLL_INSTALL_WAIT=60 (s that a new daemon has to get ready)
#   contrib/install.sh uninstall    keeps the config, the state, the account, HAProxy and replicas
#
# Never changes a config.json. With DESTDIR it only copies files. While plimsoll.service is active, it
# upgrades: the new binary checks the daemon's config before any file is replaced, then the daemon is
# restarted. If it does not get ready, the previous version is restored and started; else the previous
# files are kept as FILE.previous.
# Exit status 0: done. 1: failed, the host is as before. 3: look at the host.
set -eu

PREFIX=${PREFIX:-/usr/local}
SYSCONFDIR=${SYSCONFDIR:-/etc}
DESTDIR=${DESTDIR:-}
top=$(cd "$(dirname "$0")/.." && pwd)
etc=$SYSCONFDIR/plimsoll
doc=$PREFIX/share/doc/plimsoll
share=$PREFIX/share/plimsoll
unit_folder=$PREFIX/lib/systemd/system
sysusers=$PREFIX/lib/sysusers.d/plimsoll.conf
bash=$PREFIX/share/bash-completion/completions/plimsoll
zsh=$PREFIX/share/zsh/site-functions/_plimsoll
fish=$PREFIX/share/fish/vendor_completions.d/plimsoll.fish
placed=$PREFIX/bin/plimsoll
unit=plimsoll.service
wait=${PLIMSOLL_INSTALL_WAIT:-60}

say() { echo "install: $*"; }

fail() {
    echo "install: $*" >&2
    exit 1
}

# Whether the target is this machine, and it runs systemd.
has_systemd() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

is_active() { [ -z "$DESTDIR" ] && systemctl -q is-active "$unit" 2>/dev/null; }

# put MODE FILE PLACE: a rename is atomic, so the place never lacks the file.
put() {
    if ! install -D -m "$1" "$2" "$DESTDIR$3.new" || ! mv -f "$DESTDIR$3.new" "$DESTDIR$3"; then
        fail "cannot write $DESTDIR$3; run this as root"
    fi
}

# Files of contrib that are installed with the documentation; units go elsewhere.
useful() {
    (cd "$top/contrib" && find . -type f ! -path './demo/*' ! -path './debian/*' \
        ! -path './matrix/*' ! -path './systemd/*' ! -path './vm/*' ! -name '*.py' \
        ! -name 'deploy*.sh' ! -name setup.sh ! -name debian-suite.sh ! -name is-static.sh ! -name dist.sh \
        ! -name deb.sh ! -name release.sh ! -name toolchain.sh ! -name install.sh) |
        cut -c 3- | LC_ALL=C sort
}

# The units.
units() { (cd "$top/contrib/systemd" && ls ./*.service ./*.timer) | cut -c 3-; }

# What runs: the binary, the units and the account that they need.
put_program() {
    put 755 "$binary" "$placed"
    put 644 "$top/contrib/systemd/plimsoll.sysusers" "$sysusers"
    # systemd needs absolute paths in units.
    for file in $(units); do
        sed "s|/usr/local/|$PREFIX/|" "$top/contrib/systemd/$file" |
            put 644 /dev/stdin "$unit_folder/$file"
    done
    [ -z "$DESTDIR" ] || return 0
    ! command -v systemd-sysusers >/dev/null || systemd-sysusers "$sysusers"
}

put_rest() {
    for file in README.md QUICKREF.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT; do
        put 644 "$top/$file" "$doc/$file"
    done
    useful | while read -r file; do
        mode=644
        [ ! -x "$top/contrib/$file" ] || mode=755
        put "$mode" "$top/contrib/$file" "$share/$file"
    done
    put 644 "$top/contrib/examples/web.json" "$etc/config.json.example"
    sed -i "s|\.\./config.schema.json|$share/config.schema.json|" "$DESTDIR$etc/config.json.example"
    # A binary for another architecture cannot generate them.
    if "$binary" --version >/dev/null 2>&1; then
        for shell in bash zsh fish; do
            eval "place=\$$shell"
            # shellcheck disable=SC2154 # by the line above
            "$binary" completions "$shell" | put 644 /dev/stdin "$place"
        done
    fi
}

# Runs a command of a binary with the daemon's config, and with its environment, to which the config
# may refer: asked SECONDS BINARY COMMAND.
asked() {
    # shellcheck disable=SC2016 # for the shell inside
    timeout "$1" xargs -0 -a "$work/environ" sh -c 'binary=$0 command=$1 config=$2
        shift 2
        exec env -i "$@" "$binary" "$command" --config "$config"' "$2" "$3" "$config"
}

# What the upgrade must know of the running daemon.
look_at_daemon() {
    pid=$(systemctl show -P MainPID "$unit")
    if ! cp "/proc/$pid/environ" "$work/environ" ||
        ! tr '\0' '\n' <"/proc/$pid/cmdline" >"$work/arguments"; then
        fail "cannot look at process $pid of $unit; run this as root"
    fi
    running=$(head -n 1 "$work/arguments")
    config=$(sed -n -e 's/^--config=//p' -e '/^--config$/{n;p;}' "$work/arguments" | tail -n 1)
    [ -n "$config" ] ||
        config=$(tr '\0' '\n' <"$work/environ" | sed -n 's/^PLIMSOLL_CONFIG=//p')
    [ -n "$config" ] || config=$etc/config.json
    # It holds the lock of the folder with its state.
    state=$(for file in "/proc/$pid/fd"/*; do readlink "$file" || true; done |
        sed -n 's|/lock$||p' | head -n 1)
}

say_versions() {
    old=$("$running" --version) || old="an unknown version"
    lowest=$(printf '%s\n' "$old" "$new" | tr - '~' | sort -V | head -n 1 | tr '~' -)
    note=
    [ "$old" != "$new" ] || note=" (another build)"
    [ "$old" = "$new" ] || [ "$lowest" != "$new" ] || note=" (a downgrade)"
    say "$new replaces $old$note"
}

# The daemon's account may write to the folder of the state, so that account reads and writes there:
# root could be led elsewhere by a link.
as_owner() {
    owner=$(stat -c %u "$state")
    if [ "$owner" = "$(id -u)" ]; then
        "$@"
    else
        setpriv --reuid "$owner" --regid "$(stat -c %g "$state")" --clear-groups "$@"
    fi
}

keep_state() {
    [ -n "$state" ] || say "process $pid does not show where its state is; no copy is kept"
    [ -n "$state" ] && [ -e "$state/state.json" ] || return 0
    as_owner cat "$state/state.json" >"$work/state.json" ||
        fail "cannot read $state/state.json; nothing was changed"
}

format_of() { sed -n 's/^  "version": \([0-9]*\),\{0,1\}$/\1/p' | head -n 1; }

# A version reads what a newer one wrote, unless the number of the format changed.
put_state_back() {
    [ -e "$work/state.json" ] || return 0
    format=$(as_owner cat "$state/state.json" 2>/dev/null | format_of)
    [ "$format" != "$(format_of <"$work/state.json")" ] || return 0
    # shellcheck disable=SC2016 # for the shell inside
    as_owner sh -c 'umask 077 && cat >"$0.new" && mv -f "$0.new" "$0"' "$state/state.json" \
        <"$work/state.json" || say "$state/state.json could not be restored"
    say "restored $state/state.json, as its format had changed"
}

places() {
    echo "$placed"
    echo "$sysusers"
    for file in $(units); do echo "$unit_folder/$file"; done
}

keep_previous() {
    for place in $(places); do
        rm -f "$place.previous"
        [ ! -e "$place" ] || cp -p "$place" "$place.previous" || fail "cannot write $place.previous"
    done
}

put_previous_back() {
    for place in $(places); do
        if [ -e "$place.previous" ]; then mv -f "$place.previous" "$place"; else rm -f "$place"; fi
    done
}

# Waits for readiness three times in a row: a daemon that dies early may be ready for a moment. If the
# old one was not ready, it suffices that the new one runs.
wait_ready() {
    good=0
    end=$(($(date +%s) + wait))
    while [ "$(date +%s)" -le "$end" ]; do
        said="$unit is not active"
        if systemctl -q is-active "$unit" &&
            { [ -z "$was_ready" ] || said=$(asked 10 "$placed" healthcheck 2>&1); }; then
            good=$((good + 1))
            [ "$good" -lt 3 ] || return 0
        else
            good=0
        fi
        sleep 1
    done
    say "it was not ready within $wait s: $said"
    return 1
}

restart() {
    since=$(date +%s)
    systemctl daemon-reload
    # A daemon that died often would not be started again.
    systemctl reset-failed "$unit" 2>/dev/null || true
    # It may take 30 s to stop.
    if ! timeout $((wait + 30)) systemctl restart "$unit"; then
        say "systemctl restart $unit failed"
        return 1
    fi
    wait_ready
}

go_back() {
    say "going back to $old; the last lines of the log:"
    journalctl -u "$unit" --since "@$since" -n 15 --no-pager -o cat >&2 || true
    timeout 60 systemctl stop "$unit" || say "systemctl stop $unit failed"
    if ! put_previous_back; then
        say "the previous files could not be restored; each is FILE.previous of:"
        places
        exit 3
    fi
    put_state_back
    if restart; then
        say "$old runs again; $new was not installed"
        exit 1
    fi
    say "$old does not get ready either; see: journalctl -u $unit"
    exit 3
}

on_exit() {
    status=$?
    trap - EXIT
    trap '' HUP INT TERM
    # From here on each failure is handled separately.
    set +e
    if [ -n "$changed" ]; then
        (go_back)
        status=$?
    fi
    rm -rf "$work"
    exit "$status"
}

upgrade() {
    changed=
    work=$(mktemp -d)
    trap on_exit EXIT
    trap 'say "got a signal to end"; exit 1' HUP INT TERM
    look_at_daemon
    new=$("$binary" --version) ||
        fail "$binary does not run here ($(uname -sm)); nothing was changed"
    if cmp -s "$binary" "/proc/$pid/exe"; then
        say "this build of $new runs already; it is not restarted"
        put_program
        systemctl daemon-reload
        put_rest
        return
    fi
    say_versions
    asked 60 "$binary" check || fail "$new rejects $config: correct it; nothing was changed"
    was_ready=yes
    if ! said=$(asked 10 "$running" healthcheck 2>&1); then
        say "the running daemon is not ready ($said), so the new one only has to run"
        was_ready=
    fi
    keep_state
    keep_previous
    since=$(date +%s)
    changed=yes
    put_program
    restart || exit 1
    changed=
    put_rest
    say "$new runs; the previous version is kept as $placed.previous"
}

install_all() {
    for binary in "$top/plimsoll" "$top/dist/plimsoll" ""; do
        [ ! -x "$binary" ] || [ ! -f "$binary" ] || break
    done
    [ -n "$binary" ] || fail "no binary in $top; run make dist first"
    if is_active; then
        upgrade
        return
    fi
    put_program
    put_rest
    [ -z "$DESTDIR" ] || return 0
    ! has_systemd || systemctl daemon-reload
    say "$placed is $("$placed" --version)"
    if [ ! -e "$etc/config.json" ]; then
        say "next: cp $etc/config.json.example $etc/config.json, edit it, plimsoll check"
        ! has_systemd || say "then: systemctl enable --now plimsoll"
    fi
}

uninstall_all() {
    if has_systemd && systemctl -q cat "$unit" >/dev/null 2>&1; then
        systemctl -q disable --now "$unit" plimsoll-backup.timer
    fi
    for place in $(places); do rm -f "$DESTDIR$place" "$DESTDIR$place.previous"; done
    useful | while read -r file; do rm -f "$DESTDIR$share/$file"; done
    rm -f "$DESTDIR$bash" "$DESTDIR$zsh" "$DESTDIR$fish" "$DESTDIR$etc/config.json.example"
    for file in README.md QUICKREF.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT; do
        rm -f "$DESTDIR$doc/$file"
    done
    # Remove our folders if they are empty.
    for folder in "$doc" "$share" "$etc"; do
        [ ! -d "$DESTDIR$folder" ] || find "$DESTDIR$folder" -depth -type d -empty -delete
    done
    ! has_systemd || systemctl daemon-reload
    [ -n "$DESTDIR" ] || say "uninstalled; still there: $etc, /var/lib/plimsoll, account plimsoll," \
        "HAProxy and the replicas"
}

case ${1:-} in
"") install_all ;;
uninstall) uninstall_all ;;
*) fail "usage: $0 [uninstall]" ;;
esac
