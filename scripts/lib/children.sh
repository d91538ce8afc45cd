# Child processes that end with their parent: for commands that run for
# minutes and may be interrupted. Source it, do not run it. Needs bash 3.2.
#
# bash runs no trap while a command is in the foreground. So a child runs in
# the background, and `wait`, which a signal does interrupt, stands for it.
# Call stop_child from the EXIT trap.
# shellcheck shell=bash

CHILD=          # process, or process group, under way; "starting" until it is known
CHILD_IS_GROUP= # set when CHILD leads a group of its own
TEE=            # what copies CHILD's words into a log

# run_child COMMAND ... runs a command whose output the caller has redirected.
run_child() {
  local status=0
  CHILD_IS_GROUP='' CHILD=starting
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
  CHILD_IS_GROUP=1 CHILD=starting
  set -m
  "$@" </dev/null >"$log.pipe" 2>&1 &
  CHILD=$!
  set +m
  finish_logged "$limit" "$log"
}

# run_asking is run_logged for a command that may ask: it stays in the
# terminal's process group, with stdin and stdout on the terminal, and only its
# stderr is logged.
run_asking() {
  local limit=$1 log=$2
  shift 2
  start_tee "$log"
  CHILD_IS_GROUP='' CHILD=starting
  "$@" <&0 >&2 2>"$log.pipe" &
  CHILD=$!
  finish_logged "$limit" "$log"
}

start_tee() {
  rm -f "$1.pipe"
  mkfifo "$1.pipe"
  TEE=starting
  tee "$1" <"$1.pipe" >&2 &
  TEE=$!
}

# finish_logged looks at the child from time to time, since bash's wait knows
# no limit and a second process that kills the first would have to be killed itself.
finish_logged() {
  local end=$((SECONDS + $1)) late='' status=0
  while kill -0 "$CHILD" 2>/dev/null; do
    if ((SECONDS >= end)); then
      if [[ -z $late ]]; then signal_child TERM; else signal_child KILL; fi || true
      late=1
      end=$((SECONDS + 10))
    fi
    sleep 0.2
  done
  wait "$CHILD" 2>/dev/null || status=$?
  end_child
  wait "$TEE" || true
  TEE=
  rm -f "$2.pipe"
  [[ -z $late ]] || return 124
  return "$status"
}

signal_child() { kill "-$1" -- "${CHILD_IS_GROUP:+-}$CHILD" 2>/dev/null; }

# end_child ends what is left: also the children of a group whose leader has
# ended, which would hold the log open.
end_child() {
  # A trap may run between the start of a child and the line that notes it.
  [[ $CHILD != starting ]] || CHILD=${!-}
  [[ -z $CHILD ]] || signal_child TERM || true
  CHILD=
}

# stop_child is end_child for a script that ends in the middle. A child that
# never came to open its log would be waited for by tee for ever.
stop_child() {
  end_child
  [[ $TEE != starting ]] || TEE=${!-}
  [[ -z $TEE ]] || kill "$TEE" 2>/dev/null || true
  TEE=
}
