#!/bin/sh
# Puts a new certificate where plimsoll reads it: chain and key in one file, complete at any time,
# readable for plimsoll's account. Run by certbot (--deploy-hook) and by lego (--run-hook,
# --renew-hook) as root; see README.md beside it.
set -eu

folder=${PLIMSOLL_CERTIFICATES:-/etc/plimsoll/certificates}
group=${PLIMSOLL_GROUP:-plimsoll}

if [ -n "${RENEWED_LINEAGE:-}" ]; then
    chain=$RENEWED_LINEAGE/fullchain.pem
    key=$RENEWED_LINEAGE/privkey.pem
    name=$(basename "$RENEWED_LINEAGE")
elif [ -n "${LEGO_CERT_PATH:-}" ]; then
    chain=$LEGO_CERT_PATH
    key=$LEGO_CERT_KEY_PATH
    name=$LEGO_CERT_DOMAIN
else
    echo "hook.sh: neither RENEWED_LINEAGE (certbot) nor LEGO_CERT_PATH (lego) is set" >&2
    exit 2
fi

install -d -m 750 -g "$group" "$folder"
# Not yet a name that plimsoll reads.
new=$(mktemp "$folder/.new-XXXXXX")
trap 'rm -f "$new"' EXIT
cat "$chain" "$key" >"$new"
chgrp "$group" "$new"
chmod 640 "$new"
mv "$new" "$folder/$name.pem"
