#!/usr/bin/env bash
#/ Usage: scripts/steps.sh NAME=COMMAND ... [-- NAME=COMMAND ...]
#/
#/ Runs shell commands one after the other, each under a heading with its name,
#/ result and duration. After `--` a second lane begins, which runs beside the
#/ first; each step's output is kept together. All steps run, whatever became
#/ of the ones before; at the end the failed ones are named again.
#/
#/ Exit status: 0 all went well, 1 a step failed, 2 wrong use.

set -Eeuo pipefail

main() {
  case ${1-} in
    -h | --help)
      sed -n 's/^#\/ \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit
      ;;
    '' | --)
      echo "error: want at least one NAME=COMMAND (see --help)" >&2
      exit 2
      ;;
  esac
  WORK=$(mktemp -d)
  LANES=()
  trap stop EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  : >"$WORK/failed"

  # Each lane is a process group, so that an interrupt ends all of it.
  local steps=() argument
  for argument in "$@" --; do
    if [[ $argument == -- ]]; then
      set -m
      run_lane "${steps[@]}" </dev/null &
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
  local step name out begin status result
  out=$(mktemp "$WORK/lane.XXXXXX")
  for step in "$@"; do
    name=${step%%=*}
    begin=$SECONDS
    status=0
    bash -c "${step#*=}" >"$out" 2>&1 || status=$?
    result=ok
    if ((status)); then
      result="FAILED with $status"
      echo "$name" >>"$WORK/failed"
    fi
    # In one write, so that two lanes do not mix their lines.
    printf '%s\n' "$(heading "$name: $result in $((SECONDS - begin)) s" && cat "$out")"
  done
}

stop() {
  local lane
  for lane in ${LANES[@]+"${LANES[@]}"}; do
    kill -TERM -- "-$lane" 2>/dev/null || true
  done
  rm -rf "$WORK"
}

main "$@"
