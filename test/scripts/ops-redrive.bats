#!/usr/bin/env bats
# scripts/ops redrive. moto 5.2.1 knows no message moves, so that even with the
# real AWS CLI against a moto server the two calls about moves are played, by a
# command that moves the messages one by one; all else there is real. Then with
# answers that are all played.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154 # stubs expand it; each test is a subshell, and that is meant

load helper
load fixtures/ops-account

setup_file() { start_account letters; }
teardown_file() { stop_account; }
teardown() { [[ -z ${FUNCTION_PID-} ]] || kill "$FUNCTION_PID"; }

DEAD_LETTERS_ARN=arn:aws:sqs:ap-northeast-1:222222222222:dead-letters
QUEUE_ARN=arn:aws:sqs:ap-northeast-1:222222222222:uploads

# played makes the played account, with so many dead letters. A message's key
# is all that matters of it.
played() {
  fake_account
  export REDRIVE_POLL=0.05
  depth dead-letters "${1:-3}"
  answer receive-message "{\"Messages\": [$(message m-1 artifacts/web/artifact.gz v-1)]}"
  answer head-object 42-7-abc
  answer start-message-move-task '{"TaskHandle": "handle"}'
}

depth() { answer "depth-$1" "$(printf '%s\t%s' "$2" "${3:-0}")"; }

# message ID KEY [VERSION [BUCKET]] is a message of S3, in the AWS CLI's JSON.
message() {
  node -p 'const [id, key, versionId, name] = process.argv.slice(1);
    JSON.stringify({MessageId: id, Body: JSON.stringify({Records: [{s3: {bucket: {name}, object: {key, versionId}}}]})})' \
    "$1" "$2" "${3-}" "${4:-example-deploy-staging}"
}

# task N STATUS MOVED [STARTED [JSON]] is what SQS says of its newest move when
# it is asked for the Nth time.
task() {
  answer "list-message-move-tasks.$1" "{\"Results\": [{\"Status\": \"$2\", \"ApproximateNumberOfMessagesMoved\": $3,
    \"ApproximateNumberOfMessagesToMove\": 3, \"StartedTimestamp\": ${4:-2000}${5:+, $5}}]}"
}

# A move that ends at the third look; the first one is before it begins.
moves() {
  task 2 RUNNING 1
  task 3 COMPLETED 3
}

ops_redrive() { run --separate-stderr "$REPO/scripts/ops" redrive --env staging --profile b "$@"; }

not_started() { not_called 'start-message-move-task'; }

# letters N makes the stack have so many dead letters of the status function.
letters() {
  outputs StatusDeadLetterQueueUrl https://sqs.ap-northeast-1.amazonaws.com/222222222222/state-letters StatusFunctionName status-function
  depth state-letters "$1" "${2:-0}"
}

# no_uploads leaves the other queue empty.
no_uploads() {
  depth dead-letters 0
  rm "$FAKES/receive-message"
}

result() { node -p 'const r = JSON.parse(require("fs").readFileSync(0)); [r.status, r.moved, r.deadLetterQueue, r.queue, r.events].join(" ")' <<<"$output"; }

# --- the real AWS CLI -------------------------------------------------------

# play_moves puts a command before the real AWS CLI that plays the calls moto
# does not know, with $FOLDER for what it remembers.
play_moves() {
  use_stubs
  export FOLDER=$BATS_TEST_TMPDIR REAL=$AWS_CLI FIXTURES=$ROOT/test/scripts/fixtures
  stub aws '
    case $2 in
      start-message-move-task)
        touch "$FOLDER/started"
        "$ROOT/.venv/bin/python" "$FIXTURES/ops-queues.py" "$ENDPOINT" move "$4" "$6" >"$FOLDER/moved"
        echo "{\"TaskHandle\": \"played\"}" ;;
      list-message-move-tasks)
        [[ -e $FOLDER/started ]] || { echo "{\"Results\": []}"; exit; }
        echo "{\"Results\": [{\"Status\": \"COMPLETED\", \"StartedTimestamp\": 1, \"ApproximateNumberOfMessagesMoved\": $(cat "$FOLDER/moved")}]}" ;;
      invoke) exec "$REAL" "$@" --endpoint-url "$FUNCTIONS" ;;
      *) exec "$REAL" "$@" ;;
    esac'
  "$ROOT/.venv/bin/python" "$FIXTURES/ops-queues.py" "$ENDPOINT" function "$FOLDER" 3>&- &
  FUNCTION_PID=$!
  wait_until test -s "$FOLDER/port"
  FUNCTIONS=http://localhost:$(<"$FOLDER/port")
  export FUNCTIONS
}

