# For the commands of scripts/ops that work on GitLab's account: one set of
# options, the account, and operations that run on its hosts. Source it after
# common.sh, children.sh and operator.sh, do not run it. Needs bash 3.2.
#
# A command looks like this; its "#/" header is its help:
#
#   take_option() {              # only for options of its own
#     case $1 in
#       --backup) BACKUP=$2 TAKEN=2 ;;
#       --fix) FIX=yes TAKEN=1 ;;
#       *) return 1 ;;
#     esac
#   }
#   main() {
#     parse_options "$@"         # ENVIRONMENT PROFILE YES DRY_RUN FOLLOW RUN TIMEOUT
#     open_account               # from here on: output, need_output, aws_command, ask
#     bucket=$(need_output BackupBucketName '[a-z0-9.-]+')
#     confirm "Restore $BACKUP onto …?"
#     run_operation server restore "Backup=$BACKUP" "Bucket=$bucket" || status=$?
#     print_result               # on stdout
#     exit "$status"
#   }
#
# - parse_options calls take_option OPTION [VALUE] for what it does not know.
#   TAKEN says how many words that was; it fails for an unknown one. All that
#   is wrong with the arguments ends with 2 before anything is asked of AWS.
# - confirm asks on a terminal. --yes, --dry-run and --follow skip it; without a
#   terminal it ends with 2, and a "no" with 1.
# - run_operation HOST OPERATION [Parameter=value …] starts the operation's
#   document on the server or the runner, prints its log as it comes, puts its
#   result into $WORK/result, and returns the script's own exit status. With
#   --follow it starts nothing and follows the newest run of that operation, or
#   the run that is named. With --dry-run it prints the commands, and $WORK/result
#   is empty: a command then ends after it.
#   Parameters go to the AWS CLI in a file, never in an argument. They are no
#   place for secrets all the same: Systems Manager keeps them.
# - Under --dry-run, need_output prints a placeholder that becomes
#   "$(output Name)" in what is printed.
# shellcheck shell=bash

# shellcheck disable=SC2034 # for operator.sh
SIDE=GitLab

# Seconds between two questions about a command that was sent.
OPS_POLL=${OPS_POLL:-1}
# Seconds that a host may take to answer; it looks for news that long.
OPS_WAIT=${OPS_WAIT:-8}
# Seconds without any answer until following ends. The operation goes on.
OPS_PATIENCE=${OPS_PATIENCE:-900}
# Seconds that Systems Manager may take to hand a command to the agent; 30 at
# least. Later it is not run any more, so that nothing starts hours afterwards.
# https://docs.aws.amazon.com/systems-manager/latest/userguide/monitor-commands.html
DELIVERY=60

RUN_ID_PATTERN='[0-9]{8}T[0-9]{6}-[0-9a-f]{8}'

parse_options() {
  ENVIRONMENT='' PROFILE='' YES='' DRY_RUN='' FOLLOW='' RUN='' TIMEOUT=86400
  local option
  while (($#)); do
    option=$1
    shift
    case $option in
      -h | --help)
        print_help
        exit
        ;;
      --yes) YES=1 ;;
      --dry-run) DRY_RUN=1 ;;
      --follow)
        FOLLOW=1
        if [[ ${1-} =~ ^[^-] ]]; then
          RUN=$1
          shift
        fi
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
      *)
        TAKEN=1
        if ! declare -F take_option >/dev/null || ! take_option "$option" "${1-}"; then
          bad_usage "unknown argument '$option'"
        fi
        if ((TAKEN == 2)); then
          [[ -n ${1-} ]] || bad_usage "$option needs a value"
          shift
        fi
        ;;
    esac
  done
  [[ -n $ENVIRONMENT ]] || bad_usage "missing: --env"
  [[ $TIMEOUT =~ ^[1-9][0-9]{0,5}$ ]] || bad_usage "--timeout: want seconds, got '$TIMEOUT'"
  [[ -z $RUN || $RUN =~ ^$RUN_ID_PATTERN$ ]] ||
    bad_usage "--follow: want the id of a run such as 20261124T185436-0a1b2c3d, or nothing for the newest, got '$RUN'"
}

