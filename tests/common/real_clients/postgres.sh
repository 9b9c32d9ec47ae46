#!/bin/sh
# PostgreSQL with a new, empty database. The argument is its port.
set -eu
programs=$(echo /usr/lib/postgresql/*/bin)
as_nobody="setpriv --reuid 65534 --regid 65534 --clear-groups"
$as_nobody "$programs/initdb" -D /tmp/data --no-locale -E UTF8 -A trust -U postgres >/dev/null
echo 'host all all all trust' >>/tmp/data/pg_hba.conf
exec $as_nobody "$programs/postgres" -D /tmp/data -h 0.0.0.0 -p "$1" -k /tmp -c fsync=off
