#!/usr/bin/env bash
#/ Usage: scripts/ops redrive --env NAME --profile PROFILE [OPTIONS]
#/
#/ Moves the uploads in the dead-letter queue back to the trigger's queue, and redrives state changes.
#/
#/ There they are tried as if they had just come: the newest upload of each group
#/ is deployed, what is older or was deployed meanwhile ends as such. Mend first
#/ what kept them from being deployed, or they come back. SQS does the moving,
#/ and goes on with it when this command ends; started again, it follows a move
#/ that is under way. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue-redrive.html
#/
#/ After that the status function works off its own dead letters: events of
#/ CodeDeploy that it failed on. An event that it fails on again stays there.
#/
#/ OPTIONS:
#/   --env NAME             Environment: config/NAME.yaml.
#/   --profile PROFILE      AWS profile of the deployment account (deploy.account).
#/   --timeout SECONDS      Longest time to follow the move. Default: 3600.
#/   --dry-run              Print the commands, and call nothing in AWS.
#/   --yes                  Do not ask. Needed without a terminal.
#/   -h, --help             Show this message.
#/
#/ Needs AWS CLI 1.27.148, 2.11.26 or newer. Prints one JSON object on stdout:
#/ {"deadLetterQueue", "queue", "status", "moved", "events"}; status is COMPLETED,
#/ or NOTHING when there was nothing to move; events is how many state changes
#/ the status function worked off.
#/ Exit status: 0 done, or nothing to do; 1 the move failed, was cancelled, not
#/ confirmed, or is still going on, or state changes are left; 2 wrong use,
#/ configuration or credentials.

# Runs on operators' laptops, macOS too: keep it to bash 3.2.
set -Eeuo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$ROOT/scripts/lib/common.sh"
# shellcheck source=scripts/lib/children.sh
source "$ROOT/scripts/lib/children.sh"
# shellcheck source=scripts/lib/operator.sh
source "$ROOT/scripts/lib/operator.sh"

# Seconds between two looks at the move.
REDRIVE_POLL=${REDRIVE_POLL:-2}
# Failures in a row, after the AWS CLI's own tries, until following ends.
PATIENCE=3
# Messages to look into before the question.
PEEK=5

# The event that lets the status function work off its dead letters.
EVENT=$ROOT/scripts/ops.d/redrive.json

QUEUE_URL='https?://[A-Za-z0-9.:-]+/[0-9]{12}/[A-Za-z0-9_-]{1,80}'

main() {
  parse "$@"
  need_tools aws go node
  [[ -n $YES || -n $DRY_RUN ]] || has_terminal ||
    bad_usage "there is no terminal to ask on: pass --yes to move without a question"
  begin_work
  load_environment
  find_sqs_endpoint
  if [[ -n $DRY_RUN ]]; then
    print_commands
    return
  fi
  check_identity
  read_outputs
  find_queues
  find_state_letters
  read_task
  BEFORE=$STARTED MOVE=
  if [[ $STATUS == RUNNING || $STATUS == CANCELLING ]]; then
    log "a move from $DEAD_LETTERS is under way already ($MOVED messages moved): following that one"
    BEFORE=0 MOVE=following
  else
    look
    if ((COUNT == 0)); then
      nothing_to_move
    else
      MOVE=start
    fi
  fi
  confirm
  [[ $MOVE != start ]] || start
  [[ -z $MOVE ]] || follow
  redrive_states
  program result "$DEAD_LETTERS" "$QUEUE" "$STATUS" "$MOVED" "$EVENTS"
}

parse() {
  ENVIRONMENT='' PROFILE='' TIMEOUT=3600 DRY_RUN='' YES=''
  local option
  while (($#)); do
    option=$1
    shift
    case $option in
      --dry-run) DRY_RUN=1 ;;
      --yes) YES=1 ;;
      -h | --help)
        print_help
        exit
        ;;
      --env | --profile | --timeout)
        [[ -n ${1-} ]] || bad_usage "$option needs a value"
        case $option in
          --env) ENVIRONMENT=$1 ;;
          --profile) PROFILE=$1 ;;
          --timeout) TIMEOUT=$1 ;;
        esac
        shift
        ;;
      *) bad_usage "unknown argument '$option'" ;;
    esac
  done
  local missing=
  [[ -n $ENVIRONMENT ]] || missing+=' --env'
  [[ -n $PROFILE ]] || missing+=' --profile'
  [[ -z $missing ]] || bad_usage "missing:$missing"
  [[ $TIMEOUT =~ ^[1-9][0-9]{0,5}$ ]] || bad_usage "--timeout: want seconds, got '$TIMEOUT'"
}

