#!/usr/bin/env bash
#/ Usage: scripts/steps.sh NAME=COMMAND ... [-- NAME=COMMAND ...] [--shared NAME=COMMAND ...]
#/
#/ Runs shell commands one after the other, each under a heading with its name,
#/ result and duration. After `--` another lane begins, which runs beside the
#/ ones before; each step's output is kept together. Steps after `--shared`
#/ belong to no lane: whichever is done with its own takes the next of them.
#/ All steps run, whatever became of the ones before; at the end the failed ones
#/ are named again.
#/
#/ Exit status: 0 all went well, 1 a step failed, 2 wrong use.

set -Eeuo pipefail

main() {
  case ${1-} in
    -h | --help)
      sed -n 's/^#\/ \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit
      ;;
    '' | -- | --shared)
      echo "error: want at least one NAME=COMMAND (see --help)" >&2
      exit 2
      ;;
  esac
  WORK=$(mktemp -d)
  LANES=()
  SHARED=()
  trap stop EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  : >"$WORK/failed"

  local lanes=("$@") steps=() argument i
  for ((i = 0; i < $#; i++)); do
    [[ ${lanes[i]} == --shared ]] || continue
    SHARED=("${lanes[@]:i+1}")
    lanes=("${lanes[@]:0:i}")
    break
  done
  # Each lane is a process group, so that an interrupt ends all of it.
  for argument in "${lanes[@]}" --; do
    if [[ $argument == -- ]]; then
      set -m
      run_lane ${steps[@]+"${steps[@]}"} </dev/null &
      set +m
      LANES+=("$!")
      steps=()
      continue
    fi
    steps+=("$argument")
  done
  local lane
  for lane in "${LANES[@]}"; do
    wait "$lane" || echo "a lane ended early" >>"$WORK/failed"
  done
  LANES=()

  if [[ -s $WORK/failed ]]; then
    heading "failed after $SECONDS s: $(paste -sd , "$WORK/failed" | sed 's/,/, /g')"
    exit 1
  fi
  heading "all well after $SECONDS s"
}

heading() { printf '\n=== %s\n' "$*"; }

run_lane() {
  set +m
  trap - INT TERM HUP
  local out step i
  out=$(mktemp "$WORK/lane.XXXXXX")
  for step in "$@"; do run_step "$step"; done
  for i in ${SHARED[@]+"${!SHARED[@]}"}; do
    # Only one lane can make the folder. Where none can, the lane ends.
    if mkdir "$WORK/taken.$i" 2>/dev/null; then
      run_step "${SHARED[i]}"
    else
      [[ -d $WORK/taken.$i ]]
    fi
  done
}

# run_step NAME=COMMAND keeps what the command writes in the file $out.
run_step() {
  local name=${1%%=*} begin=$SECONDS status=0 result=ok
  bash -c "${1#*=}" >"$out" 2>&1 || status=$?
  if ((status)); then
    result="FAILED with $status"
    echo "$name" >>"$WORK/failed"
  fi
  # In one write, so that two lanes do not mix their lines.
  printf '%s\n' "$(heading "$name: $result in $((SECONDS - begin)) s" && cat "$out")"
}

stop() {
  local lane
  for lane in ${LANES[@]+"${LANES[@]}"}; do
    kill -TERM -- "-$lane" 2>/dev/null || true
  done
  rm -rf "$WORK"
}

main "$@"