@test "S14: the real AWS CLI finds the uploads among the dead letters, moves them, and finds nothing after that" {
  play_moves
  run --separate-stderr "$ROOT/scripts/ops" redrive --env local --profile account-b --yes
  [[ $status == 0 ]] || echo "$stderr"
  [[ $status == 0 ]]
  [[ $stderr == *"about 2 messages in Deploy-local-DeadLetters-"*" of account 222222222222, ap-northeast-1, such as:"* ]]
  [[ $stderr == *"  artifacts/sample web/artifact.gz upload 42-7-abc"* ]]
  [[ $stderr == *", which is about no artifact"* ]]
  [[ $stderr == *"played-status worked off 1 messages of Deploy-local-StatusDeadLetters-"* ]]
  [[ $(result) == "COMPLETED 2 Deploy-local-DeadLetters-"*" Deploy-local-Queue-"*" 1" ]]
  [[ $("$ROOT/.venv/bin/python" "$FIXTURES/ops-queues.py" "$ENDPOINT" depths) == 'DeadLetters 0 Queue 2 StatusDeadLetters 0' ]]
  # What the function got is the event, and not base64 of it or its file's name.
  [[ $(sort -u "$FOLDER/events") == "$(cat "$ROOT/scripts/ops.d/redrive.json")" ]]

  rm "$FOLDER/started"
  run --separate-stderr "$ROOT/scripts/ops" redrive --env local --profile account-b --yes
  [[ $status == 0 ]]
  [[ $(result) == "NOTHING 0 "* ]]
  [[ $stderr == *"nothing to move: Deploy-local-DeadLetters-"*" is empty"* ]]
  [[ ! -e $FOLDER/started && $(wc -l <"$FOLDER/events") -eq 2 ]]
}

@test "S15: redrive refuses a profile of another account, and names both accounts" {
  run --separate-stderr "$ROOT/scripts/ops" redrive --env local --profile stranger --yes
  [[ $status == 2 && -z $output ]]
  [[ $stderr == *"profile stranger is of account 333333333333, but Deploy-local belongs to account 222222222222 (deploy.account in config/local.yaml)"* ]]
}

# --- the move ---------------------------------------------------------------

@test "S14: the move goes from the dead-letter queue to the queue, and is followed to its end" {
  played
  moves
  ops_redrive --yes
  [[ $status == 0 ]]
  grep -q -- "start-message-move-task --source-arn $DEAD_LETTERS_ARN --destination-arn $QUEUE_ARN " "$CALLS"
  [[ $stderr == *"moved 1 of about 3"*"moved 3 messages from dead-letters to uploads"* ]]
  [[ $(result) == 'COMPLETED 3 dead-letters uploads 0' ]]
  no_temporary_files
}

@test "S14: peeking leaves the messages where they are" {
  played
  moves
  ops_redrive --yes
  grep -q -- 'receive-message .*--visibility-timeout 0 ' "$CALLS"
  not_called 'delete-message|purge-queue|change-message'
  [[ $stderr == *"about 3 messages in dead-letters of account 222222222222, ap-northeast-1, such as:"* ]]
  [[ $stderr == *$'\n'"  artifacts/web/artifact.gz version v-1 upload 42-7-abc"$'\n'* ]]
  grep -q -- 'head-object --bucket example-deploy-staging --key=artifacts/web/artifact.gz --version-id=v-1 ' "$CALLS"
}

@test "S14: nothing to move is no failure, and starts nothing" {
  played 0
  rm "$FAKES/receive-message"
  ops_redrive --yes
  [[ $status == 0 ]]
  [[ $stderr == *"nothing to move: dead-letters is empty"* ]]
  [[ $(result) == 'NOTHING 0 dead-letters uploads 0' ]]
  not_started
}

@test "S14: a depth of 0 that is out of date does not hide a message at hand" {
  played 0
  moves
  ops_redrive --yes
  [[ $status == 0 ]]
  [[ $stderr == *"about 1 messages in dead-letters"* ]]
  grep -q 'start-message-move-task' "$CALLS"
}

