#!/usr/bin/env bats
# shellcheck disable=SC2016 # text for another shell
# Child processes of the operator's commands (scripts/lib/children.sh).

load helper

# interrupted NAME CALL … runs it in a shell that gets a signal right after the
# start of a process, before the line that notes it as NAME.
interrupted() {
  export NOTED="$1=\$!"
  shift
  run bash -c '
    set -Eeuo pipefail
    source "$ROOT/scripts/lib/children.sh"
    trap "stop_child; exit 143" TERM
    trap '\''[[ $BASH_COMMAND != "$NOTED" ]] || kill -TERM $$'\'' DEBUG
    set -T
    "$@"' a-shell-of-"$BATS_TEST_NAME" "$@" 3>&-
  echo "$output"
  [ "$status" -eq 143 ]
  local tries=0
  while pgrep -f "a-shell-of-$BATS_TEST_NAME" || pgrep -f "sleep $SECONDS_OF_ITS_OWN"; do
    ((tries++ < 100)) || return 1
    sleep 0.05
  done
}

@test "S15: a signal between a child's start and the line that notes it leaves no child behind" {
  require_tool pgrep mkfifo
  SECONDS_OF_ITS_OWN=86313
  interrupted CHILD run_child sleep $SECONDS_OF_ITS_OWN
  interrupted CHILD run_logged 20 "$BATS_TEST_TMPDIR/log" sleep $SECONDS_OF_ITS_OWN
  interrupted TEE run_logged 20 "$BATS_TEST_TMPDIR/log" sleep $SECONDS_OF_ITS_OWN
}
