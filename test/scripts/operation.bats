#!/usr/bin/env bats
# shellcheck disable=SC2016 # text for other shells
# How an operation runs on by itself and is followed: operation.sh and
# follow-operation.sh in a plain folder, with a stand-in for systemd's units.

load helper
load fixtures/host/systemd

RUN=20261124T185436-0a1b2c3d

setup() {
  require_tool python3 flock setsid pkill
  require_root
  use_stubs
  STATE=$BATS_TEST_TMPDIR/state
  export STATE FOLLOW_POLL=0.02 OPERATION_RUNS=$BATS_TEST_TMPDIR/runs OPERATION_LOCK=$BATS_TEST_TMPDIR/lock
  mkdir "$STATE"
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
  $DOCUMENT "$BATS_TEST_TMPDIR/test.sh" script "$@" >"$BATS_TEST_TMPDIR/_script.sh"
  run --separate-stderr bash "$BATS_TEST_TMPDIR/_script.sh"
  rm "$BATS_TEST_TMPDIR/_script.sh"
}

follow() { run --separate-stderr "$ROOT/scripts/server/follow-operation.sh" --run "${1:-$RUN}" "${@:2}"; }

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

@test "S8 any operation | the command that starts it is sent twice | it runs once" {
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

@test "S8 any operation | all of its unit is killed, or the host restarts | it is lost, and its log is there" {
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

@test "S8 any operation | systemd refuses to start the unit | the document fails with the reason, and so does the run" {
  script true
  touch "$STATE/fail-systemd-run"
  start "$RUN"
  [ "$status" -eq 1 ]
  [[ $stderr == *"could not start gitlab-codedeploy-test-$RUN: Failed to start transient service unit: Connection timed out"* ]]
  follow
  [ "$(field state)" = ended ]
  [ "$(field exit)" = 1 ]
}

@test "S8: a run that systemd has not begun is under way for a minute, and lost then" {
  mkdir -p "$OPERATION_RUNS/$RUN"
  for file in log result; do : >"$OPERATION_RUNS/$RUN/$file"; done
  for file in operation started; do echo test >"$OPERATION_RUNS/$RUN/$file"; done
  follow
  [ "$(field state)" = running ]
  touch -d '-2 minutes' "$OPERATION_RUNS/$RUN/started"
  follow
  [ "$(field state)" = lost ]
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

@test "S8: what is followed is the whole log and result, byte by byte, whatever its lines are, in pieces that Systems Manager keeps" {
  local folder=$OPERATION_RUNS/$RUN pieces=0 log=0 result=0 bytes
  mkdir -p "$folder"
  echo test >"$folder/operation"
  date -u +%FT%TZ >"$folder/started"
  python3 - "$folder" <<'PY'
import random, sys
random.seed(4)
def text(size):
    out = ""
    while len(out.encode()) < size:
        out += random.choice(["\n", "\n\n\n", "x" * random.randrange(300), "パス" * random.randrange(40), "long パ" * 4000, "|+> {}"]) + random.choice(["", "\n"])
    return out
open(sys.argv[1] + "/log", "w").write(text(150_000))
open(sys.argv[1] + "/result", "w").write(text(90_000))
PY
  echo 0 >"$folder/status"
  : >"$BATS_TEST_TMPDIR/all"
  while :; do
    follow "$RUN" --log-from "$log" --result-from "$result"
    bytes=$(
      LC_ALL=C
      echo ${#output}
    )
    [ "$bytes" -le 20000 ]
    log=$(field log) result=$(field result) pieces=$((pieces + 1))
    body >>"$BATS_TEST_TMPDIR/all"
    [[ $(field more) == True ]] || break
    [ "$pieces" -lt 100 ]
  done
  [ "$pieces" -lt 30 ]
  python3 - "$BATS_TEST_TMPDIR/all" "$folder" <<'PY'
import sys
got = {"|": b"", ">": b""}
for line in open(sys.argv[1], "rb").read().split(b"\n")[:-1]:
    if not line: continue
    mark, kind, text = chr(line[0]), chr(line[1]), line[2:]
    text.decode()  # no character is cut in two
    got[mark] += text + (b"\n" if kind == " " else b"")
for mark, name in ("|", "log"), (">", "result"):
    assert got[mark] == open(f"{sys.argv[2]}/{name}", "rb").read(), name
PY
}

@test "S8: control characters in a log cannot reach the operator's terminal" {
  script 'printf "a\tb \e[31mred\e[0m \a\x7f\0 \xc2\x9b31m \xe2\x80\xae\xe2\x81\xa6 50%%\r100%%\n" >&2'
  start "$RUN"
  ended
  [ "$(body)" = $'| a\tb ?[31mred?[0m ??? ??31m ?????? 50%\n| 100%' ]
}

@test "S8: a line is shown when it is ended, a long one before" {
  script 'printf "half a line" >&2; until [[ -e $STATE/go ]]; do sleep 0.02; done
    printf "%3000s" x >&2; touch "$STATE/long"; until [[ -e $STATE/end ]]; do sleep 0.02; done'
  start "$RUN"
  wait_until test -s "$OPERATION_RUNS/$RUN/log"
  follow
  [ -z "$(body)" ]
  [ "$(field log)" = 0 ]
  touch "$STATE/go"
  wait_until test -e "$STATE/long"
  follow "$RUN" --wait 20
  [[ $(body) == '|+half a line '* ]]
  [ "$(field log)" = 3011 ]
  touch "$STATE/end"
}

@test "S8: follow refuses what is neither a run nor an operation, and changes nothing" {
  local wrong
  for wrong in '' 'x;y' '../..' "$RUN/.." 'a b' '$(id)' "$RUN'" Backup; do
    run --separate-stderr "$ROOT/scripts/server/follow-operation.sh" --run "$wrong"
    [ "$status" -eq 2 ]
    [[ $stderr == *"--run: got '$wrong', want"* ]]
  done
  run --separate-stderr "$ROOT/scripts/server/follow-operation.sh" --run test --log-from -1
  [ "$status" -eq 2 ]
  follow test --log-from 099
  [ "$status" -eq 0 ]
  [ ! -e "$OPERATION_RUNS" ]
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