@test "S14: messages that somebody is reading are not taken for none" {
  played 0
  rm "$FAKES/receive-message"
  depth dead-letters 0 4
  ops_redrive --yes
  [[ $status == 1 && -z $output ]]
  [[ $stderr == *"4 messages of dead-letters are being read by somebody"* ]]
}

@test "S14: a move that is under way is followed instead of asked for again" {
  played
  task 1 RUNNING 1 1000
  task 2 RUNNING 2 1000
  task 3 COMPLETED 3 1000
  run --separate-stderr "$REPO/scripts/ops" redrive --env staging --profile b --yes
  [[ $status == 0 ]]
  [[ $stderr == *"a move from dead-letters is under way already (1 messages moved): following that one"* ]]
  [[ $(result) == 'COMPLETED 3 dead-letters uploads 0' ]]
  not_started
}

@test "S14: the end of an earlier move is not taken for the end of this one" {
  played
  task 1 COMPLETED 9 1000
  task 2 COMPLETED 9 1000
  task 3 RUNNING 1 2000
  task 4 COMPLETED 3 2000
  ops_redrive --yes
  [[ $status == 0 ]]
  [[ $(result) == 'COMPLETED 3 dead-letters uploads 0' ]]
  [[ $stderr != *"moved 9"* ]]
}

@test "S14: a failed or cancelled move ends with 1, what was moved and why" {
  local how
  for how in FAILED CANCELLED; do
    played
    task 2 "$how" 1 2000 '"FailureReason": "AccessDenied\u001b[2J to uploads"'
    ops_redrive --yes
    [[ $status == 1 && -z $output ]]
    [[ $stderr == *"the move from dead-letters ended as $how after 1 of 3 messages: AccessDenied"*"to uploads; the rest is still there"* ]]
    printable "$stderr"
    rm -r "$FAKES" "$REPO"
  done
}

@test "S14: a move that SQS refuses to start ends with 1 and AWS's words" {
  played
  refuse start-message-move-task 'An error occurred (AccessDenied) when calling the StartMessageMoveTask operation: no'
  ops_redrive --yes
  [[ $status == 1 && -z $output ]]
  [[ $stderr == *"starting the move from dead-letters to uploads: An error occurred (AccessDenied)"* ]]
}

@test "S14: a look that fails now and then does not end the following, three in a row do" {
  played
  refuse list-message-move-tasks.2 'Could not connect to the endpoint URL'
  refuse list-message-move-tasks.3 'Could not connect to the endpoint URL'
  task 4 COMPLETED 3
  ops_redrive --yes
  [[ $status == 0 ]]
  rm -r "$FAKES" "$REPO"

  played
  local i
  for i in 2 3 4; do refuse "list-message-move-tasks.$i" 'An error occurred (ExpiredToken): expired'; done
  ops_redrive --yes
  [[ $status == 1 && -z $output ]]
  [[ $stderr == *"following the move: An error occurred (ExpiredToken): expired; SQS goes on with the move."*"aws sqs list-message-move-tasks --source-arn $DEAD_LETTERS_ARN"* ]]
}

@test "S14: a move that takes too long goes on, and it is said how to look" {
  played
  answer list-message-move-tasks.1 '{}'
  answer list-message-move-tasks '{"Results": [{"Status": "RUNNING", "StartedTimestamp": 2000, "ApproximateNumberOfMessagesMoved": 1}]}'
  ops_redrive --yes --timeout 1
  [[ $status == 1 && -z $output ]]
  [[ $stderr == *"not finished after 1 s (--timeout); SQS goes on with the move."*"scripts/ops redrive again, or aws sqs list-message-move-tasks"* ]]
  # Once, not at each look.
  [[ $(grep -c 'moved 1 of' <<<"$stderr") == 1 ]]
}

# interrupt_at CALL interrupts the command while that call hangs.
interrupt_at() {
  touch "$FAKES/$1.hang"
  "$REPO/scripts/ops" redrive --env staging --profile b --yes >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
  local ops=$!
  status=0
  wait_until test -s "$FAKES/hanging"
  kill -TERM "$ops"
  wait "$ops" || status=$?
  [[ $status == 143 && ! -s $BATS_TEST_TMPDIR/out ]]
  gone() { ! kill -0 "$(cat "$FAKES/hanging")" 2>/dev/null; }
  wait_until gone
  no_temporary_files
}

