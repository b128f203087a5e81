# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# Sourced by the scripts of this folder. One step is one command whose output
# is shown only if it fails; a sign of life comes every two seconds.

steps_ticker=
steps_log=
# Signals reach the command itself, as it runs in the foreground; only the ticker must be ended.
trap 'steps_end' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

steps_end() {
  [ -z "$steps_ticker" ] || kill "$steps_ticker" 2>/dev/null
  [ -z "$steps_log" ] || rm -f "$steps_log"
  steps_ticker=
  steps_log=
}

# say TEXT...: one line, on standard error: standard output belongs to the program that is started afterwards.
say() { printf '%s\n' "$*" >&2; }

die() {
  say "$*"
  exit 1
}

# attempt WHAT COMMAND...: runs the command, and returns its status.
attempt() {
  steps_what=$1
  shift
  steps_log=$(mktemp) || exit 1
  printf '%s ' "$steps_what ..." >&2
  # `sleep` outlives the ticker by up to two seconds: it must hold no pipe open that somebody reads.
  (while sleep 2 >/dev/null 2>&1; do printf . >&2; done) &
  steps_ticker=$!
  if "$@" >"$steps_log" 2>&1 </dev/null; then steps_status=0; else steps_status=$?; fi
  kill "$steps_ticker" 2>/dev/null
  wait "$steps_ticker" 2>/dev/null || :
  steps_ticker=
  if [ "$steps_status" -eq 0 ]; then
    say ' done'
  else
    say " failed (status $steps_status): $*"
    cat "$steps_log" >&2
  fi
  rm -f "$steps_log"
  steps_log=
  return "$steps_status"
}

# step WHAT COMMAND...: the same, but a failure is the end of the script.
step() { attempt "$@" || exit "$?"; }

# node_directory: the prefix whose include/node has the headers of the node in use; nothing if there is none.
# nodesource and nodejs.org ship them with node, Debian in libnode-dev.
# shellcheck disable=SC2016 # JavaScript
node_directory() {
  node -p '
    const { existsSync, readFileSync, realpathSync } = require("node:fs");
    const { dirname } = require("node:path");
    const fits = (prefix) => {
      const file = `${prefix}/include/node/node_version.h`;
      const major = existsSync(file) && /NODE_MAJOR_VERSION (\d+)/.exec(readFileSync(file, "utf8"));
      return major && major[1] === process.versions.node.split(".")[0];
    };
    ["/usr", dirname(dirname(realpathSync(process.execPath)))].find(fits) ?? ""'
}
