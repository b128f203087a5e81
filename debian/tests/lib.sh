# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Sourced by the tests of the installed package: a primary and a standby, and how to wait.

set -euo pipefail
postgres_bin=$(dirname "$(find /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -n 1)" 2>/dev/null)
clusters=$(mktemp -d)
chmod 755 "$clusters"
# A folder that the user postgres can be in, too.
cd /

fail() {
  echo "FAILED: $*" >&2
  journalctl --no-pager -u pg-gateway.socket -u pg-gateway.service | tail -n 30 >&2
  exit 1
}

# eventually COMMAND...: waits for it to succeed.
eventually() {
  local end=$((SECONDS + 30))
  until "$@"; do
    [ $SECONDS -lt $end ] || fail "not within 30 s: $*"
    sleep 0.2
  done
}

as_postgres() { runuser -u postgres -- "$@"; }

# Port 5432 is the gateway's; what postgresql brought along leaves.
make_servers() {
  systemctl stop postgresql
  install -d -o postgres "$clusters/a"
  as_postgres "$postgres_bin/initdb" -D "$clusters/a" -A trust -U postgres >/dev/null
  echo "host replication postgres 127.0.0.1/32 trust" >>"$clusters/a/pg_hba.conf"
  start_server a 5501
  install -d -m 700 -o postgres "$clusters/b"
  as_postgres "$postgres_bin/pg_basebackup" -h 127.0.0.1 -p 5501 -U postgres -D "$clusters/b" -R -X stream
  start_server b 5502
}

start_server() {
  as_postgres "$postgres_bin/pg_ctl" -D "$clusters/$1" -w -l "$clusters/$1/log" -o "-p $2 -h 127.0.0.1 -k ''" start >/dev/null
}

kill_server() { as_postgres "$postgres_bin/pg_ctl" -D "$clusters/$1" -m immediate stop >/dev/null; }
promote() { as_postgres "$postgres_bin/pg_ctl" -D "$clusters/$1" -w promote >/dev/null; }

configure() {
  cat >/etc/pg-gateway/conf.d/test.toml <<'TOML'
candidates = ["127.0.0.1:5501", "127.0.0.1:5502"]
[probe]
user = "postgres"
check_every = 0.2
TOML
}

# through SQL: the answer by way of the gateway.
through() { "$postgres_bin/psql" -h 127.0.0.1 -p 5432 -U postgres -AtX -c "$1" postgres; }
primary_is() { [ "$(through 'SELECT inet_server_port()' 2>/dev/null)" = "$1" ]; }
