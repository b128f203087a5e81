# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# shellcheck disable=SC2154 # what check-container sets
# Sourced by check-container: how Docker does, by a dockerd of its own.

engine_pid=''
export DOCKER_HOST=unix://$work/docker.sock DOCKER_BUILDKIT=0 DOCKER_CONFIG=$work
# The image that the Dockerfile names, without a registry.
base=debian:$suite-slim

start_engine() {
  # Its container shares the network of the machine: nothing has to be made or filtered.
  dockerd --host "$DOCKER_HOST" --data-root "$work/storage" --exec-root "$work/run" --pidfile "$work/dockerd.pid" \
    --bridge none --iptables=false --ip6tables=false --ip-forward=false >"$work/dockerd.log" 2>&1 &
  engine_pid=$!
  eventually docker version || { cat "$work/dockerd.log"; return 1; }
}
stop_engine() {
  [ -n "$engine_pid" ] || return 0
  docker rm --force gateway >/dev/null 2>&1 || :
  kill -TERM "$engine_pid" && wait "$engine_pid"
  # It leaves the name of the network namespace mounted.
  umount "$work/run/netns/default" 2>/dev/null || :
}
import_base() { docker import "$work/base.tar" "$base"; }
build_image() {
  docker build --network host --build-arg "BASE=$base" --file packaging/Dockerfile --tag pg-gateway .
}
start_container() {
  docker run --detach --name gateway --net=host -v pg-gateway:/var/lib/pg-gateway -e "CANDIDATES=127.0.0.1:$server" \
    -e PGUSER=postgres -e "LISTEN_PORT=$clients" -e "METRICS_PORT=$metrics" pg-gateway
}
health() { docker inspect --format '{{.State.Health.Status}}' gateway; }
healthy() { [ "$(health)" = healthy ]; }
not_healthy() { [ "$(health)" = unhealthy ]; }
gatewayctl() { docker exec gateway pg-gatewayctl "$@"; }
stop_container() { docker stop gateway && [ "$(docker inspect --format '{{.State.ExitCode}}' gateway)" = 0 ]; }
restarts() { docker restart gateway && eventually answers && [[ $(docker logs gateway 2>&1) == *'the cluster is known'* ]]; }
of_this_engine() { step 'It remembers the cluster in its volume' restarts; }
size() { docker images --format '{{.Repository}} {{.Size}}' pg-gateway; }
