# Shared by the scripts under scripts/server, scripts/runner and scripts/ops; source it, do not run it.
#
# The SSM documents carry a copy: constructs put this file in place of the
# "source" line (constructs/script_document.go). Keep it to bash 4.2, which is
# what Amazon Linux 2 has.
# shellcheck shell=bash

# Progress goes to stderr: stdout is for results that another command can read.
# The message stays in LOG_LAST, where signal.sh finds the reason of a failure.
log() {
  # shellcheck disable=SC2034
  LOG_LAST=$*
  printf '%s %s\n' "$(date -u +%FT%TZ)" "$*" >&2
}

die() {
  log "error: $*"
  exit 1
}

# bad_usage ends the script for a mistake in its arguments.
bad_usage() {
  log "error: $* (see --help)"
  exit 2
}

# need fails early when a command is missing.
need() {
  local command
  for command in "$@"; do
    command -v "$command" >/dev/null || die "$command is not installed"
  done
}
