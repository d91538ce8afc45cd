#!/usr/bin/env bats
# upload-artifact.sh --wait, with the real AWS CLI against a moto server; the
# tests write the states that account B's functions would write.
# shellcheck disable=SC2030,SC2031,SC2154 # each test is a subshell; the fixture sets variables

load helper
load fixtures/upload-job

# begin_upload begins an upload that waits.
begin_upload() {
  begin "$script" --bucket artifacts-test --application "$app" --deployment-group blue-green --source "$source" --wait
}

# with_state STATE [NAME=VALUE]… gives each upload this state at once, with the
# playing CLI.
with_state() {
  fake_aws
  write_status "$@"
  export AWS_STUB_STATE=$BATS_TEST_TMPDIR/state.json
}

# outcome prints the three fields that --wait adds, from the one line there is.
outcome() {
  [ "$(grep -c '' <<<"$output")" -eq 1 ]
  python3 -c 'import json, sys; r = json.loads(sys.argv[1]); print(r["state"], r["deploymentId"], r["reason"], sep="|")' "$output"
}

assert_outcome() {
  local got
  got=$(outcome)
  [ "$got" = "$1" ] || {
    printf 'outcome %s, want %s\n' "$got" "$1"
    return 1
  }
  [ -z "$(ls -A "$TMPDIR")" ]
}

last_line() { tail -n 1 <<<"$stderr"; }

# --- how it ends -----------------------------------------------------------

@test "S15: --wait tells the states and the way to the console, and ends with Succeeded" {
  begin_upload
  uploaded
  put_status Waiting reason='deployment d-OLD is still running'
  said 'Waiting after [0-9]*m[0-9][0-9]s: deployment d-OLD is still running$'
  put_status Created deploymentId=d-ABC123XYZ
  said 'Created after [0-9]*m[0-9][0-9]s$'
  put_status Succeeded deploymentId=d-ABC123XYZ
  end
  assert_exit 0
  [[ $(last_line) == *'Succeeded after '* ]]
  assert_outcome 'Succeeded|d-ABC123XYZ|None'
  [ "$(field uploadId) $(field versionId)" = "$upload_id $version_id" ]
  # Once, as soon as the deployment is known.
  [ "$(grep -c 'https://ap-northeast-1.console.aws.amazon.com/codesuite/codedeploy/deployments/d-ABC123XYZ?region=ap-northeast-1$' <<<"$stderr")" -eq 1 ]
}

@test "S15: Failed, Stopped and Rejected exit 1 with the reason in the last line" {
  local state reason='HEALTH_CONSTRAINTS: the "green" fleet \ did not come up'
  for state in Failed Stopped Rejected; do
    with_state "$state" deploymentId=d-1 reason="$reason"
    upload --wait
    assert_exit 1
    [[ $(last_line) == *"error: $state after "*": $reason" ]]
    assert_outcome "$state|d-1|$reason"
  done
}

@test "S15: Superseded exits 0 and says that the newer upload's pipeline tells" {
  with_state Superseded
  upload --wait
  assert_exit 0
  [[ $(last_line) == *"Superseded after "*"; this upload is not deployed, a newer one took its place, and the newer one's pipeline tells how that ends" ]]
  assert_outcome 'Superseded|None|None'
}

@test "S15: without any state it times out with exit 3 and says whom to ask" {
  fake_aws
  upload --wait --timeout 1
  assert_exit 3
  assert_says "waiting up to 1 s"
  [[ $(last_line) == *"error: timed out after "*" without a state; the upload stays, and may still be deployed. Nothing has taken the upload up: account B's operators"* ]]
  [[ $(last_line) == *"raise --timeout or DEPLOY_TIMEOUT, and the job's timeout. Running the job again uploads and deploys again" ]]
  assert_outcome 'None|None|None'
}

@test "S15: timed out in a state, it tells which, that the deployment goes on, and where to look" {
  with_state InProgress deploymentId=d-7 reason='2 of 4 instances'
  DEPLOY_TIMEOUT=1 upload --wait
  assert_exit 3
  [[ $(last_line) == *'in state InProgress (2 of 4 instances); deployment d-7 goes on. See where it stands in account B'*'/deployments/d-7?region='* ]]
  assert_outcome 'InProgress|d-7|2 of 4 instances'
}

@test "S15: timed out behind a busy group, it tells that the upload is deployed later" {
  with_state Waiting reason='group is busy'
  upload --wait --timeout 1
  assert_exit 3
  [[ $(last_line) == *'in state Waiting (group is busy); the upload stays, and may still be deployed. It is deployed as soon as its group is free'* ]]
  assert_outcome 'Waiting|None|group is busy'
}

