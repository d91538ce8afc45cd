#!/usr/bin/env bats
# shellcheck disable=SC2016 # text for other shells
# What keeps operations and weekly security updates apart: a unit of systemd's
# stand-in holds the real lock.

load helper
load fixtures/host/host
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
  stop_host
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
  holder=$!
  until [[ -e $STATE/holds ]]; do sleep 0.02; done
  run hold
  [ "$status" -eq 1 ]
  [[ $output == *'upgrade (run 20261124T185436-0a1b2c3d), since now, is under way on this host: nothing was done'* ]]
  [ ! -e "$HELD" ]
  run release
  [ "$status" -eq 0 ]
  [[ $output == *'operations are not held'* ]]
  run ! flock --nonblock "$OPERATION_LOCK" true
  kill "$holder"
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
  run hold
  [ "$status" -eq 0 ]
  grep -q '^systemd-run .* sleep 7200$' "$CALLS"
  # Two hours later.
  pkill -x sleep --session "$(<"$STATE/units/$(<"$HELD")")"
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

@test "S11: on Amazon Linux 2023 updates come of the newest release, unless somebody has chosen one" {
  local release
  require_host
  make_host_package
  for release in 2 2023; do
    start_host "$release"
    start_systemd
    on_host "$ROOT/scripts/server/hold-operations.sh"
    if [[ $release == 2 ]]; then
      run ! on_host test -e /etc/dnf/vars/releasever
    else
      [ "$(on_host cat /etc/dnf/vars/releasever)" = latest ]
      on_host bash -c 'echo 2023.9.20251117 >/etc/dnf/vars/releasever'
      on_host "$ROOT/scripts/server/release-operations.sh"
      run on_host "$ROOT/scripts/server/hold-operations.sh"
      [ "$status" -eq 0 ]
      [[ $output == *'updates come of the release that /etc/dnf/vars/releasever names: 2023.9.20251117'* ]]
      [ "$(on_host cat /etc/dnf/vars/releasever)" = 2023.9.20251117 ]
    fi
    stop_host
  done
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