# The commands, each put into CMD: --dry-run prints the same ones.

arn_command() {
  sqs_command get-queue-attributes --queue-url "$1" --attribute-names QueueArn \
    --query Attributes.QueueArn --output text
}

counts_command() {
  sqs_command get-queue-attributes --queue-url "$1" \
    --attribute-names ApproximateNumberOfMessages ApproximateNumberOfMessagesNotVisible \
    --query 'Attributes.[ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible]' --output text
}

# Waiting a second makes SQS ask all of its servers, and a visibility timeout of
# zero leaves the messages where they are.
peek_command() {
  sqs_command receive-message --queue-url "$1" --max-number-of-messages "$PEEK" \
    --visibility-timeout 0 --wait-time-seconds 1 --output json
}

upload_id_command() {
  CMD=(s3api head-object --bucket "$BUCKET" "--key=$1")
  [[ -z $2 ]] || CMD+=("--version-id=$2")
  aws_command "${CMD[@]}" --query 'Metadata."upload-id" || Metadata."x-amz-meta-upload-id"' --output text
}

# The destination is named: without it SQS sends each message to the queue that
# it remembers, which may be one of an earlier stack.
start_command() {
  sqs_command start-message-move-task --source-arn "$1" --destination-arn "$2" --output json
}

task_command() {
  sqs_command list-message-move-tasks --source-arn "$1" --output json
}

# invoke_command FUNCTION FILE lets the answer be written to the file. Text is
# base64 to AWS CLI 2 and not to AWS CLI 1; a file by fileb:// is sent as it is by
# both. The function works for up to two minutes.
# https://docs.aws.amazon.com/cli/latest/userguide/cliv2-migration-changes.html#cliv2-migration-binaryparam
invoke_command() {
  local AWS_LIMITS=(--cli-connect-timeout 10 --cli-read-timeout 150)
  aws_command lambda invoke --function-name "$1" --payload "fileb://$EVENT" --query FunctionError --output text "$2"
}

program() {
  local step=$1
  shift
  node "$ROOT/scripts/ops.d/redrive.js" "$step" "$@"
}

