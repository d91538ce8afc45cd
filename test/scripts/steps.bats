#!/usr/bin/env bats
# scripts/steps.sh, which runs the parts of `make check` and `make test`.

load helper

@test "S15: every step runs under its heading, and a failed one is named at the end" {
  run "$ROOT/scripts/steps.sh" 'first=echo one' 'second=echo two; exit 3' 'third=echo three'
  [[ $status == 1 ]]
  [[ $output == *'=== first: ok in '*$'\none\n'*'=== second: FAILED with 3 in '*$'\ntwo\n'*'=== third: ok in '*$'\nthree\n'* ]]
  [[ ${lines[${#lines[@]} - 1]} == '=== failed after '*' s: second' ]]
}

@test "S15: when all went well the last line says so" {
  run "$ROOT/scripts/steps.sh" 'first=true'
  [[ $status == 0 ]]
  [[ ${lines[${#lines[@]} - 1]} == '=== all well after '*' s' ]]
}

@test "S15: lanes run side by side, and a failure in either counts" {
  # Each waits for the other: one after the other they would wait in vain.
  local pipe=$BATS_TEST_TMPDIR/pipe
  mkfifo "$pipe"
  run "$ROOT/scripts/steps.sh" "writes=echo met >'$pipe'" -- "reads=cat '$pipe'; exit 1"
  [[ $status == 1 ]]
  [[ $output == *$'\nmet\n'* ]]
  [[ ${lines[${#lines[@]} - 1]} == *': reads' ]]
}

@test "S15: a shared step is run once, by a lane that is done with its own" {
  # "busy" holds its lane until the last of the shared steps opens the pipe.
  local pipe=$BATS_TEST_TMPDIR/pipe
  mkfifo "$pipe"
  run "$ROOT/scripts/steps.sh" "busy=cat '$pipe'" -- 'quick=true' --shared 'one=exit 3' "two=echo met >'$pipe'"
  [[ $status == 1 ]]
  [[ $output == *'=== quick: ok'*'=== one: FAILED with 3'*'=== two: ok'* ]]
  [[ $(grep -c '^=== ' <<<"$output") == 5 ]]
  [[ ${lines[${#lines[@]} - 1]} == '=== failed after '*' s: one' ]]
}

@test "S15: a shared step that no lane can take is no success" {
  use_stubs
  stub mkdir 'exit 1'
  run "$ROOT/scripts/steps.sh" 'own=true' -- --shared 'left=true'
  [[ $status == 1 ]]
  [[ $output != *'=== left'* ]]
  [[ ${lines[${#lines[@]} - 1]} == *': a lane ended early'* ]]
}

@test "S15: lanes without steps of their own share all of them" {
  local pipe=$BATS_TEST_TMPDIR/pipe
  mkfifo "$pipe"
  run "$ROOT/scripts/steps.sh" 'own=true' -- --shared "writes=echo met >'$pipe'" "reads=cat '$pipe'"
  [[ $status == 0 ]]
  [[ $output == *$'\nmet\n'* ]]
}

@test "S15: a step reads nothing from the terminal" {
  run "$ROOT/scripts/steps.sh" 'reads=cat' <<<'typed'
  [[ $status == 0 && $output != *typed* ]]
}

@test "S15: an interrupt ends all lanes with what they started" {
  local out=$BATS_TEST_TMPDIR/out status=0 tries=0 pid
  "$ROOT/scripts/steps.sh" "a=sleep 100 & echo \$! >'$out.a'; wait" -- "b=echo \$\$ >'$out.b'; exec sleep 100" \
    >/dev/null 2>&1 3>&- &
  local steps=$!
  until [[ -s $out.a && -s $out.b ]]; do
    ((tries++ < 300))
    sleep 0.1
  done
  kill -TERM "$steps"
  wait "$steps" || status=$?
  [[ $status == 143 ]]
  for pid in "$(cat "$out.a")" "$(cat "$out.b")"; do
    tries=0
    while kill -0 "$pid" 2>/dev/null; do
      ((tries++ < 100))
      sleep 0.1
    done
  done
}

@test "S15: wrong use of steps ends with 2" {
  run "$ROOT/scripts/steps.sh"
  [[ $status == 2 ]]
  run "$ROOT/scripts/steps.sh" --help
  [[ $status == 0 && $output == 'Usage: scripts/steps.sh'* ]]
}
