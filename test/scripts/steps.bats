#!/usr/bin/env bats
# scripts/steps.sh, which runs the parts of `make check` and `make test`.
# shellcheck disable=SC2016 # make and the steps' shells expand it

load helper

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  # Of a run that this test may be a step of.
  unset STEPS QUIET MAKEFLAGS MAKELEVEL
  printf 'STEP := "%s/scripts/steps.sh" step\n' "$ROOT" >Makefile
}

# target NAME LINE ... is one whose recipe has these lines.
target() {
  printf '%s:\n' "$1" >>Makefile
  printf '\t@%s\n' "${@:2}" >>Makefile
}

steps() { run "$ROOT/scripts/steps.sh" run "$@"; }

@test "S15: every step runs under its heading, and a failed one is named at the end" {
  target lane '$(STEP) first echo one' "\$(STEP) 'the second' sh -c 'echo two; exit 3'" '$(STEP) third echo three'
  steps -j1 lane
  [[ $status == 1 ]]
  [[ $output == *'=== first: ok in '*$'\none\n'*'=== the second: FAILED with 3 in '*$'\ntwo\n'*'=== third: ok in '*$'\nthree'* ]]
  [[ ${lines[${#lines[@]} - 1]} == '=== failed after '*' s: the second' ]]
}

@test "S15: when all went well the last line says so" {
  target lane '$(STEP) first true'
  steps -j1 lane
  [[ $status == 0 ]]
  [[ ${lines[${#lines[@]} - 1]} == '=== all well after '*' s' ]]
}

@test "S15: lanes run side by side, and a failure in either counts" {
  # Each waits for the other: one after the other they would wait in vain.
  mkfifo pipe
  target one "\$(STEP) writes sh -c 'echo met >pipe'"
  target two "\$(STEP) reads sh -c 'cat pipe; exit 1'"
  steps -j2 one two
  [[ $status == 1 ]]
  [[ $output == *$'\nmet\n'* ]]
  [[ ${lines[${#lines[@]} - 1]} == *': reads' ]]
}

@test "S15: a target behind the others is made once, by a lane that is done with its own" {
  # "busy" holds its lane until the last of them opens the pipe.
  mkfifo pipe
  target first "\$(STEP) busy cat pipe"
  target second '$(STEP) quick true'
  target one "\$(STEP) one sh -c 'exit 3'"
  target two "\$(STEP) two sh -c 'echo met >pipe'"
  steps -j2 first second one two
  [[ $status == 1 ]]
  [[ $output == *'=== quick: ok'*'=== one: FAILED with 3'*'=== two: ok'* ]]
  [[ $(grep -c '^=== ' <<<"$output") == 5 ]]
  [[ ${lines[${#lines[@]} - 1]} == '=== failed after '*' s: one' ]]
}

@test "S15: a step that cannot be run is no success" {
  use_stubs
  stub mktemp 'case $* in -d) exec /usr/bin/env PATH="${PATH#*:}" mktemp -d ;; *) exit 1 ;; esac'
  target lane '$(STEP) first true'
  target other '$(STEP) second true'
  steps -j1 lane other
  [[ $status == 1 ]]
  [[ $output != *'=== first'* ]]
  [[ ${lines[${#lines[@]} - 1]} == *': make -j1 lane other' ]]
  # As a target that is not there; what is there is made all the same.
  rm "$STUBS/mktemp"
  steps -j1 nowhere lane
  [[ $status == 1 && $output == *'=== first: ok'* ]]
}

@test "S15: a step reads nothing from the terminal" {
  target lane '$(STEP) reads cat'
  steps -j1 lane <<<'typed'
  [[ $status == 0 && $output != *typed* ]]
}

@test "S15: a step knows nothing of the job slots beside it" {
  target lane "\$(STEP) asks sh -c 'echo \"flags:\$\${MAKEFLAGS-none} level:\$\${MAKELEVEL-none}\"'"
  MAKEFLAGS='-j --jobserver-auth=98,99' steps -j2 lane
  [[ $status == 0 && $output == *'flags:none level:none'* ]]
}

@test "S15: outside of a run a step is its command and nothing else" {
  target lane "\$(STEP) first sh -c 'echo one; exit 3'"
  run make lane
  [[ $status == 2 ]]
  [[ ${lines[0]} == one ]]
}

@test "S15: a quiet run has headings only, and all of what failed" {
  export QUIET=
  target lane '$(STEP) first echo one'
  steps -j1 lane
  [[ $status == 0 && ${#lines[@]} == 1 && $output == '=== first: ok in '* ]]
  target broken "\$(STEP) second sh -c 'echo two; exit 3'"
  steps -j1 lane broken
  [[ $status == 1 && $output != *one* && $output == *$'\ntwo\n=== failed after '* ]]
}

@test "S15: an interrupt ends all lanes with what they started" {
  local status=0 tries=0 pid
  target a "\$(STEP) a sh -c 'sleep 100 & echo \$\$! >out.a; wait'"
  target b "\$(STEP) b sh -c 'echo \$\$\$\$ >out.b; exec sleep 100'"
  "$ROOT/scripts/steps.sh" run -j2 a b >/dev/null 2>&1 3>&- &
  local steps=$!
  until [[ -s out.a && -s out.b ]]; do
    ((tries++ < 300))
    sleep 0.1
  done
  kill -TERM "$steps"
  wait "$steps" || status=$?
  [[ $status == 143 ]]
  for pid in "$(cat out.a)" "$(cat out.b)"; do
    tries=0
    while kill -0 "$pid" 2>/dev/null; do
      ((tries++ < 100))
      sleep 0.1
    done
  done
}

@test "S15: wrong use of steps ends with 2" {
  for arguments in '' run 'step name' 'all of it'; do
    # shellcheck disable=SC2086 # words
    run "$ROOT/scripts/steps.sh" $arguments
    [[ $status == 2 ]]
  done
  run "$ROOT/scripts/steps.sh" --help
  [[ $status == 0 && $output == 'Usage: scripts/steps.sh'* ]]
}