@test "S14: interrupted while it follows, it says that the move goes on and how to look" {
  played
  interrupt_at list-message-move-tasks.2
  grep -q "interrupted; SQS goes on with the move.*aws sqs list-message-move-tasks --source-arn $DEAD_LETTERS_ARN" "$BATS_TEST_TMPDIR/err"
}

@test "S14: interrupted before the move it says nothing of one" {
  played
  interrupt_at receive-message
  grep -q 'interrupted$' "$BATS_TEST_TMPDIR/err"
  not_started
}

# --- the question -----------------------------------------------------------

@test "S14: on a terminal it names account, region, queues and count, and a no moves nothing" {
  played
  on_terminal 200 n "$REPO/scripts/ops" redrive --env staging --profile b
  [[ $status == 1 ]]
  [[ $output == *"Account 222222222222, ap-northeast-1: move about 3 messages from dead-letters back to uploads? [y/N]"* ]]
  [[ $output == *"not confirmed; nothing was moved"* ]]
  not_started
  # The second time: its first look is the account's second.
  task 3 COMPLETED 3
  on_terminal 200 y "$REPO/scripts/ops" redrive --env staging --profile b
  [[ $status == 0 ]]
  grep -q 'start-message-move-task' "$CALLS"
}

@test "S14: without --yes and without a terminal nothing is called" {
  played
  ops_redrive </dev/null
  [[ $status == 2 && $stderr == *"pass --yes"* ]]
  [[ ! -s $CALLS ]]
}

@test "S14: --dry-run calls nothing in AWS, and what it prints does what a redrive does" {
  played
  ops_redrive --dry-run </dev/null
  [[ $status == 0 ]]
  not_called '^aws (sts|sqs|s3|cloudformation|lambda)'
  local printed=$output
  # Played outputs are JSON, and --query is what makes text of them.
  diff - <(sed -nE 's/^([a-z_]+)=.*OutputKey==[^A-Za-z]*([A-Za-z]+).*/\1 \2/p' <<<"$printed") <<'EXPECTED'
dead_letters DeadLetterQueueUrl
queue QueueUrl
function StatusFunctionName
EXPECTED
  answer describe-stacks.1 https://sqs/222222222222/dead-letters
  answer describe-stacks.2 https://sqs/222222222222/uploads
  answer describe-stacks.3 status-function
  : >"$CALLS"
  bash -euo pipefail -c "$printed"
  grep -q -- "^aws sqs start-message-move-task --source-arn $DEAD_LETTERS_ARN --destination-arn $QUEUE_ARN " "$CALLS"
  grep -q -- "^aws sqs list-message-move-tasks --source-arn $DEAD_LETTERS_ARN " "$CALLS"
  grep -q -- '^aws lambda invoke --function-name status-function ' "$CALLS"
  cmp "$FAKES/events" "$REPO/scripts/ops.d/redrive.json"
}

# --- what messages may hold -------------------------------------------------

@test "S14: hostile messages are shown as text, and their keys reach no command" {
  played 9
  moves
  local messages
  messages=$(message m-1 'artifacts/a%1B%5B2J%0Ab.gz' v-1)
  messages+=,$(message m-2 'file:///etc/passwd')
  messages+=,$(message m-3 'artifacts/other.gz' v-3 another-bucket)
  messages+=,$(message m-4 'artifacts/%ZZ.gz')
  messages+=,$(message m-5 'artifacts/ok.gz' '--profile x')
  messages+=',{"MessageId": "m-6\u001b[2J", "Body": "{\"Event\":\"s3:TestEvent\"}"}'
  messages+=',{"MessageId": "m-7", "Body": "\u001b]0;owned\u0007"}'
  messages+=,$(message m-8 "artifacts/\$(touch+$BATS_TEST_TMPDIR/owned)\`id\`;.gz")
  messages+=,$(message m-8 'artifacts/seen-twice.gz')
  answer receive-message "{\"Messages\": [$messages]}"
  ops_redrive --yes
  [[ $status == 0 ]]
  printable "$stderr"
  local text
  for text in 'file:///etc/passwd' 'artifacts/other.gz version v-3' 'message m-4, which is about no artifact' \
    'artifacts/ok.gz version --profile?x' 'message m-7, which'; do
    [[ $stderr == *$'\n'"  $text"* ]] || {
      echo "missing: $text"
      return 1
    }
  done
  # The last body of a message that came twice counts, and only that is looked up.
  [[ $(grep -c 'head-object' "$CALLS") == 1 ]]
  grep -q -- '--key=artifacts/seen-twice.gz ' "$CALLS"
  [[ ! -e $BATS_TEST_TMPDIR/owned ]]
}