find_queues() {
  BUCKET=$(need_output ArtifactBucketName '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]')
  DEAD_LETTERS_URL=$(need_output DeadLetterQueueUrl "$QUEUE_URL")
  QUEUE_URL=$(need_output QueueUrl "$QUEUE_URL")
  DEAD_LETTERS=${DEAD_LETTERS_URL##*/}
  QUEUE=${QUEUE_URL##*/}
  read_arn "$DEAD_LETTERS_URL"
  DEAD_LETTERS_ARN=$ANSWER
  read_arn "$QUEUE_URL"
  QUEUE_ARN=$ANSWER
}

read_arn() {
  arn_command "$1"
  ask || die "looking at ${1##*/}: $COMPLAINT"
  [[ $ANSWER =~ ^arn:[a-z-]+:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$ ]] || die "the ARN of ${1##*/} is '$ANSWER', and that is none"
}

# read_counts URL puts the queue's depth into COUNT, and into IN_FLIGHT what
# somebody holds at the moment.
read_counts() {
  counts_command "$1"
  ask || die "looking at ${1##*/}: $COMPLAINT"
  [[ $ANSWER =~ ^([0-9]+)[[:blank:]]+([0-9]+)$ ]] || die "the depth of ${1##*/} is '$ANSWER', and that is none"
  COUNT=${BASH_REMATCH[1]} IN_FLIGHT=${BASH_REMATCH[2]}
}

# read_task reads the newest move from the dead-letter queue, if there ever was one.
read_task() {
  look_at_task || {
    [[ $COMPLAINT != *"nvalid choice"* ]] ||
      die "this AWS CLI is too old to move messages: 1.27.148 or 2.11.26 is needed"
    die "looking for moves from $DEAD_LETTERS: $COMPLAINT"
  }
}

look_at_task() {
  local task
  task_command "$DEAD_LETTERS_ARN"
  ask || return
  task=$(program task <<<"$ANSWER")
  {
    read -r STATUS MOVED TO_MOVE STARTED
    read -r FAILURE || true
  } <<<"$task"
}

# look tells what is in the dead-letter queue. The depth is approximate and up
# to a minute old, so that a message at hand counts more than a depth of 0.
look() {
  local lines shown key version
  read_counts "$DEAD_LETTERS_URL"
  peek_command "$DEAD_LETTERS_URL"
  ask || die "looking into $DEAD_LETTERS: $COMPLAINT"
  lines=$(program peek "$BUCKET" <<<"$ANSWER")
  [[ -n $lines ]] || return 0
  ((COUNT > 0)) || COUNT=$(grep -c '' <<<"$lines")
  log "about $COUNT messages in $DEAD_LETTERS of account $ACCOUNT, $REGION, such as:"
  while IFS=$'\t' read -r shown key version; do
    UPLOAD=
    if [[ -n $key ]]; then find_upload "$key" "$version"; fi
    printf '  %s%s\n' "$shown" "$UPLOAD" >&2
  done <<<"$lines"
}

# find_upload KEY VERSION puts into UPLOAD what the uploading job called it.
find_upload() {
  upload_id_command "$1" "$2"
  if ! ask; then
    UPLOAD=" (the object cannot be read: ${COMPLAINT:0:200})"
  elif [[ $ANSWER != None && $ANSWER =~ ^[A-Za-z0-9-]{1,64}$ ]]; then
    UPLOAD=" upload $ANSWER"
  else
    UPLOAD=" without an upload id"
  fi
}

nothing_to_move() {
  ((IN_FLIGHT == 0)) ||
    die "$IN_FLIGHT messages of $DEAD_LETTERS are being read by somebody at the moment; try again when that is over"
  log "nothing to move: $DEAD_LETTERS is empty"
  STATUS=NOTHING MOVED=0
}

# confirm asks about all that is to be done, unless that is nothing.
confirm() {
  local answer='' what=''
  [[ $MOVE != start ]] || what="move about $COUNT messages from $DEAD_LETTERS back to $QUEUE"
  ((STATE_COUNT == 0)) || what+="${what:+, and }let $FUNCTION work off about $STATE_COUNT messages of $STATE_LETTERS"
  [[ -z $YES && -n $what ]] || return 0
  printf 'Account %s, %s: %s? [y/N] ' "$ACCOUNT" "$REGION" "$what" >&2
  read -r answer || true
  [[ $answer == [yY]* ]] || die "not confirmed; nothing was moved"
}

start() {
  start_command "$DEAD_LETTERS_ARN" "$QUEUE_ARN"
  # From here on it may have begun, even if the answer gets lost.
  going_on
  ask || die "starting the move from $DEAD_LETTERS to $QUEUE: $COMPLAINT"
  log "moving about $COUNT messages from $DEAD_LETTERS to $QUEUE"
}

# going_on prepares what is said when this command ends before the move does.
going_on() {
  task_command "$DEAD_LETTERS_ARN"
  INTERRUPTED="SQS goes on with the move. How far it is: scripts/ops redrive again, or $(print_command)"
  start_command "$DEAD_LETTERS_ARN" "$QUEUE_ARN"
}

follow() {
  local deadline=$((SECONDS + TIMEOUT)) failures=0 said=-1
  going_on
  while :; do
    if look_at_task; then
      failures=0
      # A list that does not have the move yet shows an earlier one.
      if ((STARTED > BEFORE)); then
        case $STATUS in
          COMPLETED) break ;;
          FAILED | CANCELLED)
            die "the move from $DEAD_LETTERS ended as $STATUS after $MOVED of $TO_MOVE messages${FAILURE:+: $FAILURE}; the rest is still there"
            ;;
        esac
        if ((MOVED != said)); then
          log "moved $MOVED of about $TO_MOVE"
          said=$MOVED
        fi
      fi
    else
      failures=$((failures + 1))
      ((failures < PATIENCE)) || die "following the move: $COMPLAINT; $INTERRUPTED"
    fi
    ((SECONDS < deadline)) || die "not finished after $TIMEOUT s (--timeout); $INTERRUPTED"
    run_child sleep "$REDRIVE_POLL"
  done
  INTERRUPTED=
  log "moved $MOVED messages from $DEAD_LETTERS to $QUEUE"
}