@test "S15: SIGTERM ends the wait at once, says that the deployment goes on, and leaves the result" {
  begin_upload
  uploaded
  put_status InProgress deploymentId=d-7
  said 'InProgress after'
  SECONDS=0
  kill "$(<"$BATS_TEST_TMPDIR/script.pid")"
  end
  assert_exit 143
  [ "$SECONDS" -lt 10 ]
  [[ $(last_line) == *'interrupted after '*' in state InProgress; deployment d-7 goes on' ]]
  assert_outcome 'InProgress|d-7|None'
}

@test "S15: SIGTERM during a look that S3 does not answer ends at once, too" {
  refusing_s3 hang list 1000
  AWS_ENDPOINT_URL=http://localhost:$port begin_upload
  wait_for_line 'list-type=2' "$BATS_TEST_TMPDIR/requests" 60
  SECONDS=0
  kill "$(<"$BATS_TEST_TMPDIR/script.pid")"
  end
  assert_exit 143
  [ "$SECONDS" -lt 10 ]
  [[ $(last_line) == *'without a state; the upload stays, and may still be deployed' ]]
  assert_outcome 'None|None|None'
}

@test "S15: a result that nobody can take is no success" {
  with_state Succeeded
  run bash -c '"$@" >/dev/full' - "$script" --bucket artifacts-test --application "$app" \
    --deployment-group blue-green --source "$source" --wait
  [ "$status" -eq 1 ]
  [[ $output == *'Succeeded after'* ]]
}

# --- what it is asked for --------------------------------------------------

@test "S15: DEPLOY_WAIT=true waits as --wait does" {
  with_state Succeeded
  DEPLOY_WAIT=true upload
  assert_exit 0
  assert_outcome 'Succeeded|None|None'
}

@test "S15: without --wait the result has no state" {
  fake_aws
  upload
  assert_exit 0
  [[ $output != *'"state"'* && $stderr != *waiting* ]]
}

@test "S15: a dry run does not wait, and its result has the fields as null" {
  fake_aws
  upload --dry-run --wait
  assert_exit 0
  assert_outcome 'None|None|None'
  [ "$(field dryRun)" = True ]
  [ ! -s "$CALLS" ]
}

@test "S15: an upload that fails is not waited for" {
  fake_aws
  AWS_STUB_FAIL=put-object upload --wait
  assert_exit 1
  [[ $stderr != *waiting* ]]
  assert_no_traces
}

@test "S15: a wrong variable exits 2 before anything is sent" {
  fake_aws
  DEPLOY_WAIT=yes upload
  assert_exit 2
  assert_says "DEPLOY_WAIT: got 'yes', want true or false"
  DEPLOY_TIMEOUT=1000000 upload
  assert_exit 2
  assert_says "timeout: got '1000000', want 1 to 999999 seconds"
  local seconds
  for seconds in 0 0.000 61 1,5 .5 08x; do
    DEPLOY_POLL_SECONDS=$seconds upload --wait
    assert_exit 2
    assert_says "DEPLOY_POLL_SECONDS: got '$seconds'"
  done
  run ! sent
}

# pauses prints the lengths of all pauses of an upload that looks in vain TIMES.
pauses() {
  with_state Succeeded
  stub sleep
  AWS_STUB_FAIL=list-objects-v2 AWS_STUB_CODE=SlowDown AWS_STUB_TIMES=$1 upload --wait "${@:2}"
  assert_exit 0
  sed -n 's/^sleep //p' "$CALLS"
}

@test "S15: the pauses between looks grow from 2 s to 15 s, give or take a quarter" {
  unset DEPLOY_POLL_SECONDS
  local all
  all=$(pauses 10)
  python3 - "$all" <<'EOF'
import sys
want = [2, 3, 4.5, 6.75, 10.125, 15, 15, 15, 15, 15]
factors = [float(pause) / about for pause, about in zip(sys.argv[1].split(), want, strict=True)]
assert all(0.749 < factor < 1.251 for factor in factors), factors
assert len(set(factors)) > 3, f"no jitter: {factors}"
EOF
}

@test "S15: no pause is longer than the time that is left" {
  local all
  all=$(DEPLOY_POLL_SECONDS=60 pauses 3 --timeout 20)
  [ "$(grep -c -E '^(20\.000|1?[0-9]\.[0-9]{3})$' <<<"$all")" -eq 3 ]
}

@test "S15: without a known Region there is no link to the console" {
  with_state Succeeded deploymentId=d-7
  AWS_REGION='x"y' upload --wait
  assert_exit 0
  assert_says "deployment d-7, in account B's CodeDeploy console"
  [[ $stderr != *https:* ]]
}