# open_account makes the work folder and leaves the stack's outputs at hand.
# Under --dry-run it prints how they are read.
open_account() {
  need_tools aws go node
  begin_work
  : >"$WORK/result"
  load_environment
  if [[ -n $DRY_RUN ]]; then
    echo "# has to print $ACCOUNT"
    identity_command
    print_command
    aws_command cloudformation describe-stacks --stack-name "$STACK" --output text
    # shellcheck disable=SC2016 # for the reader's shell
    printf 'output() { %s --query "Stacks[0].Outputs[?OutputKey=='\''$1'\''].OutputValue"; }\n' "$(print_command)"
    return
  fi
  check_identity
  read_outputs
}

confirm() {
  [[ -z $YES && -z $DRY_RUN && -z $FOLLOW ]] || return 0
  local answer=
  has_terminal || {
    log "error: there is no terminal to ask on: pass --yes to go on without the question: $1"
    exit 2
  }
  printf 'Account %s, %s: %s [y/N] ' "$ACCOUNT" "$REGION" "$1" >&2
  read -r answer || true
  [[ $answer == [yY]* ]] || die "not confirmed; nothing was done"
}

# host_instance server|runner prints the id of the instance.
host_instance() {
  case $1 in
    server) need_output ServerInstanceId 'i-[0-9a-f]{8,17}' ;;
    runner) need_output RunnerInstanceId 'i-[0-9a-f]{8,17}' ;;
  esac
}

# print_result prints what the operation left, harmless on a terminal.
print_result() { node "$ROOT/scripts/lib/follow.js" text <"$WORK/result"; }

# The commands, each put into CMD: --dry-run prints the same ones.

# send_command OPERATION INSTANCE PARAMETERS-FILE
send_command() {
  aws_command ssm send-command --document-name "gitlab-codedeploy-$ENVIRONMENT-$1" --instance-ids "$2" \
    --parameters "$3" --timeout-seconds "$DELIVERY" --query Command.CommandId --output text
}

invocation_command() {
  aws_command ssm get-command-invocation --command-id "$1" --instance-id "$2" --output json
}

run_operation() {
  local host=$1 operation=$2 instance status=0
  shift 2
  # In a substitution, die would end only that.
  instance=$(host_instance "$host") || exit
  write_parameters "$@"
  if [[ -n $DRY_RUN ]]; then
    print_operation "$operation" "$instance"
    return
  fi
  if [[ -z $FOLLOW ]]; then
    start_run "$host" "$operation" "$instance"
  fi
  follow_run "$host" "$operation" "$instance" || status=$?
  return "$status"
}

# new_run_id prints an id for a run that begins now.
new_run_id() { printf '%s-%s\n' "$(date -u +%Y%m%dT%H%M%S)" "$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')"; }

# write_parameters [Parameter=value …] writes them to $WORK/parameters.json,
# with a new id for the run. What no document lets through is refused here.
write_parameters() {
  local pair hostile='["$`\\;{}'\'']|[[:cntrl:]]'
  for pair in "$@"; do
    [[ $pair =~ ^[A-Za-z]+= ]] || die "run_operation: want Parameter=value, got '$pair'"
    [[ ! $pair =~ $hostile ]] || bad_usage "'${pair#*=}': no quotes, \$, backticks, backslashes, semicolons, braces or control characters"
  done
  NEW_RUN=$(new_run_id)
  [[ -z $DRY_RUN ]] || NEW_RUN=%%run%%
  node "$ROOT/scripts/lib/follow.js" parameters "RunId=$NEW_RUN" "$@" >"$WORK/parameters.json"
}

# start_run HOST OPERATION INSTANCE sets RUN to the run that it starts. When an
# answer gets lost the command is sent again, with the same id: the host starts
# it once.
start_run() {
  local host=$1 operation=$2 instance=$3 tries=0
  RUN=$NEW_RUN
  log "starting $operation on the $host ($instance) of account $ACCOUNT, $REGION: run $RUN"
  INTERRUPTED="run $RUN may go on. To see: $(follow_hint)"
  while :; do
    tries=$((tries + 1))
    if run_document "$operation" "$instance" "$WORK/parameters.json"; then
      break
    fi
    # Whether it arrived is not known; AWS's refusals are final.
    [[ $SENT == unknown ]] || die "$operation was not started: $COMPLAINT"
    ((tries < 5)) || die "no answer to the start of $operation: $COMPLAINT; $INTERRUPTED"
    log "no answer ($COMPLAINT): sending it again"
    run_child sleep "$OPS_POLL"
  done
  if [[ $CODE != 0 ]]; then
    node "$ROOT/scripts/lib/follow.js" text <"$WORK/stderr" >&2
    log "error: $operation was not started on the $host: its document ended with $CODE"
    exit "$CODE"
  fi
  INTERRUPTED="run $RUN goes on, to follow it: $(follow_hint)"
}

