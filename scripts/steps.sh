#!/usr/bin/env bash
#/ Usage: scripts/steps.sh run MAKE-ARGUMENT ...
#/        scripts/steps.sh step NAME COMMAND ...
#/
#/ run    Makes targets. Each line of their recipes is a step, and all of them run,
#/        whatever became of the ones before. At the end the failed ones are named.
#/ step   Runs a command under a heading with its name, result and duration.
#/        With QUIET set, what goes well has its heading only.
#/
#/ Exit status: 0 all went well, 1 a step failed, 2 wrong use.

# Keep it to bash 3.2, which macOS has.
set -Eeuo pipefail
unset MAKEFLAGS MFLAGS MAKELEVEL # of the caller, whose job slots no command can reach

run() {
  STEPS=$(mktemp -d)
  export STEPS
  trap 'rm -rf "$STEPS"' EXIT
  # A process group of its own, so that an interrupt ends all of it.
  trap 'kill -TERM -- "-$!" || true; exit 130' INT
  trap 'kill -TERM -- "-$!" || true; exit 143' TERM HUP
  set -m
  "${MAKE:-make}" --keep-going "$@" </dev/null &
  set +m
  wait $! || echo "make $*" >>"$STEPS/failed"
  if [[ -s $STEPS/failed ]]; then
    heading "failed after $SECONDS s: $(paste -sd , "$STEPS/failed" | sed 's/,/, /g')"
    exit 1
  fi
  [[ -n ${QUIET+set} ]] || heading "all well after $SECONDS s"
}

# step fails only outside of a run, where it is its command and nothing else: make
# would leave out what follows.
step() {
  local name=$1 out status=0 result=ok
  [[ -n ${STEPS-} ]] || exec "${@:2}"
  out=$(mktemp "$STEPS/out.XXXXXX")
  env -u STEPS -u QUIET "${@:2}" </dev/null >"$out" 2>&1 || status=$?
  if ((status)); then
    result="FAILED with $status"
    echo "$name" >>"$STEPS/failed"
  fi
  heading "$name: $result in $SECONDS s"
  ((status == 0)) && [[ -n ${QUIET+set} ]] || cat "$out"
}

heading() { printf '%s=== %s\n' "${QUIET-$'\n'}" "$*"; }

if [[ ${1-} =~ ^(run|step)$ ]] && (($# > 2)); then
  "$@"
elif [[ ${1-} =~ ^(-h|--help)$ ]]; then
  sed -n 's/^#\/ \{0,1\}//p' "${BASH_SOURCE[0]}"
else
  echo "error: want run or step, and what (see --help)" >&2
  exit 2
fi
