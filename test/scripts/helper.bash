# Loaded by every .bats file: load helper
# shellcheck shell=bash

bats_require_minimum_version 1.5.0

ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
export ROOT

# use_stubs puts an empty folder first on PATH and a file that records calls.
use_stubs() {
  STUBS=$BATS_TEST_TMPDIR/stubs
  CALLS=$BATS_TEST_TMPDIR/calls
  export STUBS CALLS
  mkdir -p "$STUBS"
  : >"$CALLS"
  PATH=$STUBS:$PATH
}

# stub NAME [BODY] puts a command on PATH that records how it was called and
# then runs BODY.
stub() {
  # shellcheck disable=SC2016 # the stub expands them
  printf '#!/usr/bin/env bash\nprintf "%%s\\n" "%s $*" >>"$CALLS"\n%s\n' "$1" "${2:-}" >"$STUBS/$1"
  chmod +x "$STUBS/$1"
}

# require_tool fails in CI and skips elsewhere when a test's tool is missing.
require_tool() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null && continue
    [[ ${CI:-} == true ]] && {
      echo "$tool is missing: scripts/setup.sh installs it as root on Debian" >&2
      return 1
    }
    skip "$tool is missing"
  done
}