follow_hint() { echo "scripts/ops $(basename "$0" .sh) --env $ENVIRONMENT${PROFILE:+ --profile $PROFILE} --follow $RUN"; }

# run_document OPERATION INSTANCE FILE sends a document and waits for its end: CODE is
# its exit status, its output is in $WORK/stdout and stderr. It fails when there
# is none, with the reason in COMPLAINT and, in SENT, "unknown" when an answer
# was lost, "no" when it is not run.
run_document() {
  local id deadline failures=0
  SENT=no CODE=
  send_command "$1" "$2" "file://$3"
  ask || {
    explain_refusal "$1"
    return 1
  }
  # shellcheck disable=SC2153 # of ask
  id=$ANSWER
  [[ $id =~ ^[0-9a-f-]{36}$ ]] || {
    COMPLAINT="Systems Manager answered '$id'"
    SENT=unknown
    return 1
  }
  # An agent that is offline gets it late or never, and says so itself then.
  deadline=$((SECONDS + DELIVERY + 180))
  while :; do
    invocation_command "$id" "$2"
    if ask_into "$WORK/invocation.json"; then
      read_invocation && return
      [[ $INVOCATION == pending ]] || return 1
    elif [[ $COMPLAINT != *InvocationDoesNotExist* ]]; then
      # That one is normal for a moment.
      SENT=unknown
      failures=$((failures + 1))
      if is_refusal || ((failures >= 3)); then return 1; fi
    fi
    ((SECONDS < deadline)) || {
      SENT=unknown
      COMPLAINT="Systems Manager does not say what became of command $id"
      return 1
    }
    run_child sleep "$OPS_POLL"
  done
}

# read_invocation takes the answer of get-command-invocation apart.
read_invocation() {
  local words
  words=$(node "$ROOT/scripts/lib/follow.js" invocation "$WORK") || die "Systems Manager's answer makes no sense: $(head -c 300 "$WORK/invocation.json")"
  read -r INVOCATION CODE DETAILS <<<"$words"
  case $INVOCATION in
    ended) return ;;
    pending) return 1 ;;
  esac
  SENT=no
  COMPLAINT="the agent did not run it ($DETAILS)"
  case $DETAILS in
    ExecutionTimedOut) SENT=unknown ;;
    *Deliver* | *Undeliverable*)
      COMPLAINT="the agent on the instance did not take it within $DELIVERY s ($DETAILS). Why: scripts/ops check --env $ENVIRONMENT${PROFILE:+ --profile $PROFILE}"
      ;;
  esac
  return 1
}

# is_refusal is true for an answer of AWS's that a repetition does not change.
is_refusal() { [[ $COMPLAINT == *"An error occurred ("* && $COMPLAINT != *Throttl* && $COMPLAINT != *InternalServerError* && $COMPLAINT != *ServiceUnavailable* && $COMPLAINT != *ExpiredToken* ]]; }

# explain_refusal OPERATION says after a failed send-command what it means.
explain_refusal() {
  is_refusal || {
    SENT=unknown
    return 0
  }
  case $COMPLAINT in
    *InvalidInstanceId*)
      COMPLAINT="the instance is not online in Systems Manager. Why: scripts/ops check --env $ENVIRONMENT${PROFILE:+ --profile $PROFILE} ($COMPLAINT)"
      ;;
    *InvalidDocument\)*)
      COMPLAINT="there is no document gitlab-codedeploy-$ENVIRONMENT-$1: scripts/ops deploy makes it ($COMPLAINT)"
      ;;
  esac
}