# --- what the states may be ------------------------------------------------

@test "S15: states out of order and an unknown one are told and waited over" {
  fake_aws
  begin_upload
  uploaded
  local state
  for state in Waiting Ready Created Paused InProgress; do
    put_status "$state" deploymentId=d-7
    said "$state after"
  done
  put_status Succeeded
  end
  assert_exit 0
  assert_says "; a state that this script does not know, waiting on"
  # The last object did not name the deployment; it is known all the same.
  assert_outcome 'Succeeded|d-7|None'
}

# Each object that is none must be told once, and the wait go on.
@test "S15: what is not a state is told and waited over" {
  fake_aws
  begin_upload
  uploaded
  local text number=0
  while IFS= read -r text; do
    number=$((number + 1))
    printf '%b' "$text" >"$BATS_TEST_TMPDIR/garbage"
    put_object "deployments/$upload_id.json" "$BATS_TEST_TMPDIR/garbage"
    wait_for_lines "$number" 'is not in the form of a state; waiting on' "$BATS_TEST_TMPDIR/err" || {
      printf 'case: %s\n' "$text"
      return 1
    }
  done <"$BATS_TEST_DIRNAME/fixtures/upload-no-states.txt"
  head -c 20000 /dev/zero >"$BATS_TEST_TMPDIR/garbage"
  put_object "deployments/$upload_id.json" "$BATS_TEST_TMPDIR/garbage"
  said 'is no state, it has 20000 bytes; waiting on'
  put_status Succeeded
  end
  assert_exit 0
  assert_outcome 'Succeeded|None|None'
}

@test "S15: any layout of the same JSON is read" {
  with_state Failed
  printf '\n{ "reason" :\t"a\\u0026b \\"c\\" \\\\ d\\/e\\tf \\u00e9\\ud83d\\ude00 \xc3\xa9","claim":{"state":"Succeeded","a":[1,{"b":"]}\\"}"}]},"more":-1.5e3,"on":true,"off":false,\r\n "deploymentId":"d-7","versionId":null, "state":"Fail\\u0065d"}\n\n' \
    >"$BATS_TEST_TMPDIR/state.json"
  upload --wait
  assert_exit 1
  assert_outcome 'Failed|d-7|a&b "c" \ d/e f ??? ?'
}

@test "S15: no control character of a state reaches the terminal or the result" {
  with_state Failed
  printf '{"state":"Failed","deploymentId":"d-\\u001b[2J","reason":"\x1b]0;x\x07 \\u001b[31mred\\u009b2J\x9b1m\xc2\x9b \\u0000\\u007f\x7f end"}' \
    >"$BATS_TEST_TMPDIR/state.json"
  upload --wait
  assert_exit 1
  [[ $(last_line) == *'end' ]]
  LC_ALL=C run ! grep -q $'[^ -~\n]' <<<"$stderr$output"
}

@test "S15: a long reason is cut" {
  with_state Failed reason="$(printf 'x%.0s' {1..9000})"
  upload --wait
  assert_exit 1
  [ "$(field reason | wc -c)" -eq 1001 ]
}

@test "S15: the state of another upload under our id is ignored, and those by version id and digest followed" {
  fake_aws
  begin_upload
  uploaded
  local id
  for id in "$upload_id" "$version_id"; do
    upload_id=$id version_id=another put_status Succeeded deploymentId=d-OTHER
    said "/$id.json tells of another upload, version another of artifacts/$app/artifact.gz; ignored"
  done
  # As the function IDs of lambda/internal/status makes it.
  id=sha256.$(python3 -c 'import hashlib, sys; print(hashlib.sha256("\0".join(sys.argv[1:]).encode()).hexdigest())' \
    "artifacts/$app/artifact.gz" "$version_id")
  upload_id=$id put_status Failed deploymentId=d-7 reason='the upload id was taken'
  end
  assert_exit 1
  assert_outcome 'Failed|d-7|the upload id was taken'
}

@test "S15: the state of another key under our id is ignored" {
  fake_aws
  begin_upload
  uploaded
  local own=$version_id
  key=artifacts/other.gz put_status Succeeded
  said "of artifacts/other.gz; ignored"
  upload_id=$own put_status Succeeded
  end
  assert_exit 0
}

@test "S15: a key that only begins like ours is not taken for it" {
  fake_aws
  begin_upload
  uploaded
  upload_id=$upload_id.json put_status Failed
  looked 3
  rm "$BATS_TEST_TMPDIR/s3/deployments/$upload_id.json.json"
  put_status Succeeded
  end
  assert_exit 0
}