# find_state_letters puts the depth of the status function's dead-letter queue
# into STATE_COUNT. SQS cannot move these back, since Lambda and EventBridge put
# them there, and no queue: the function takes them by itself.
find_state_letters() {
  local url
  STATE_COUNT=0 EVENTS=0
  url=$(output StatusDeadLetterQueueUrl)
  [[ $url =~ ^${DEAD_LETTERS_URL%/*}/[A-Za-z0-9_-]{1,80}$ ]] || return 0
  STATE_LETTERS=${url##*/}
  read_counts "$url"
  ((COUNT > 0 || IN_FLIGHT == 0)) ||
    log "note: $IN_FLIGHT messages of $STATE_LETTERS are being read by somebody at the moment; try again when that is over"
  ((COUNT > 0)) || return 0
  STATE_COUNT=$COUNT
  FUNCTION=$(need_output StatusFunctionName '[A-Za-z0-9_][A-Za-z0-9_-]{0,63}')
  log "about $STATE_COUNT messages in $STATE_LETTERS, which $FUNCTION failed on"
}

# redrive_states calls the status function until it finds no more: a call ends
# in time, and one look into a queue may find less than there is.
redrive_states() {
  local deadline=$((SECONDS + TIMEOUT)) said events left
  ((STATE_COUNT > 0)) || return 0
  INTERRUPTED="$FUNCTION may still work off its dead letters; what is left then stays in $STATE_LETTERS"
  while :; do
    invoke_command "$FUNCTION" "$WORK/answered"
    ask || die "letting $FUNCTION work off $STATE_LETTERS: $COMPLAINT"
    said=$(program answer "$ANSWER" "$WORK/answered")
    [[ $said =~ ^([0-9]+)\ ([0-9]+)$ ]] || die "$FUNCTION did not work off $STATE_LETTERS: $said"
    events=${BASH_REMATCH[1]} left=${BASH_REMATCH[2]}
    EVENTS=$((EVENTS + events))
    ((left == 0)) ||
      die "$FUNCTION worked off $EVENTS messages of $STATE_LETTERS, and failed again on $left, which are still there: its log says why"
    ((events > 0)) || break
    ((SECONDS < deadline)) || die "$FUNCTION worked off $EVENTS messages of $STATE_LETTERS, and is not finished after $TIMEOUT s (--timeout); run it again"
  done
  INTERRUPTED=
  ((EVENTS > 0)) ||
    die "$FUNCTION found none of about $STATE_COUNT messages of $STATE_LETTERS: somebody reads them, or has just worked them off; run it again in a minute"
  log "$FUNCTION worked off $EVENTS messages of $STATE_LETTERS"
}

print_commands() {
  local queue
  echo "# has to print $ACCOUNT"
  identity_command
  print_command
  for queue in dead_letters=DeadLetterQueueUrl queue=QueueUrl; do
    output_command "${queue#*=}"
    echo "${queue%%=*}=\$($(print_command))"
    arn_command "%%${queue%%=*}%%"
    echo "${queue%%=*}_arn=\$($(print_command))"
  done
  echo "# how many there are, and some of them"
  counts_command %%dead_letters%%
  print_command
  peek_command %%dead_letters%%
  print_command
  start_command %%dead_letters_arn%% %%queue_arn%%
  print_command
  echo "# until it is COMPLETED"
  task_command %%dead_letters_arn%%
  print_command
  echo "# the status function's own dead letters, until its answer says 0 events and the line after it None"
  output_command StatusFunctionName
  echo "function=\$($(print_command))"
  invoke_command %%function%% /dev/stdout
  print_command
}

main "$@"
