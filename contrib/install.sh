#!/bin/sh
# Installs or uninstalls plimsoll. Works in an unpacked release, and in the source tree after
# `make dist`. Run it as root, or with DESTDIR.
#
#   contrib/install.sh              variables: PREFIX=/usr/local, SYSCONFDIR=/etc, DESTDIR=
#   contrib/install.sh uninstall    keeps the config, the state, the account, HAProxy and replicas
#
# Never changes a config.json. With DESTDIR it only copies files.
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

say() { echo "install: $*"; }

fail() {
    echo "install: $*" >&2
    exit 1
}

# Whether the target is this machine, and it runs systemd.
has_systemd() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

is_active() { has_systemd && systemctl -q is-active plimsoll.service; }

# put MODE FILE PLACE
put() { install -D -m "$1" "$2" "$DESTDIR$3" || fail "cannot write $DESTDIR$3; run this as root"; }

# Files of contrib that are installed with the documentation; units go elsewhere.
useful() {
    (cd "$top/contrib" && find . -type f ! -path './demo/*' ! -path './debian/*' \
        ! -path './systemd/*' ! -name '*.py' ! -name 'deploy*.sh' ! -name setup.sh ! -name trixie.sh \
        ! -name is-static.sh ! -name dist.sh ! -name deb.sh ! -name install.sh) |
        cut -c 3- | LC_ALL=C sort
}

# The units.
units() { (cd "$top/contrib/systemd" && ls ./*.service ./*.timer) | cut -c 3-; }

put_files() {
    put 755 "$binary" "$PREFIX/bin/plimsoll"
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
    put 644 "$top/contrib/systemd/plimsoll.sysusers" "$sysusers"
    # systemd needs absolute paths in units.
    for unit in $(units); do
        put 644 "$top/contrib/systemd/$unit" "$unit_folder/$unit"
        sed -i "s|/usr/local/|$PREFIX/|" "$DESTDIR$unit_folder/$unit"
    done
    # A binary for another architecture cannot generate them.
    if "$binary" --version >/dev/null 2>&1; then
        for shell in bash zsh fish; do
            eval "place=\$$shell"
            # shellcheck disable=SC2154 # by the line above
            "$binary" completions "$shell" | put 644 /dev/stdin "$place"
        done
    fi
}

install_all() {
    for binary in "$top/plimsoll" "$top/dist/plimsoll" ""; do
        [ ! -x "$binary" ] || [ ! -f "$binary" ] || break
    done
    [ -n "$binary" ] || fail "no binary in $top; run make dist first"
    put_files
    [ -z "$DESTDIR" ] || return 0
    ! command -v systemd-sysusers >/dev/null || systemd-sysusers "$sysusers"
    ! has_systemd || systemctl daemon-reload
    say "$PREFIX/bin/plimsoll is $("$PREFIX/bin/plimsoll" --version)"
    if is_active; then
        say "the old daemon still runs; to replace it: systemctl restart plimsoll"
    elif [ ! -e "$etc/config.json" ]; then
        say "next: cp $etc/config.json.example $etc/config.json, edit it, plimsoll check"
        ! has_systemd || say "then: systemctl enable --now plimsoll"
    fi
}

uninstall_all() {
    if has_systemd && systemctl -q cat plimsoll.service >/dev/null 2>&1; then
        systemctl -q disable --now plimsoll.service plimsoll-backup.timer
    fi
    for unit in $(units); do rm -f "$DESTDIR$unit_folder/$unit"; done
    useful | while read -r file; do rm -f "$DESTDIR$share/$file"; done
    rm -f "$DESTDIR$PREFIX/bin/plimsoll" "$DESTDIR$sysusers" \
        "$DESTDIR$bash" "$DESTDIR$zsh" "$DESTDIR$fish" "$DESTDIR$etc/config.json.example"
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
