#!/usr/bin/env bats
# shellcheck disable=SC2016 # text for other shells
# What keeps operations and weekly security updates apart: a unit of systemd's
# stand-in holds the real lock.

load helper
load fixtures/host/systemd

setup() {
  require_tool flock setsid pkill
  ((EUID == 0)) || skip "needs root, as the scripts do"
  use_stubs
  STATE=$BATS_TEST_TMPDIR
  export STATE OPERATION_LOCK=$BATS_TEST_TMPDIR/lock OPERATION_RUNS=$BATS_TEST_TMPDIR/runs HELD=$BATS_TEST_TMPDIR/held \
    INSTALL_LOCK=$BATS_TEST_TMPDIR/install INSTALL_POLL=0.02
  start_systemd
}

teardown() {
  local file
  for file in "$STATE"/units/*; do
    [[ ! -e $file ]] || pkill -KILL --session "$(<"$file")" || true
  done
}

hold() { "$ROOT/scripts/server/hold-operations.sh" "$@"; }
release() { "$ROOT/scripts/server/release-operations.sh" "$@"; }

# operation runs one that only wants the lock.
operation() {
  bash -c 'set -Eeuo pipefail; for lib in common host operation; do source "$ROOT/scripts/lib/$lib.sh"; done; exclusive upgrade; log done'
}

@test "S8 any operation | it is started during security updates | it ends at once and names them; afterwards it runs" {
  run hold
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *'no operation begins here for 7200 s'* ]]
  run operation
  [ "$status" -eq 1 ]
  [[ $output == *'security-updates (process '*' is under way on this host: nothing was done'* ]]

  run release
  [ "$status" -eq 0 ]
  [[ $output == *'operations may begin again'* ]]
  [ ! -e "$HELD" ]
  run operation
  [ "$status" -eq 0 ]
  # Next week.
  run hold
  [ "$status" -eq 0 ]
}

@test "S8 any operation | security updates come while it, or an installation, is under way | none is made, and it goes on" {
  # The stand-in of an upgrade.
  (
    exec 9>>"$OPERATION_LOCK"
    flock 9
    echo 'upgrade (run 20261124T185436-0a1b2c3d), since now,' >"$OPERATION_LOCK"
    touch "$STATE/holds"
    exec sleep 100 3>&-
  ) &
  until [[ -e $STATE/holds ]]; do sleep 0.02; done
  run hold
  [ "$status" -eq 1 ]
  [[ $output == *'upgrade (run 20261124T185436-0a1b2c3d), since now, is under way on this host: nothing was done'* ]]
  [ ! -e "$HELD" ]
  run release
  [ "$status" -eq 0 ]
  [[ $output == *'operations are not held'* ]]
  run ! flock --nonblock "$OPERATION_LOCK" true
  kill %1
  flock --timeout 10 "$OPERATION_LOCK" true

  run flock "$INSTALL_LOCK" "$ROOT/scripts/server/hold-operations.sh"
  [ "$status" -eq 1 ]
  [[ $output == *'an installation is under way on this host: nothing was done'* ]]
  flock --nonblock "$OPERATION_LOCK" true
}

@test "S8 any operation | it begins at the same moment as security updates | it goes on, and no update is made" {
  # It takes the lock before the unit does.
  mv "$STUBS/systemd-run" "$STUBS/systemd-run-real"
  stub systemd-run '
    (exec 8>>"$OPERATION_LOCK"; flock 8; exec sleep 100) >/dev/null 2>&1 3>&- &
    echo $! >"$STATE/other"
    while flock --nonblock "$OPERATION_LOCK" true; do sleep 0.02; done
    exec "$STUBS/systemd-run-real" "$@"'
  run env INSTALL_TIMEOUT=1 "$ROOT/scripts/server/hold-operations.sh"
  kill "$(<"$STATE/other")"
  echo "$output"
  [ "$status" -eq 1 ]
  [[ $output == *'another operation began at the same moment: nothing was done'* ]]
}

@test "S8: the hold ends by itself, and systemd that starts nothing fails it" {
  HOLD_SECONDS=0.1 run hold
  [ "$status" -eq 0 ]
  flock --timeout 10 "$OPERATION_LOCK" true
  run release
  [ "$status" -eq 0 ]

  touch "$STATE/fail-systemd-run"
  run hold
  [ "$status" -eq 1 ]
  [[ $output == *'systemd-run could not start gitlab-codedeploy-security-updates-'* ]]
  run operation
  [ "$status" -eq 0 ]
}

@test "S8: both scripts refuse arguments and show their help" {
  local script
  for script in hold release; do
    run "$script" --force
    [ "$status" -eq 2 ]
    [[ $output == *"unknown argument '--force'"* ]]
    run "$script" --help
    [ "$status" -eq 0 ]
    [[ $output == *"Usage: $script-operations.sh"* ]]
  done
}