# looked TIMES waits for that many more looks at the state.
looked() { wait_for_lines $(($(grep -c list-objects-v2 "$CALLS") + $1)) list-objects-v2 "$CALLS" 60; }

@test "S15: an unchanged state is read once, however often it is looked for" {
  fake_aws
  begin_upload
  uploaded
  put_status InProgress deploymentId=d-7
  said 'InProgress after'
  looked 3
  put_status Succeeded deploymentId=d-7
  end
  assert_exit 0
  [ "$(grep -c get-object "$CALLS")" -eq 2 ]
  [ "$(grep -c 'InProgress after' <<<"$stderr")" -eq 1 ]
}

# --- when S3 does not tell -------------------------------------------------

@test "S15: a role without the right to list or to read ends the wait, naming the right" {
  local operation right
  while IFS='|' read -r operation right; do
    refusing_s3 AccessDenied "$operation" 1000
    AWS_ENDPOINT_URL=http://localhost:$port begin_upload
    uploaded
    put_status InProgress
    end
    assert_exit 1
    assert_says "S3 refuses to tell the state, trying once more"
    [[ $(last_line) == *"error: the state may not be read: the role of the runner's host lacks $right"*'may still be deployed'*'(AccessDenied)'* ]]
    assert_outcome 'None|None|None'
    kill "$(<"$BATS_TEST_TMPDIR/server.pid")"
    rm "$BATS_TEST_TMPDIR/server.pid" "$BATS_TEST_TMPDIR"/port.*
  done <<'EOF'
list|s3:ListBucket with s3:prefix deployments/*
get|s3:GetObject on deployments/*
EOF
}

@test "S15: a refusal that does not come again, and other faults, are waited over" {
  with_state Succeeded
  local code operation times want
  while IFS='|' read -r code operation times want; do
    : >"$CALLS"
    AWS_STUB_CODE=$code AWS_STUB_FAIL=$operation AWS_STUB_TIMES=$times upload --wait
    assert_exit 0
    [ "$(grep -c -F "$want: An error occurred ($code)" <<<"$stderr")" -eq 1 ]
    assert_outcome 'Succeeded|None|None'
  done <<'EOF'
AccessDenied|list-objects-v2|1|S3 refuses to tell the state, trying once more
AccessDenied|get-object|1|S3 refuses to tell the state, trying once more
SlowDown|list-objects-v2|3|the state cannot be seen, trying again
InternalError|get-object|3|the state cannot be seen, trying again
NoSuchKey|get-object|1|the state cannot be seen, trying again
EOF
}

@test "S15: a connection that S3 drops is waited over" {
  refusing_s3 reset list 1
  AWS_ENDPOINT_URL=http://localhost:$port AWS_MAX_ATTEMPTS=1 begin_upload
  uploaded
  put_status Succeeded
  end
  assert_exit 0
  assert_says 'the state cannot be seen, trying again: Connection was closed'
}

@test "S15: refusals of two rights, or with a fault between them, are not the same one twice" {
  fake_aws
  # shellcheck disable=SC2016 # the stub expands it
  stub aws 'case " $(grep -c "list-objects-v2\|get-object" "$CALLS") $2" in
    *" put-object" | *" --version") ;;
    " 1 "* | " 4 "*) echo "An error occurred (AccessDenied)" >&2; exit 254 ;;
    " 3 "*) echo "An error occurred (SlowDown)" >&2; exit 254 ;;
  esac
  exec "$STUBS/playing" "$@"'
  cp "$BATS_TEST_DIRNAME/fixtures/upload-aws.sh" "$STUBS/playing"
  chmod +x "$STUBS/playing"
  write_status Succeeded
  AWS_STUB_STATE=$BATS_TEST_TMPDIR/state.json upload --wait
  assert_exit 0
  [ "$(grep -c 'trying once more' <<<"$stderr")" -eq 2 ]
}

@test "S15: the same fault is told once, and again in the last line at the time-out" {
  fake_aws
  AWS_STUB_FAIL=list-objects-v2 AWS_STUB_CODE=SlowDown upload --wait --timeout 3
  assert_exit 3
  [ "$(grep -c list-objects-v2 "$CALLS")" -ge 2 ]
  [ "$(grep -c 'the state cannot be seen' <<<"$stderr")" -eq 1 ]
  [[ $(last_line) == *'(the last look failed: An error occurred (SlowDown)'* ]]
}

@test "S15: an S3 that does not answer cannot hold the job beyond the time-out" {
  fake_aws
  SECONDS=0
  AWS_STUB_HANG=list-objects-v2 upload --wait --timeout 1
  assert_exit 3
  [ "$SECONDS" -lt 40 ]
  assert_says "the state cannot be seen, trying again: no answer in time"
}
