#!/usr/bin/env bats
# shellcheck disable=SC1003,SC2016,SC2030,SC2031 # text for other shells; each test is a subshell
# How scripts/ops starts an operation and follows it (scripts/lib/remote.sh):
# the real AWS CLI against a played Systems Manager, an operation "test" that
# does what a test wants, and the real follow document.

load helper
load fixtures/host/systemd
load fixtures/ops-remote

setup() {
  require_root
  start_remote BackupBucketName=example-backups
  start_systemd
  run_on_folder server
  cat >"$REPO/scripts/ops.d/test.sh" <<'TEXT'
#!/usr/bin/env bash
#/ Usage: scripts/ops test
#/
#/ Tests.
set -Eeuo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$ROOT/scripts/lib/common.sh"
source "$ROOT/scripts/lib/children.sh"
source "$ROOT/scripts/lib/operator.sh"
source "$ROOT/scripts/lib/remote.sh"
WORD=word
take_option() {
  case $1 in
    --word) WORD=$2 TAKEN=2 ;;
    --flag) WORD=flag TAKEN=1 ;;
    *) return 1 ;;
  esac
}
main() {
  parse_options "$@"
  open_account
  bucket=$(need_output BackupBucketName '[a-z-]+')
  confirm "Test $WORD?"
  status=0
  run_operation server test "Word=$WORD" "Bucket=$bucket" || status=$?
  print_result
  exit "$status"
}
main "$@"
TEXT
  chmod +x "$REPO/scripts/ops.d/test.sh"
}

teardown() { stop_remote; }

# operation BODY is what the operation "test" does on the host.
operation() {
  printf '%s\n' 'set -Eeuo pipefail' >"$REMOTE/test.sh"
  local lib
  for lib in common host operation; do
    printf '# shellcheck source=scripts/lib/%s.sh\nsource %s.sh\n' $lib $lib >>"$REMOTE/test.sh"
  done
  printf 'main() {\n%s\n}\noperate test main "$@"\n' "$1" >>"$REMOTE/test.sh"
  python3 - "$REMOTE" "$ROOT" <<'PY'
import json, pathlib, sys
remote, root = map(pathlib.Path, sys.argv[1:])
sys.path.insert(0, str(root / "test/scripts/fixtures"))
import document
lines = ["#!/usr/bin/env bash", "export RUN_ID='{{ RunId }}'", "set -- --word '{{ Word }}' --bucket '{{ Bucket }}'"]
lines += document.inlined(remote / "test.sh", root).splitlines()
(remote / "documents/gitlab-codedeploy-staging-test.json").write_text(json.dumps({
    "schemaVersion": "2.2",
    "parameters": {
        "RunId": {"type": "String", "allowedPattern": r"^([0-9]{8}T[0-9]{6}-[0-9a-f]{8}|nightly)$"},
        "Word": {"type": "String", "allowedPattern": "^[a-z ]+$"},
        "Bucket": {"type": "String", "allowedPattern": "^[a-z-]+$"},
    },
    "mainSteps": [{"action": "aws:runShellScript", "name": "run", "inputs": {"timeoutSeconds": "60", "runCommand": lines}}],
}))
PY
}

# start_ops ARGUMENT … runs the command in the background: OPS is its process.
start_ops() {
  "$REPO/scripts/ops" test --env staging --profile account-a --yes "$@" >"$REMOTE/out" 2>"$REMOTE/err" </dev/null 3>&- &
  OPS=$!
}

wait_until() {
  local tries=0
  until "$@"; do
    ((tries++ < 600)) || return 1
    sleep 0.05
  done
}

run_id() { sed -n 's/.* run \([0-9]\{8\}T[0-9]\{6\}-[0-9a-f]\{8\}\)$/\1/p' <<<"${1:-$stderr}" | head -n 1; }

