# What the scripts of this folder share; source it, do not run it.
# shellcheck shell=bash

# Progress goes to stderr: stdout is for results that another command can read.
log() { printf '%s %s\n' "$(date -u +%FT%TZ)" "$*" >&2; }

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