@test "S14: keys with shell syntax stay one argument" {
  played
  moves
  answer receive-message "{\"Messages\": [$(message m-8 "artifacts/\$(touch+$BATS_TEST_TMPDIR/owned)\`id\`;.gz")]}"
  ops_redrive --yes
  [[ $status == 0 && ! -e $BATS_TEST_TMPDIR/owned ]]
  grep -qF -- "--key=artifacts/\$(touch $BATS_TEST_TMPDIR/owned)\`id\`;.gz --query" "$CALLS"
}

@test "S14: an upload id that is none, or an object that is gone, does not stop the redrive" {
  local answered shown
  while IFS='|' read -r answered shown; do
    played
    moves
    answer head-object "$answered"
    [[ $answered != error ]] || refuse head-object 'An error occurred (404) when calling the HeadObject operation: Not Found'
    ops_redrive --yes
    [[ $status == 0 && $stderr == *"version v-1$shown"* ]]
    rm -r "$FAKES" "$REPO"
  done <<'CASES'
None| without an upload id
../../x| without an upload id
error| (the object cannot be read: An error occurred (404)
CASES
}

# --- the status function's dead letters --------------------------------------

@test "S14: after the move the status function works off its own dead letters, until it finds none" {
  played
  moves
  letters 12
  answer answered.1 '{"events":10,"left":0}'
  answer answered.2 '{"events":2,"left":0}'
  ops_redrive --yes
  [[ $status == 0 ]]
  [[ $stderr == *"about 12 messages in state-letters, which status-function failed on"*"moved 3 messages"*"status-function worked off 12 messages of state-letters"* ]]
  [[ $(result) == 'COMPLETED 3 dead-letters uploads 12' ]]
  [[ $(grep -c '^aws lambda invoke --function-name status-function ' "$CALLS") == 3 ]]
  [[ $(sort -u "$FAKES/events") == "$(cat "$ROOT/scripts/ops.d/redrive.json")" ]]
  # The function works for up to two minutes.
  grep -q '^aws lambda invoke .*--cli-read-timeout 150' "$CALLS"
  no_temporary_files
}

@test "S14: state changes are worked off also when no upload is a dead letter, or when a move is under way" {
  played
  no_uploads
  letters 1
  answer answered.1 '{"events":1,"left":0}'
  ops_redrive --yes
  [[ $status == 0 ]]
  [[ $(result) == 'NOTHING 0 dead-letters uploads 1' ]]
  not_started
  rm -r "$FAKES" "$REPO"

  played
  task 1 RUNNING 1 1000
  task 2 COMPLETED 3 1000
  letters 1
  answer answered.1 '{"events":1,"left":0}'
  ops_redrive --yes
  [[ $status == 0 ]]
  [[ $(result) == 'COMPLETED 3 dead-letters uploads 1' ]]
}

@test "S14: without dead letters of its own the status function is not called" {
  local depth
  for depth in '0 0' '0 2'; do
    played
    no_uploads
    # shellcheck disable=SC2086 # two words
    letters $depth
    ops_redrive --yes
    [[ $status == 0 ]]
    not_called '^aws lambda'
    [[ $(result) == 'NOTHING 0 dead-letters uploads 0' ]]
    [[ $depth == '0 0' || $stderr == *"note: 2 messages of state-letters are being read by somebody"* ]]
    rm -r "$FAKES" "$REPO"
  done
}

@test "S14: on a terminal the status function is named in the question, and a no calls nothing" {
  played
  letters 7
  on_terminal 200 n "$REPO/scripts/ops" redrive --env staging --profile b
  [[ $status == 1 ]]
  [[ $output == *"move about 3 messages from dead-letters back to uploads, and let status-function work off about 7 messages of state-letters? [y/N]"* ]]
  not_started
  no_uploads
  on_terminal 200 n "$REPO/scripts/ops" redrive --env staging --profile b
  [[ $status == 1 ]]
  [[ $output == *"ap-northeast-1: let status-function work off about 7 messages of state-letters? [y/N]"* ]]
  not_called '^aws lambda'
}

@test "S14 redrive | the status function answers 200 and has failed | exit 1 with its error; the uploads are moved" {
  played
  moves
  letters 1
  answer invoke Unhandled
  answer answered '{"errorMessage":"look into the dead letters: \u001b[2J denied","errorType":"wrapError"}'
  ops_redrive --yes
  [[ $status == 1 && -z $output ]]
  printable "$stderr"
  [[ $stderr == *"moved 3 messages"*"error: status-function did not work off state-letters: Unhandled: look into the dead letters: "*" denied"* ]]
  [[ $(grep -c '^aws lambda' "$CALLS") == 1 ]]
}

@test "S14 redrive | the status function fails again on some events | exit 1 with how many; they stay" {
  played
  no_uploads
  letters 3
  answer answered '{"events":1,"left":2}'
  ops_redrive --yes
  [[ $status == 1 && -z $output ]]
  [[ $stderr == *"error: status-function worked off 1 messages of state-letters, and failed again on 2, which are still there: its log says why"* ]]
}

@test "S14 redrive | the status function may not be called | exit 1 with AWS's words; the uploads are moved" {
  played
  moves
  letters 3
  refuse invoke 'An error occurred (AccessDeniedException) when calling the Invoke operation: no'
  ops_redrive --yes
  [[ $status == 1 && -z $output ]]
  [[ $stderr == *"moved 3 messages"*"error: letting status-function work off state-letters: An error occurred (AccessDeniedException)"* ]]
}

@test "S14 redrive | the status function's answer is that of an older one, or none | exit 1 with the answer" {
  local said
  for said in null '' '{"events":"1","left":0}' '{"events":-1,"left":0}' 'x' '[]'; do
    played
    no_uploads
    letters 3
    answer answered "$said"
    ops_redrive --yes
    [[ $status == 1 && -z $output ]]
    [[ $stderr == *"status-function did not work off state-letters: want {\"events\", \"left\"} for an answer, got '$said'; deploy it anew"* ]]
    rm -r "$FAKES" "$REPO"
  done
}

@test "S14 redrive | the status function finds none of its dead letters | exit 1, to be run again" {
  played
  no_uploads
  letters 3
  ops_redrive --yes
  [[ $status == 1 && -z $output ]]
  [[ $stderr == *"error: status-function found none of about 3 messages of state-letters"*"run it again in a minute"* ]]
}

@test "S14 redrive | the status function is never finished | it ends after --timeout, and says so" {
  played
  no_uploads
  letters 3
  answer answered '{"events":10,"left":0}'
  ops_redrive --yes --timeout 1
  [[ $status == 1 && -z $output ]]
  [[ $stderr == *"error: status-function worked off "*"0 messages of state-letters, and is not finished after 1 s (--timeout); run it again"* ]]
}

@test "S14 redrive | interrupted while the status function works | it says that the function may go on" {
  played
  no_uploads
  letters 3
  interrupt_at invoke
  grep -q 'interrupted; status-function may still work off its dead letters' "$BATS_TEST_TMPDIR/err"
}

@test "S15: an output that is no function's name reaches no command" {
  played
  letters 3
  outputs StatusDeadLetterQueueUrl https://sqs.ap-northeast-1.amazonaws.com/222222222222/state-letters StatusFunctionName --profile
  ops_redrive --yes
  [[ $status == 1 && $stderr == *"output StatusFunctionName of Deploy-staging is '--profile', and that is none"* ]]
  not_started
  not_called '^aws lambda'
}

# --- what can go wrong ------------------------------------------------------

@test "S15: SQS is asked at the endpoint of the environment or of the profile, as AWS CLI 1 does not" {
  played
  moves
  ops_redrive --yes
  [[ ! -e $FAKES/endpoints ]]
  rm -r "$FAKES" "$REPO"

  played
  moves
  answer get http://localhost:5001 # aws configure get
  ops_redrive --yes
  [[ $(sort -u "$FAKES/endpoints") == http://localhost:5001 ]]
  [[ $(wc -l <"$FAKES/endpoints") -eq $(grep -c '^aws sqs' "$CALLS") ]]
  rm -r "$FAKES" "$REPO"

  played
  moves
  AWS_ENDPOINT_URL=http://localhost:5002 ops_redrive --yes
  [[ $(sort -u "$FAKES/endpoints") == http://localhost:5002 ]]
}

@test "S15: an AWS CLI that knows no moves is told apart, before anything is asked" {
  played
  refuse list-message-move-tasks "aws: error: argument operation: Invalid choice, valid choices are:"
  ops_redrive --yes
  [[ $status == 1 && $stderr == *"this AWS CLI is too old to move messages: 1.27.148 or 2.11.26 is needed"* ]]
  not_started
}

@test "S15: redrive with expired credentials names profile, account, AWS's words and the remedy" {
  played
  refuse get-caller-identity 'An error occurred (ExpiredToken) when calling the GetCallerIdentity operation: The security token included in the request is expired'
  ops_redrive --yes
  [[ $status == 2 && -z $output ]]
  [[ $stderr == *"profile b gives no credentials for account 222222222222 (deploy.account in config/staging.yaml)"*ExpiredToken*"aws sso login --profile b"* ]]
  not_called '^aws sqs'
}

@test "S15: redrive in an environment that does not exist is answered with the ones that do" {
  played
  printf '%s\n' 'environment: got "nope", want one of local, staging (the .yaml files in config)' >"$FAKES/config.error"
  ops_redrive --yes
  [[ $status == 2 && $stderr == 'environment: got "nope", want one of local, staging'* ]]
  [[ $stderr != *"exit status"* ]]
  not_called '^aws'
}

@test "S15: redrive of a stack that is not deployed names the command that makes it" {
  played
  refuse describe-stacks 'An error occurred (ValidationError) when calling the DescribeStacks operation: Stack with id Deploy-staging does not exist'
  ops_redrive --yes
  [[ $status == 2 && $stderr == *"no stack Deploy-staging in account 222222222222, ap-northeast-1: scripts/ops deploy --env staging makes it"* ]]
}

@test "S15: whatever AWS refuses before the move ends with 1, and starts nothing" {
  local call words
  while IFS='|' read -r call words; do
    played
    refuse "$call" "An error occurred (AccessDenied) when calling it: no"
    ops_redrive --yes
    [[ $status == 1 && -z $output && $stderr == *"$words"*"AccessDenied"* ]] || {
      echo "$call: $status, $stderr"
      return 1
    }
    not_started
    rm -r "$FAKES" "$REPO"
  done <<'CASES'
describe-stacks|reading the outputs of Deploy-staging
list-message-move-tasks|looking for moves from dead-letters
depth-dead-letters|looking at dead-letters
receive-message|looking into dead-letters
CASES
}

@test "S15: outputs that are no queues reach no command" {
  played
  answer describe-stacks '[{"OutputKey": "ArtifactBucketName", "OutputValue": "bucket"},
    {"OutputKey": "DeadLetterQueueUrl", "OutputValue": "https://evil.example.com/?/222222222222/x"}]'
  ops_redrive --yes
  [[ $status == 1 && $stderr == *"output DeadLetterQueueUrl of Deploy-staging is 'https://evil.example.com/?/222222222222/x', and that is none"* ]]
  not_called '^aws sqs'
}

@test "S15: wrong use of redrive ends with 2, says what is wrong, and calls nothing" {
  played
  local expected arguments
  while IFS='|' read -r expected arguments; do
    # shellcheck disable=SC2086 # a list of words
    run --separate-stderr "$REPO/scripts/ops" redrive $arguments </dev/null
    [[ $status == 2 && -z $output && $stderr == *"$expected"* ]] || {
      echo "$arguments: status $status, $stderr"
      return 1
    }
  done <<'CASES'
missing: --env --profile|--yes
missing: --env|--profile b
--env needs a value|--profile b --env
unknown argument '--all'|--env staging --all
--timeout: want seconds, got '2h'|--env staging --profile b --timeout 2h
CASES
  [[ ! -s $CALLS ]]
}

@test "S15: ops lists redrive, and it has a help" {
  run --separate-stderr "$ROOT/scripts/ops" --help
  [[ $output == *"  redrive  "*" Moves the uploads in the dead-letter queue"* ]]
  run --separate-stderr "$ROOT/scripts/ops" redrive --help
  [[ $status == 0 && $output == "Usage: scripts/ops redrive --env NAME"* ]]
}
