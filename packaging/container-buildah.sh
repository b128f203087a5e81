# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# shellcheck disable=SC2154 # what check-container sets
# Sourced by check-container: how buildah makes an image and runs it, as a chroot with namespaces of its own.

driver=overlay
[ "$(stat --file-system --format %T "$work")" != overlayfs ] || driver=vfs
export CONTAINERS_REGISTRIES_CONF=/dev/null
running='' container=''

image() { buildah --root "$work/storage" --runroot "$work/run" --storage-driver "$driver" "$@"; }
start_engine() { image version; }
stop_engine() {
  [ -z "$running" ] || stop_container || :
  [ ! -d "$work/storage" ] || image rm --all >/dev/null 2>&1 || :
  [ ! -d "$work/storage" ] || image rmi --all --force >/dev/null 2>&1 || :
}
import_base() {
  local from_nothing
  from_nothing=$(image from scratch) && image add "$from_nothing" "$work/base.tar" / &&
    image commit --rm "$from_nothing" "localhost/base:$suite"
}
build_image() {
  image build --layers=false --isolation chroot --format docker --build-arg "BASE=localhost/base:$suite" \
    --file packaging/Dockerfile --tag localhost/pg-gateway .
}
# words SKIP KEY...: a list of words in the configuration of the image, each ended by a null byte.
words() {
  image inspect --type image localhost/pg-gateway | python3 -c '
import json, sys
node = json.load(sys.stdin)["Docker"]["config"]
for key in sys.argv[2:]:
  node = node[key]
print("\0".join(node[int(sys.argv[1]):]), end="\0")' "$@"
}
start_container() {
  mapfile -d '' -t entrypoint < <(words 0 Entrypoint)
  # The first word tells the form, CMD.
  mapfile -d '' -t healthcheck < <(words 1 Healthcheck Test)
  if [ "${#entrypoint[@]}" = 0 ] || [ "${#healthcheck[@]}" = 0 ]; then die 'The image names no program or no health check.'; fi
  container=$(image from localhost/pg-gateway)
  image run --isolation chroot -e "CANDIDATES=127.0.0.1:$server" -e PGUSER=postgres -e "LISTEN_PORT=$clients" \
    -e "METRICS_PORT=$metrics" "$container" -- "${entrypoint[@]}" >"$work/log" 2>&1 &
  running=$!
}
healthy() { image run --isolation chroot -e "METRICS_PORT=$metrics" "$container" -- "${healthcheck[@]}"; }
not_healthy() { ! healthy; }
gatewayctl() { image run --isolation chroot "$container" -- pg-gatewayctl "$@"; }
stop_container() {
  local pid
  pid=$(gateway_pid) && [ -n "$pid" ] && kill -TERM "$pid" && wait "$running" && running=
}
of_this_engine() { :; }
# With the base, of which it is made.
size() { image images --format '{{.Name}} {{.Size}}'; }