@test "S8: an operation is started, followed live, and ends with the script's own status; stdout is its result alone" {
  operation 'log "working on $*"; until [[ -e $STATE/go ]]; do sleep 0.02; done; log "second step"; echo "{\"a\": [1, 2]}"; exit 7'
  start_ops --word 'two words'
  wait_until grep -q 'working on --word two words --bucket example-backups' "$REMOTE/err"
  kill -0 "$OPS"
  if grep -q 'second step' "$REMOTE/err"; then return 1; fi
  touch "$STATE/go"
  local status=0
  wait "$OPS" || status=$?
  [ "$status" -eq 7 ]
  [ "$(<"$REMOTE/out")" = '{"a": [1, 2]}' ]
  [ "$(grep -c 'working on' "$REMOTE/err")" -eq 1 ]
  [ "$(grep -c 'second step' "$REMOTE/err")" -eq 1 ]
  [ "$(sent)" = test ]
  [ -z "$(ls -A "$TMPDIR")" ]
  # In a file, not in the AWS CLI's arguments, and none of them more than the document takes.
  [[ $(parameters_of test) == '{"RunId": ["'*'"], "Word": ["two words"], "Bucket": ["example-backups"]}' ]]
}

@test "S8 any operation | the laptop is cut off and its command killed | the operation goes on; --follow picks it up and ends with its status" {
  operation 'log "first step"; until [[ -e $STATE/go ]]; do sleep 0.02; done; log "last step"; echo result; exit 5'
  start_ops
  wait_until grep -q 'first step' "$REMOTE/err"
  kill -KILL "$OPS"
  wait "$OPS" || true
  ops test --follow 20200101T000000-00000000
  [ "$status" -eq 1 ]
  [[ $stderr == *"there is no run 20200101T000000-00000000 on the server"* ]]
  (
    sleep 0.2
    touch "$STATE/go"
  ) 3>&- &
  ops test --follow
  [ "$status" -eq 5 ]
  [ "$output" = result ]
  [[ $stderr == *"following run "*"first step"*"last step" ]]
  # By its id, when all is over.
  ops test --follow "$(sed -n 's/.*following run \([^,]*\),.*/\1/p' <<<"$stderr")"
  [ "$status" -eq 5 ]
  [ "$output" = result ]
  [ "$(sent)" = test ]
}

@test "S8 any operation | the command is interrupted | it says that the operation goes on and how to follow it" {
  operation 'log "first step"; until [[ -e $STATE/go ]]; do sleep 0.02; done'
  start_ops
  wait_until grep -q 'first step' "$REMOTE/err"
  kill -TERM "$OPS"
  local status=0
  wait "$OPS" || status=$?
  [ "$status" -eq 143 ]
  grep -qE 'interrupted; run [^ ]+ goes on, to follow it: scripts/ops test --env staging --profile account-a --follow [0-9]{8}T' "$REMOTE/err"
  touch "$STATE/go"
  ops test --follow
  [ "$status" -eq 0 ]
}

