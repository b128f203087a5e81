#!/bin/bash
# SPDX-License-Identifier: MIT
# Work that goes on until its standard input ends: survival-load.sh WHAT
# Each ends at its first failure, with a status other than 0; else it prints how much it has done.
#
#   pgbench   transactions of 16 sessions, in runs of 6 seconds
#   out, in   COPY of a table of 100 MB to and from a file, each time compared by checksum
#   tls       sessions with sslmode=verify-full, of a second each
#   listen    a session that listens; each second it is notified past the gateway
set -euo pipefail

# Beside the script, in the folder it was copied to.
cd "$(dirname "$0")"
export PGHOST=localhost PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
# Else a scan of a large table begins where another one is, and its rows come in another order.
export PGOPTIONS='-c synchronize_seqscans=off'
direct() { psql -XAtq -v ON_ERROR_STOP=1 -h 127.0.0.1 -p 5433 "$@"; }
through() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }

# Until standard input ends, which is asked of it without waiting.
goes_on() {
  local status=0
  read -r -t 0.001 <&3 || status=$?
  [ "$status" -gt 128 ]
}

exec 3<&0 </dev/null
count=0
case $1 in
  pgbench)
    while goes_on; do
      pgbench -n -T 6 -c 16 -j 2 -N >pgbench.out 2>&1 || { cat pgbench.out; exit 1; }
      grep -q '^number of failed transactions: 0 ' pgbench.out || { cat pgbench.out; exit 1; }
      count=$((count + $(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' pgbench.out)))
    done
    ;;
  out)
    wanted=$(direct -c 'COPY bulk TO STDOUT' | sha256sum)
    while goes_on; do
      [ "$(through -c 'COPY bulk TO STDOUT' | sha256sum)" = "$wanted" ] || { echo 'another checksum'; exit 1; }
      count=$((count + 1))
    done
    ;;
  in)
    direct -c 'COPY bulk TO STDOUT' >bulk.txt
    wanted=$(sha256sum <bulk.txt)
    while goes_on; do
      direct -c 'TRUNCATE bulk_copy'
      through -c 'COPY bulk_copy FROM STDIN' <bulk.txt
      [ "$(direct -c 'COPY bulk_copy TO STDOUT' | sha256sum)" = "$wanted" ] || { echo 'another checksum'; exit 1; }
      count=$((count + 1))
    done
    ;;
  tls)
    export PGSSLMODE=verify-full PGSSLROOTCERT=/root/server.crt
    while goes_on; do
      [ "$(through -c 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()' -c 'SELECT pg_sleep(1)' -c 'SELECT 42' | tr -d '\n')" = t42 ]
      count=$((count + 1))
    done
    ;;
  listen)
    coproc SESSION { through -f - 2>&1; }
    echo "LISTEN news; SELECT 'listening';" >&"${SESSION[1]}"
    read -r -t 30 line <&"${SESSION[0]}"
    [ "$line" = listening ]
    while goes_on; do
      direct -c "NOTIFY news, 'number $count'"
      echo 'SELECT pg_sleep(1);' >&"${SESSION[1]}"
      while read -r -t 30 line <&"${SESSION[0]}"; do
        [[ $line != *"number $count"* ]] || break
      done
      [[ $line == *"number $count"* ]] || { echo "no word of notification $count, but: $line"; exit 1; }
      count=$((count + 1))
    done
    ;;
esac
echo "done $count"
