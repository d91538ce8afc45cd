# Child processes that end with their parent: for commands that run for
# minutes and may be interrupted. Source it, do not run it. Needs bash 3.2.
#
# bash runs no trap while a command is in the foreground. So a child runs in
# the background, and `wait`, which a signal does interrupt, stands for it.
# Call stop_children from the EXIT trap.
# shellcheck shell=bash

CHILD=          # process, or process group, under way
CHILD_IS_GROUP= # set when CHILD leads a group of its own
WATCH=          # process group that ends CHILD when its time is up

# run_child COMMAND ... runs a command whose output the caller has redirected.
run_child() {
  local status=0
  CHILD_IS_GROUP=
  "$@" <&0 &
  CHILD=$!
  wait "$CHILD" 2>/dev/null || status=$?
  CHILD=
  return "$status"
}

# run_logged SECONDS LOG COMMAND ... runs a command with everything it says on
# stderr and in the file LOG. Status 124 means that its time was up. The command
# leads a process group, so that its own children end with it, and reads nothing.
run_logged() {
  local limit=$1 log=$2
  shift 2
  start_tee "$log"
  set -m
  "$@" </dev/null >"$log.pipe" 2>&1 &
  CHILD=$!
  set +m
  CHILD_IS_GROUP=1
  finish_logged "$limit" "$log"
}

# run_asking is run_logged for a command that may ask: it stays in the
# terminal's process group, with stdin and stdout on the terminal, and only its
# stderr is logged.
run_asking() {
  local limit=$1 log=$2
  shift 2
  start_tee "$log"
  "$@" <&0 >&2 2>"$log.pipe" &
  CHILD=$!
  CHILD_IS_GROUP=
  finish_logged "$limit" "$log"
}

start_tee() {
  rm -f "$1.pipe" "$1.late"
  mkfifo "$1.pipe"
  tee "$1" <"$1.pipe" >&2 &
  TEE=$!
}

finish_logged() {
  local status=0 late=$2.late
  set -m
  (
    sleep "$1"
    : >"$late"
    signal_child TERM
    sleep 10
    signal_child KILL
  ) </dev/null >/dev/null 2>&1 &
  WATCH=$!
  set +m
  wait "$CHILD" 2>/dev/null || status=$?
  stop_children
  wait "$TEE" || true
  rm -f "$2.pipe"
  if [[ -e $late ]]; then
    rm -f "$late"
    return 124
  fi
  return "$status"
}

signal_child() { kill "-$1" -- "${CHILD_IS_GROUP:+-}$CHILD" 2>/dev/null; }

# stop_children ends what is left: also the children of a group whose leader
# has ended, which would hold the log open.
stop_children() {
  if [[ -n $WATCH ]]; then
    kill -TERM -- "-$WATCH" 2>/dev/null || true
    wait "$WATCH" 2>/dev/null || true
  fi
  [[ -z $CHILD ]] || signal_child TERM || true
  CHILD='' WATCH=''
}
