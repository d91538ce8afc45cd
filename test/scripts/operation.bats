#!/usr/bin/env bats
# shellcheck disable=SC2016 # text for other shells
# How an operation of a script runs on by itself: operation.sh in a plain folder,
# followed by the hosts' program, with a stand-in for systemd's units.

load helper
load fixtures/host/systemd

RUN=20261124T185436-0a1b2c3d

setup_file() {
  cd "$ROOT" && go build -o "$BATS_FILE_TMPDIR/host" -ldflags '-X main.rootVariable=HOST_ROOT' ./cmd/host
}

setup() {
  require_tool python3 flock setsid pkill
  require_root
  use_stubs
  STATE=$BATS_TEST_TMPDIR/state
  export STATE HOST_ROOT=$BATS_TEST_TMPDIR
  export OPERATION_RUNS=$HOST_ROOT/var/lib/gitlab-codedeploy/runs OPERATION_LOCK=$HOST_ROOT/run/gitlab-codedeploy.lock
  mkdir "$STATE" "$HOST_ROOT/run"
  start_systemd
  DOCUMENT="python3 $BATS_TEST_DIRNAME/fixtures/document.py"
}

teardown() {
  local file
  for file in "$STATE"/units/*; do
    [[ ! -e $file ]] || pkill -KILL --session "$(<"$file")" || true
  done
}

# script BODY makes an operation "test" whose main is BODY.
script() {
  cat >"$BATS_TEST_TMPDIR/test.sh" <<TEXT
set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source common.sh
# shellcheck source=scripts/lib/host.sh
source host.sh
# shellcheck source=scripts/lib/operation.sh
source operation.sh
main() {
$1
}
operate test main "\$@"
TEXT
}

# start RUN ARGUMENT … runs the operation as a document does: from a file that
# is gone afterwards.
start() {
  $DOCUMENT "$BATS_TEST_TMPDIR/test.sh" "$@" >"$BATS_TEST_TMPDIR/_script.sh"
  run --separate-stderr bash "$BATS_TEST_TMPDIR/_script.sh"
  rm "$BATS_TEST_TMPDIR/_script.sh"
}

follow() { run --separate-stderr "$BATS_FILE_TMPDIR/host" follow --run "${1:-$RUN}" "${@:2}"; }

# field NAME prints a field of the first line that follow printed.
field() { python3 -c 'import json, sys; print(json.loads(sys.argv[1].splitlines()[0])[sys.argv[2]])' "$output" "$1"; }

# body prints the other lines.
body() { tail -n +2 <<<"$output"; }

# ended waits for the end of a run, and leaves what follow says.
ended() {
  local tries=0
  follow "${1:-$RUN}" --wait 5
  while [[ $(field state) == running ]]; do
    ((tries++ < 10)) || return 1
    follow "${1:-$RUN}" --log-from "$(field log)" --wait 2
  done
  follow "${1:-$RUN}"
}

wait_until() {
  local tries=0
  until "$@"; do
    ((tries++ < 500)) || return 1
    sleep 0.02
  done
}

@test "S8: by hand an operation runs in the foreground, with its own status" {
  script 'log "working on $*"; echo "{}"; exit 7'
  (
    cat "$ROOT"/scripts/lib/{common,host,operation}.sh
    grep -v '^source' "$BATS_TEST_TMPDIR/test.sh"
  ) >"$BATS_TEST_TMPDIR/by-hand.sh"
  run --separate-stderr bash "$BATS_TEST_TMPDIR/by-hand.sh" a 'b c'
  [ "$status" -eq 7 ]
  [ "$output" = '{}' ]
  [[ $stderr == *"working on a b c" ]]
  [ ! -e "$OPERATION_RUNS" ]
  [ ! -s "$CALLS" ]
}

@test "S8: as a document it returns at once and goes on as a unit: log, result and exit status are kept" {
  script 'log "working on $*"; until [[ -e $STATE/go ]]; do sleep 0.02; done; echo "{\"done\": true}"; exit 3'
  start "$RUN" a 'b c'
  [ "$status" -eq 0 ]
  [ "$output" = "run $RUN of test is started" ]
  follow "$RUN" --wait 20
  [ "$(field state)" = running ]
  [ "$(field exit)" = None ]
  [ "$(field operation)" = test ]
  [[ $(body) == "| "*"working on a b c" ]]
  follow "$RUN" --log-from "$(field log)"
  [ "$(field state)" = running ]
  [ -z "$(body)" ]
  touch "$STATE/go"
  ended
  [ "$(field state)" = ended ]
  [ "$(field exit)" = 3 ]
  [[ $(body) == "| "*"working on a b c"$'\n> {"done": true}' ]]
  [ "$(stat -c %a "$OPERATION_RUNS/$RUN")" = 700 ]
  [ "$(stat -c %a "$OPERATION_RUNS/$RUN/log")" = 600 ]
}

@test "S8: the unit's script finds itself in a document's environment, but for RUN_ID no other run's" {
  script 'echo "$OPERATION_RUN $HOME ${OPERATION_UNIT-none}"; usage >&2 || true'
  start "$RUN"
  ended
  [ "$(field exit)" = 0 ]
  [[ $(body) == *"> $RUN $HOME none" ]]
}

@test "S8: a script that is started twice runs once" {
  script 'echo once >>"$STATE/count"; until [[ -e $STATE/go ]]; do sleep 0.02; done'
  start "$RUN"
  start "$RUN"
  [ "$status" -eq 0 ]
  [ "$output" = "run $RUN was started already" ]
  touch "$STATE/go"
  ended
  start "$RUN"
  [ "$output" = "run $RUN was started already" ]
  [ "$(cat "$STATE/count")" = once ]
  [ "$(grep -c '^systemd-run' "$CALLS")" -eq 1 ]
  [ "$(ls "$OPERATION_RUNS")" = "$RUN" ]
}

@test "S8 any operation | a second one that changes the host is started meanwhile | it ends at once with 1 and names the first" {
  script 'exclusive test; log "has the lock"; until [[ -e $STATE/go ]]; do sleep 0.02; done'
  start "$RUN"
  follow "$RUN" --wait 20
  start 20261124T185437-00000002
  ended 20261124T185437-00000002
  [ "$(field exit)" = 1 ]
  [[ $(body) == *"error: test (run $RUN), since "*"Z, is under way on this host: nothing was done" ]]
  touch "$STATE/go"
  ended
  [ "$(field exit)" = 0 ]
  start 20261124T185438-00000003
  ended 20261124T185438-00000003
  [ "$(field exit)" = 0 ]
}

@test "S8 any operation | its script is killed | it has ended with 137" {
  script 'log working; kill -KILL $$'
  start "$RUN"
  ended
  [ "$(field state)" = ended ]
  [ "$(field exit)" = 137 ]
}

@test "S8: a script whose unit is killed is lost, and its log is there" {
  script 'exclusive test; log working; printf half; printf "an open line" >&2; exec sleep 100'
  start "$RUN"
  follow "$RUN" --wait 20
  pkill -KILL --session "$(unit_session "$RUN")"
  ended
  [ "$(field state)" = lost ]
  [ "$(field exit)" = None ]
  [ "$(field more)" = False ]
  [[ $(body) == "| "*"working"$'\n|+an open line' ]]
  # The lock goes with it.
  flock --timeout 10 "$OPERATION_LOCK" true
  script 'exclusive test'
  start 20261124T185437-00000002
  ended 20261124T185437-00000002
  [ "$(field exit)" = 0 ]
}

@test "S8 any operation | its unit is stopped | the script is told, and how it ended is kept" {
  script 'trap "die stopped" TERM; log working; while :; do sleep 0.02; done'
  start "$RUN"
  follow "$RUN" --wait 20
  systemctl stop "gitlab-codedeploy-test-$RUN"
  ended
  [ "$(field state)" = ended ]
  [ "$(field exit)" = 1 ]
  [[ $(body) == *"error: stopped" ]]
}

@test "S8: a script that systemd refuses to start fails with the reason" {
  script true
  touch "$STATE/fail-systemd-run"
  start "$RUN"
  [ "$status" -eq 1 ]
  [[ $stderr == *"could not start gitlab-codedeploy-test-$RUN: Failed to start transient service unit: Connection timed out"* ]]
  follow
  [ "$(field state)" = ended ]
  [ "$(field exit)" = 1 ]
}

@test "S8: an operation's name stands for its newest run, by the host's time" {
  script 'echo "$1"'
  start 20990101T000000-00000001 first
  ended 20990101T000000-00000001
  start 20200101T000000-00000002 second
  ended 20200101T000000-00000002
  follow test
  [ "$(field run)" = 20200101T000000-00000002 ]
  [ "$(body)" = '> second' ]
  follow backup
  [ "$(field state)" = none ]
  [ -z "$(body)" ]
  follow 20200101T000000-00000003
  [ "$(field state)" = none ]
}

@test "S8: nightly runs get an id of their own" {
  script 'echo "$OPERATION_RUN"'
  start nightly
  [[ $output =~ ^'run '([0-9]{8}T[0-9]{6}-[0-9a-f]{8})' of test is started'$ ]]
  local run=${BASH_REMATCH[1]}
  ended "$run"
  [ "$(body)" = "> $run" ]
}

@test "S8: the newest 50 runs are kept, and those under way" {
  local i name
  for ((i = 1; i <= 60; i++)); do
    name=$OPERATION_RUNS/20260101T000000-$(printf %08x "$i")
    mkdir -p "$name"
    echo 0 >"$name/status"
    echo test >"$name/operation"
    touch -d "2026-01-01 00:00:$((i - 1))" "$name/started"
  done
  # The oldest one goes on.
  rm "$OPERATION_RUNS/20260101T000000-00000001/status"
  systemd-run --unit gitlab-codedeploy-live sleep 100
  echo gitlab-codedeploy-live >"$OPERATION_RUNS/20260101T000000-00000001/unit"
  mkdir "$OPERATION_RUNS/notes"
  script true
  start "$RUN"
  [ "$status" -eq 0 ]
  [ "$(find "$OPERATION_RUNS" -mindepth 1 -maxdepth 1 | wc -l)" -eq 52 ]
  [ -e "$OPERATION_RUNS/20260101T000000-00000001" ]
  [ ! -e "$OPERATION_RUNS/20260101T000000-0000000b" ]
  [ -e "$OPERATION_RUNS/20260101T000000-0000000c" ]
}

@test "S8: an id of another form starts nothing" {
  script true
  for run in '../../etc' 20261124T185436 'x' "20261124T185436-0a1b2c3d.new"; do
    RUN_ID=$run run --separate-stderr bash -c 'set -euo pipefail; for lib in common host operation; do source "$ROOT/scripts/lib/$lib.sh"; done; main() { touch "$STATE/ran"; }; operate test main'
    [ "$status" -eq 2 ]
    [[ $stderr == *"RUN_ID: got '$run'"* ]]
  done
  [ ! -e "$STATE/ran" ]
  [ ! -e "$OPERATION_RUNS" ]
}