# follow_run HOST OPERATION INSTANCE prints the log of RUN, or of the newest run
# of the operation, until that ends, and returns its exit status.
follow_run() {
  local host=$1 operation=$2 instance=$3 said=''
  local deadline=$((SECONDS + TIMEOUT)) heard=$SECONDS
  LOG_FROM=0 RESULT_FROM=0
  while :; do
    node "$ROOT/scripts/lib/follow.js" parameters "Run=${RUN:-$operation}" \
      "LogFrom=$LOG_FROM" "ResultFrom=$RESULT_FROM" "Wait=$OPS_WAIT" >"$WORK/follow.json"
    if ask_for_news "$instance"; then
      heard=$SECONDS
      if [[ -n $said ]]; then log "$host answers again"; fi
      said=
      case $RUN_STATE in
        none) no_such_run "$host" "$operation" ;;
        lost)
          [[ $MORE == true ]] || {
            INTERRUPTED=
            log "error: run $RUN of $operation ended without a status: it was killed, or the host was restarted." \
              "It can be started again"
            return 1
          }
          ;;
        ended)
          [[ $MORE == true ]] || {
            INTERRUPTED=
            return "$EXIT"
          }
          ;;
      esac
    else
      [[ $COMPLAINT != *AccessDenied* && $COMPLAINT != *InvalidDocument\)* ]] || die "$COMPLAINT; $(going_on "$operation")"
      [[ $COMPLAINT == "$said" ]] || log "no news from the $host: $COMPLAINT; the operation goes on, trying again"
      said=$COMPLAINT
      ((SECONDS - heard < OPS_PATIENCE)) || die "nothing heard for $OPS_PATIENCE s; $(going_on "$operation")"
      run_child sleep "$OPS_POLL"
    fi
    ((SECONDS < deadline)) || die "not finished after $TIMEOUT s (--timeout); $(going_on "$operation")"
  done
}

# ask_for_news INSTANCE asks the host for news; COMPLAINT says why there are none.
ask_for_news() {
  run_document follow "$1" "$WORK/follow.json" || return
  if [[ $CODE != 0 ]]; then
    COMPLAINT="looking for news ended with $CODE: $(LC_ALL=C tr -s '\000-\037\177' ' ' <"$WORK/stderr" | tail -c 300)"
    return 1
  fi
  read_news
}

# going_on OPERATION says what becomes of the run when this command ends.
going_on() {
  if [[ -n $RUN ]]; then
    echo "run $RUN may go on, to follow it: $(follow_hint)"
  else
    echo "whether $1 runs is not known"
  fi
}

# read_news prints what came of the log, appends what came of the result to
# $WORK/result, and sets RUN_STATE, EXIT, MORE, RUN and the places to go on.
read_news() {
  local words run
  words=$(node "$ROOT/scripts/lib/follow.js" news "$WORK" "$RUN") || {
    COMPLAINT="its answer makes no sense"
    return 1
  }
  read -r RUN_STATE EXIT MORE LOG_FROM RESULT_FROM run <<<"$words"
  [[ $RUN_STATE == none ]] && return
  RUN=$run
  INTERRUPTED="run $RUN goes on, to follow it: $(follow_hint)"
}

no_such_run() {
  INTERRUPTED=
  [[ -z $RUN ]] || die "there is no run $RUN on the $1"
  die "there is no run of $2 on the $1 to follow"
}

# print_operation prints for a shell what run_operation does.
print_operation() {
  local instance=$2
  # shellcheck disable=SC2016 # for the reader's shell
  printf '%s\n' 'run=$(date -u +%Y%m%dT%H%M%S)-$(od -An -N4 -tx1 /dev/urandom | tr -d " \n")' 'parameters=$(mktemp)'
  # shellcheck disable=SC2016
  printf 'cat >"$parameters" <<END\n%s\nEND\n' \
    "$(sed 's/%%\([a-z_]*\)%%/$\1/g; s/%%output:\([A-Za-z]*\)%%/$(output \1)/g' "$WORK/parameters.json")"
  if [[ -z $FOLLOW ]]; then
    send_command "$1" "$instance" file://%%parameters%%
    print_command
  fi
  echo "# until its state is ended, with LogFrom and ResultFrom from the answer before; then aws ssm get-command-invocation:"
  send_command follow "$instance" "Run=${RUN:-%%run%%},LogFrom=0,ResultFrom=0,Wait=$OPS_WAIT"
  print_command
}