@test "S8 any operation | the answer to its start is lost, four times over | it is sent again with the same id and runs once" {
  operation 'echo once >>"$STATE/count"; echo result'
  fault SendCommand lost-answer
  fault SendCommand lost-answer
  fault SendCommand lost-answer
  fault SendCommand lost-request
  export AWS_MAX_ATTEMPTS=1
  ops test --yes
  [ "$status" -eq 0 ]
  [ "$output" = result ]
  [ "$(sent | wc -l)" -eq 5 ]
  [ "$(grep -o 'RunId": \["[^"]*' "$REMOTE/requests" | sort -u | wc -l)" -eq 1 ]
  [ "$(cat "$STATE/count")" = once ]
}

@test "S8 any operation | no connection at all, throttling and rubbish while it is followed | it goes on following, and shows every line once" {
  operation 'for i in 1 2 3 4 5; do log "step $i"; sleep 0.3; done; echo result'
  fault GetCommandInvocation refuse ThrottlingException
  fault GetCommandInvocation lost-answer
  fault GetCommandInvocation refuse InternalServerError
  fault GetCommandInvocation refuse ExpiredTokenException
  fault SendCommand delay 0
  fault SendCommand lost-answer
  fault SendCommand refuse ThrottlingException
  export AWS_MAX_ATTEMPTS=1
  ops test --yes
  [ "$status" -eq 0 ]
  [ "$output" = result ]
  [ "$(grep -o 'step [1-5]$' <<<"$stderr" | tr '\n' ' ')" = 'step 1 step 2 step 3 step 4 step 5 ' ]
}

@test "S8 any operation | the network is away for longer than the patience | it says so, and that the operation goes on" {
  operation 'log "first step"; until [[ -e $STATE/go ]]; do sleep 0.02; done'
  export AWS_MAX_ATTEMPTS=1
  OPS_PATIENCE=2 start_ops
  wait_until grep -q 'first step' "$REMOTE/err"
  touch "$REMOTE/down"
  local status=0
  wait "$OPS" || status=$?
  [ "$status" -eq 1 ]
  grep -qE 'no news from the server: .*; the operation goes on, trying again' "$REMOTE/err"
  grep -qE 'nothing heard for 2 s; run [^ ]+ may go on, to follow it: scripts/ops test .*--follow' "$REMOTE/err"
  rm "$REMOTE/down"
  touch "$STATE/go"
  ops test --follow
  [ "$status" -eq 0 ]
}

@test "S8 any operation | its unit is killed, or the host restarts | exit 1 and 'ended without a status'" {
  operation 'log "first step"; sleep 100'
  start_ops
  wait_until grep -q 'first step' "$REMOTE/err"
  pkill -KILL --session "$(unit_session "$(run_id "$(<"$REMOTE/err")")")"
  local status=0
  wait "$OPS" || status=$?
  [ "$status" -eq 1 ]
  grep -q 'of test ended without a status: it was killed, or the host was restarted' "$REMOTE/err"
  [ ! -s "$REMOTE/out" ]
}

@test "S8 any operation | the agent is offline | nothing is started later, and scripts/ops check is named" {
  operation 'touch "$STATE/ran"'
  touch "$REMOTE/offline-$REMOTE_SERVER"
  ops test --yes
  [ "$status" -eq 1 ]
  [[ $stderr == *"test was not started: the agent on the instance did not take it within 60 s (Undeliverable). Why: scripts/ops check --env staging --profile account-a"* ]]
  touch "$REMOTE/gone-$REMOTE_SERVER"
  ops test --yes
  [ "$status" -eq 1 ]
  [[ $stderr == *"the instance is not online in Systems Manager. Why: scripts/ops check"* ]]
  [ ! -e "$STATE/ran" ]
}

@test "S8 any operation | there is no such document, or the profile may not send it | it ends at once with AWS's words" {
  ops test --yes
  [ "$status" -eq 1 ]
  [[ $stderr == *"there is no document gitlab-codedeploy-staging-test: scripts/ops deploy makes it"* ]]
  operation true
  fault SendCommand refuse AccessDeniedException
  ops test --yes
  [ "$status" -eq 1 ]
  [[ $stderr == *"test was not started: "*AccessDenied* ]]
  # Of the follow document.
  fault SendCommand delay 0
  fault SendCommand refuse AccessDeniedException
  ops test --yes
  [ "$status" -eq 1 ]
  [[ $stderr == *AccessDenied*"may go on, to follow it:"* ]]
}

@test "S8 any operation | a parameter that its document does not let through | refused, by us or by Systems Manager, and nothing runs" {
  operation 'touch "$STATE/ran"'
  ops test --yes --word 'Upper'
  [ "$status" -eq 1 ]
  [[ $stderr == *"test was not started: "*InvalidParameters* ]]
  local word
  for word in "a'; touch $STATE/ran; '" 'a$(id)' 'a`id`' 'a"b' 'a;b' $'a\nb' 'a{{ RunId }}' 'a\'; do
    ops test --yes --word "$word"
    [ "$status" -eq 2 ]
    [[ $stderr == *"no quotes"* ]]
  done
  [ "$(sent)" = test ]
  [ ! -e "$STATE/ran" ]
}

@test "S8: a refusal of the script itself carries its status and its words" {
  operation true
  rm -rf "$STATE/runs-server"
  # As a document that is run on a host where systemd is broken.
  touch "$STATE/fail-systemd-run"
  ops test --yes
  [ "$status" -eq 1 ]
  [[ $stderr == *"systemd-run could not start"*"test was not started on the server: its document ended with 1"* ]]
}

@test "S8: more output than Systems Manager keeps arrives whole" {
  operation 'for ((i = 1; i <= 1000; i++)); do echo "line $i of the log, which is long enough" >&2; done; printf "%030000d\n" 7'
  ops test --yes
  [ "$status" -eq 0 ]
  [ "${#output}" -eq 30000 ]
  [ "$(grep -c 'of the log, which is long enough$' <<<"$stderr")" -eq 1000 ]
}

@test "S8: without --yes and without a terminal nothing is started; a no starts nothing; --dry-run asks and calls nothing" {
  operation 'touch "$STATE/ran"'
  ops test </dev/null
  [ "$status" -eq 2 ]
  [[ $stderr == *"there is no terminal to ask on: pass --yes to go on without the question: Test word?"* ]]
  run python3 "$ROOT/test/scripts/fixtures/ops-terminal.py" 80 n env PATH="$PATH" "$REPO/scripts/ops" test --env staging --profile account-a
  [ "$status" -eq 1 ]
  [[ $output == *"Account 111111111111, ap-northeast-1: Test word? [y/N]"*"not confirmed; nothing was done"* ]]
  [ -z "$(sent)" ]
  : >"$REMOTE/requests"
  ops test --dry-run
  [ "$status" -eq 0 ]
  [ ! -s "$REMOTE/requests" ]
  [ ! -e "$STATE/ran" ]
}

@test "S8: what --dry-run prints does what the command does, as it stands" {
  operation 'echo "$*" >"$STATE/ran"'
  ops test --dry-run --word 'two words'
  printf '%s\n' "$output" >"$BATS_TEST_TMPDIR/printed"
  run bash -euo pipefail "$BATS_TEST_TMPDIR/printed"
  echo "$output"
  [ "$status" -eq 0 ]
  wait_for_file "$STATE/ran"
  [[ $(parameters_of test) == '{"RunId": ["'*'"], "Word": ["two words"], "Bucket": ["example-backups"]}' ]]
  [[ $(parameters_of follow) == '{"Run": ["'*'"], "LogFrom": ["0"], '* ]]
}

@test "S8: wrong use ends with 2 and asks AWS nothing; another account is refused" {
  local expected arguments
  while IFS='|' read -r expected arguments; do
    # shellcheck disable=SC2086 # a list of words
    run --separate-stderr "$REPO/scripts/ops" test $arguments
    [[ $status == 2 && $stderr == *"$expected"* ]] || {
      echo "$arguments: $status $stderr"
      return 1
    }
  done <<'CASES'
missing: --env|--yes
--word needs a value|--env staging --word
unknown argument '--wrong'|--env staging --wrong
--timeout: want seconds, got '1h'|--env staging --timeout 1h
--follow: want the id of a run|--env staging --follow yesterday
CASES
  [ ! -s "$REMOTE/requests" ]
  echo 222222222222 >"$REMOTE/account"
  ops test --yes
  [ "$status" -eq 2 ]
  [[ $stderr == *"profile account-a is of account 222222222222, but GitLab-staging belongs to account 111111111111 (gitlab.account in config/staging.yaml)"* ]]
}

@test "S8: without --profile the AWS CLI's own rules find the credentials" {
  operation 'echo "$2"'
  AWS_PROFILE=account-a run --separate-stderr "$REPO/scripts/ops" test --env staging --yes --flag
  [ "$status" -eq 0 ]
  [ "$output" = flag ]
}
