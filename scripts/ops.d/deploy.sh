#!/usr/bin/env bash
#/ Usage: scripts/ops deploy --env NAME --profile-a PROFILE --profile-b PROFILE [OPTIONS]
#/
#/ Deploys GitLab to account A, then the artifact bucket and its trigger to B.
#/
#/ Both stacks come from one synthesis of config/NAME.yaml, in which the CDK
#/ validates the templates, unless CDK_VALIDATION=false is set. The bucket admits
#/ account A's S3 endpoint, whose id is read from the first stack on the way.
#/ Before anything is changed, both accounts are asked for what a deploy would fail
#/ on only later: roles, certificate, images, bucket name, deployment groups,
#/ quotas. All findings come at once (docs/operations.md).
#/ An account without the CDK's bootstrap stack, or with too old a one, gets it.
#/ Each stack gets a policy by which CloudFormation refuses to replace or delete
#/ what holds data (docs/changes.md); allowReplacement in config/NAME.yaml lifts
#/ it for this one deploy.
#/
#/ A stack that does not exist yet is created first and protected from deletion
#/ by a second update: CloudFormation could not undo a failed creation otherwise.
#/ What a failed creation has left is told, and deleted after a question.
#/
#/ OPTIONS:
#/   --env NAME             Environment: config/NAME.yaml.
#/   --profile-a PROFILE    AWS profile of GitLab's account (gitlab.account).
#/   --profile-b PROFILE    AWS profile of the deployment account (deploy.account).
#/   --only a|b             Deploy one account's stack, with its profile alone.
#/   --endpoint ID          With --only b: account A's S3 endpoint. Default: the
#/                          one that the stack has.
#/   --assembly DIR         Deploy what cdk synth has put there, a reviewed state,
#/                          instead of synthesising. It was validated then.
#/   --method METHOD        change-set (default) or direct, as of cdk deploy.
#/   --timeout SECONDS      Longest time for one stack. Default: 7200.
#/   --work DIR             Keep the synthesised templates and the logs in DIR.
#/                          Default: a temporary folder, kept after a failure.
#/   --skip-preflight       Do not ask first for what the deploy would fail on.
#/   --dry-run              Print the commands, and call nothing in AWS.
#/   --yes                  Do not ask before permissions are widened, an account
#/                          is bootstrapped, something may be replaced or a stack
#/                          whose creation failed is deleted. Needed without a
#/                          terminal.
#/   -h, --help             Show this message.
#/
#/ Prints the outputs of both stacks on stdout as one JSON object:
#/ {"GitLab-NAME": {"VpcId": …}, "Deploy-NAME": {…}}.
#/ Exit status: 0 done; 1 a step failed, and its log is named; 2 wrong use,
#/ configuration or credentials, or a finding, and nothing was changed.

# Runs on operators' laptops, macOS too: keep it to bash 3.2.
set -Eeuo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$ROOT/scripts/lib/common.sh"
# shellcheck source=scripts/lib/children.sh
source "$ROOT/scripts/lib/children.sh"
# shellcheck source=scripts/lib/accounts.sh
source "$ROOT/scripts/lib/accounts.sh"

LIFTED= # the policy that a stack has to get back
STATE=  # the stack's status; empty when it is only about to be created

main() {
  parse "$@"
  need_tools aws cdk go node
  [[ -n $YES || -n $DRY_RUN ]] || has_terminal ||
    bad_usage "there is no terminal to ask on: pass --yes to deploy without questions"
  make_work_folder
  trap finish EXIT
  trap 'interrupted 130' INT
  trap 'interrupted 143' TERM HUP
  cd "$ROOT"

  synthesise
  read_manifest
  if [[ -n $DRY_RUN ]]; then
    print_commands
    return
  fi
  check_identities
  preflight
  local letter
  for letter in $LETTERS; do
    bootstrap "$letter"
  done
  for letter in $LETTERS; do
    deploy "$letter"
    if [[ $letter == A && $LETTERS != A ]]; then read_endpoint; fi
  done
  print_result
}

parse() {
  ENVIRONMENT='' PROFILE_A='' PROFILE_B='' METHOD=change-set TIMEOUT=7200
  WORK='' DRY_RUN='' YES='' ONLY='' ENDPOINT='' ASSEMBLY='' SKIP_PREFLIGHT=''
  local option
  while (($#)); do
    option=$1
    shift
    case $option in
      --dry-run) DRY_RUN=1 ;;
      --yes) YES=1 ;;
      --skip-preflight) SKIP_PREFLIGHT=1 ;;
      -h | --help)
        sed -n 's/^#\/ \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit
        ;;
      --env | --profile-a | --profile-b | --only | --endpoint | --assembly | --method | --timeout | --work)
        [[ -n ${1-} ]] || bad_usage "$option needs a value"
        case $option in
          --env) ENVIRONMENT=$1 ;;
          --profile-a) PROFILE_A=$1 ;;
          --profile-b) PROFILE_B=$1 ;;
          --only) ONLY=$1 ;;
          --endpoint) ENDPOINT=$1 ;;
          --assembly) ASSEMBLY=$1 ;;
          --method) METHOD=$1 ;;
          --timeout) TIMEOUT=$1 ;;
          --work) WORK=$1 ;;
        esac
        shift
        ;;
      *) bad_usage "unknown argument '$option'" ;;
    esac
  done
  check_accounts
  [[ -z $ENDPOINT || $LETTERS == B ]] || bad_usage "--endpoint is for --only b: otherwise it is read from account A"
  [[ -z $ENDPOINT || $ENDPOINT =~ ^vpce-[0-9a-f]{8,17}$ ]] || bad_usage "--endpoint: want the id of a VPC endpoint, got '$ENDPOINT'"
  [[ $METHOD == change-set || $METHOD == direct ]] ||
    bad_usage "--method: want change-set or direct, got '$METHOD'"
  [[ $TIMEOUT =~ ^[1-9][0-9]{0,5}$ ]] || bad_usage "--timeout: want seconds, got '$TIMEOUT'"
}

make_work_folder() {
  KEEP_WORK=$WORK
  if [[ -n $WORK ]]; then
    mkdir -p "$WORK"
    WORK=$(cd "$WORK" && pwd)
  else
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/ops-deploy.XXXXXX")
  fi
}

finish() {
  local status=$?
  stop_child
  if [[ -z $KEEP_WORK && ($status == 0 || $status == 2) ]]; then
    rm -rf "$WORK"
  fi
  exit "$status"
}

interrupted() {
  trap - INT TERM HUP
  log "interrupted while $STEP; logs are in $WORK"
  [[ $STEP != *deploying* ]] ||
    log "CloudFormation finishes what it has begun: look at the stack before you deploy again"
  tell_lifted
  exit "$1"
}

# run_step LOG COMMAND ... runs a command that changes an account, and ends the
# script when it fails.
run_step() {
  local file=$WORK/$1 status=0 run=run_logged
  shift
  # The CDK asks on stdout, which is for the result here: the question goes to
  # stderr instead.
  if has_terminal; then run=run_asking; fi
  "$run" "$TIMEOUT" "$file" "$@" || status=$?
  case $status in
    0) end ;;
    124)
      log "error: $STEP: not finished after $TIMEOUT s (--timeout). CloudFormation may go on; log: $file"
      tell_lifted
      exit 1
      ;;
    *)
      log "error: $STEP: failed with status $status after $((SECONDS - STEP_BEGAN)) s; log: $file"
      if grep -qi 'denied by stack policy' "$file"; then
        log "CloudFormation refused to replace or delete what holds data: docs/changes.md says which key does what," \
          "and docs/recovery.md how it is done on purpose"
      fi
      [[ $STEP != *deploying* || -n $STATE ]] ||
        log "CloudFormation undoes a creation that fails. Mend the cause and deploy again: what is left of it is cleared away first"
      [[ -z $LIFTED ]] || protect "$LIFTED"
      exit 1
      ;;
  esac
}

# The commands, each put into CMD: --dry-run prints the same ones.

bootstrap_version_command() {
  aws_command ssm get-parameter --name "$VERSION_PARAMETER" --query Parameter.Value --output text
}

# With --app the CDK does not synthesise anew only to bootstrap.
bootstrap_command() {
  CMD=(cdk bootstrap "aws://$ACCOUNT/$REGION" --app "$1" --profile "$PROFILE" --no-color)
}

# deploy_command ASSEMBLY ENDPOINT [on]: with "on", what the stack protects from
# deletion is protected.
deploy_command() {
  local approval=broadening
  [[ -z $YES ]] || approval=never
  CMD=(cdk deploy "$STACK" --app "$1" --exclusively --profile "$PROFILE" --method "$METHOD"
    --require-approval "$approval" --progress events --no-color)
  # Left out, the stack keeps the value that it has.
  [[ $STACK != Deploy-* || -z $2 ]] || CMD+=(--parameters "$STACK:SourceVpceId=$2")
  # What the assembly does not protect has no such parameter.
  if [[ -n ${3-} ]] && grep -Eq '"Protection" *:' "$ASSEMBLY/$STACK.template.json"; then
    CMD+=(--parameters "$STACK:Protection=on")
  fi
}

state_command() {
  aws_command cloudformation describe-stacks --stack-name "$1" \
    --query 'Stacks[0].[StackStatus,StackId,EnableTerminationProtection]' --output text
}

# policy_command FILE sets the policy of an update of the stack.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/protect-stack-resources.html
policy_command() {
  aws_command cloudformation set-stack-policy --stack-name "$STACK" --stack-policy-body "file://$1"
}

endpoint_command() {
  aws_command cloudformation describe-stacks --stack-name "$STACK" \
    --query "Stacks[0].Outputs[?OutputKey=='S3EndpointId'].OutputValue" --output text
}

# preflight_command's program reads the configuration that synth has taken.
preflight_command() {
  CMD=(go run ./cmd/preflight --env "$ENVIRONMENT")
  [[ $LETTERS == B ]] || CMD+=(--profile-a "$PROFILE_A")
  [[ $LETTERS == A ]] || CMD+=(--profile-b "$PROFILE_B")
  [[ -z $ONLY ]] || CMD+=(--only "$ONLY")
}

# preflight ends the script when a deploy would fail. Its time is the
# compiler's, the first time.
preflight() {
  if [[ -n $SKIP_PREFLIGHT ]]; then
    log "warning: --skip-preflight: nothing was asked first; what is missing shows when CloudFormation fails on it"
    return
  fi
  begin "asking for what the deploy would fail on"
  preflight_command
  run_logged 600 "$WORK/preflight.log" without_go "${CMD[@]}" || {
    log "error: nothing was deployed, and nothing was changed; fix what stands above, or pass --skip-preflight"
    exit 2
  }
  end
}

# without_go COMMAND ... leaves out what "go run" says about its program's end.
without_go() { "$@" 2>&1 | sed '/^exit status [0-9]*$/d'; }

# bootstrap makes or updates the CDK's own stack where it is missing or older
# than the assembly asks for (docs.aws.amazon.com/cdk/v2/guide/bootstrapping.html).
bootstrap() {
  local has
  use "$1"
  bootstrap_version_command
  if ask; then
    [[ $ANSWER =~ ^[0-9]+$ ]] || die "$VERSION_PARAMETER in account $ACCOUNT is '$ANSWER', not a number"
    ((ANSWER < NEEDED_BOOTSTRAP)) || return 0
    has="version $ANSWER, and $NEEDED_BOOTSTRAP is needed"
  elif [[ $COMPLAINT == *ParameterNotFound* ]]; then
    has="none yet"
  else
    die "reading $VERSION_PARAMETER in account $ACCOUNT as $PROFILE: $COMPLAINT"
  fi
  confirm "Account $ACCOUNT, $REGION: bootstrap stack: $has. Let the CDK deploy it?"
  begin "bootstrapping account $ACCOUNT in $REGION ($has)"
  bootstrap_command "$ASSEMBLY"
  run_step "bootstrap-$STACK.log" "${CMD[@]}"
}

confirm() {
  [[ -z $YES ]] || return 0
  local answer=
  printf '%s [y/N] ' "$1" >&2
  read -r answer || true
  [[ $answer == [yY]* ]] || die "not confirmed; $STACK was not deployed"
}

# protect FILE gives the stack that policy. A stack that is not there yet, or
# is only about to be, gets it after its deploy.
protect() {
  policy_command "$1"
  ask || [[ $COMPLAINT == *"does not exist"* ]] || die "setting the policy of $STACK: $COMPLAINT"
}

# prepare_policy comes before each deploy: what was lifted once, by a deploy
# that did not end here, is so no more.
prepare_policy() {
  local between=$ASSEMBLY/$STACK.policy.json during=$ASSEMBLY/$STACK.deploy-policy.json
  if ! cmp -s "$between" "$during"; then
    log "warning: config/$ENVIRONMENT.yaml has allowReplacement: this deploy may replace or delete what holds data in $STACK"
    confirm "Let CloudFormation replace or delete what it has to in $STACK of account $ACCOUNT?"
    LIFTED=$between
  fi
  protect "$during"
}

# tell_lifted is for when the deploy may still go on: a policy that came back
# now would stop it half-way.
tell_lifted() {
  [[ -z $LIFTED ]] || log "the policy of $STACK is still lifted: deploy again with allowReplacement taken out"
}

# look_at NAME|ID sets STATE, STACK_ID and LOCKED, whether the stack refuses to be
# deleted.
look_at() {
  state_command "$1"
  if ask; then
    read -r STATE STACK_ID LOCKED <<<"$ANSWER"
  elif [[ $COMPLAINT == *"does not exist"* ]]; then
    STATE=''
  else
    die "looking at $STACK: $COMPLAINT"
  fi
}

# make_way leaves a stack that can be updated, or none.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
make_way() {
  look_at "$STACK"
  case $STATE in
    # The CDK takes its place.
    REVIEW_IN_PROGRESS) STATE='' ;;
    ROLLBACK_COMPLETE | ROLLBACK_FAILED | CREATE_FAILED | DELETE_FAILED) clear_away ;;
    *_IN_PROGRESS) die "$STACK is $STATE: something is at work on it. Deploy again when that has ended" ;;
    UPDATE_ROLLBACK_FAILED)
      die "$STACK is $STATE: mend what the events say, then" \
        "$(shell_words aws cloudformation continue-update-rollback --stack-name "$STACK" --profile "$PROFILE" --region "$REGION")"
      ;;
    *_FAILED)
      die "$STACK is $STATE: look at its events, then" \
        "$(shell_words aws cloudformation rollback-stack --stack-name "$STACK" --profile "$PROFILE" --region "$REGION")"
      ;;
  esac
}

# clear_away deletes a stack that was never complete: CloudFormation can do
# nothing else with it.
clear_away() {
  local status=0 failed
  log "$STACK in account $ACCOUNT is $STATE: its creation failed"
  aws_command cloudformation describe-stack-events --stack-name "$STACK_ID" --output json
  ask_into "$WORK/events.json" || die "reading the events of $STACK: $COMPLAINT"
  tell_left "$WORK/events.json" || status=$?
  ((status == 0)) || die "$STACK is DELETE_FAILED, and may have held data. Delete it yourself, or keep what cannot be deleted:" \
    "aws cloudformation delete-stack --retain-resources (docs/operations.md)"
  confirm "Delete what is left of $STACK in account $ACCOUNT, and create it anew?"
  if [[ $LOCKED == [Tt]rue ]]; then
    aws_command cloudformation update-termination-protection --no-enable-termination-protection --stack-name "$STACK_ID"
    ask || die "taking the termination protection off $STACK: $COMPLAINT"
  fi
  begin "deleting the failed $STACK"
  delete_stack
  if [[ $STATE == DELETE_FAILED ]]; then
    aws_command cloudformation list-stack-resources --stack-name "$STACK_ID" --output text \
      --query "StackResourceSummaries[?ResourceStatus=='DELETE_FAILED'].LogicalResourceId"
    ask || die "reading the resources of $STACK: $COMPLAINT"
    read -r -a failed <<<"$ANSWER"
    ((${#failed[@]})) || die "$STACK cannot be deleted; its events say why"
    delete_stack --retain-resources "${failed[@]}"
  fi
  [[ $STATE == DELETE_COMPLETE || -z $STATE ]] || die "$STACK could not be deleted, and is $STATE; its events say why"
  end
  tell_left || die "$STACK was deleted, and nothing was created"
  STATE=''
}

# delete_stack waits for an hour at most, as the AWS CLI does.
delete_stack() {
  aws_command cloudformation delete-stack --stack-name "$STACK_ID" ${1+"$@"}
  ask || die "deleting $STACK: $COMPLAINT"
  aws_command cloudformation wait stack-delete-complete --stack-name "$STACK_ID"
  ask || true # how it ended stands in its state
  look_at "$STACK_ID"
}

# tell_left [EVENTS] says what is left of the stack, with EVENTS also why it
# failed. Its status is that of failed-stack.js.
tell_left() {
  local status=0 line
  aws_command cloudformation list-stack-resources --stack-name "$STACK_ID" --output json
  ask_into "$WORK/resources.json" || die "reading the resources of $STACK: $COMPLAINT"
  node scripts/ops.d/failed-stack.js "$STATE" "$ASSEMBLY/$STACK.template.json" "$WORK/resources.json" ${1+"$1"} >"$WORK/left" || status=$?
  while IFS= read -r line; do log "  $line"; done <"$WORK/left"
  return "$status"
}

deploy() {
  use "$1"
  local there="$STACK to account $ACCOUNT in $REGION as $PROFILE"
  make_way
  prepare_policy
  if [[ -z $STATE && $PROTECTED == true ]]; then
    unprotected
    deploy_step "deploying $there, unprotected as long as its creation can fail" "create-$STACK.log" "$WORK/unprotected"
    STATE=CREATE_COMPLETE
    protect "$ASSEMBLY/$STACK.deploy-policy.json"
    deploy_step "deploying $there again: a second update, in place, protects it from deletion" "deploy-$STACK.log" "$ASSEMBLY" on
  else
    deploy_step "deploying $there" "deploy-$STACK.log" "$ASSEMBLY" on
  fi
  protect "$ASSEMBLY/$STACK.policy.json"
  LIFTED=
}

# deploy_step WHAT LOG ASSEMBLY [on]
deploy_step() {
  begin "$1"
  deploy_command "$3" "$ENDPOINT" ${4+"$4"}
  # Without a terminal: no spinner, and all talk on one channel.
  has_terminal || CMD+=(--ci)
  run_step "$2" "${CMD[@]}"
}

# unprotected makes a copy of the assembly that does not protect the stack. The
# CDK protects a new stack before it creates anything in it.
unprotected() {
  rm -rf "$WORK/unprotected"
  cp -R "$ASSEMBLY" "$WORK/unprotected"
  # shellcheck disable=SC2016 # JavaScript
  node -e '
    const [file, stack] = process.argv.slice(1), fs = require("fs");
    const manifest = JSON.parse(fs.readFileSync(file, "utf8"));
    manifest.artifacts[stack].properties.terminationProtection = false;
    fs.writeFileSync(file, JSON.stringify(manifest));
  ' "$WORK/unprotected/manifest.json" "$STACK"
}

read_endpoint() {
  use A
  endpoint_command
  ask || die "reading the outputs of $STACK: $COMPLAINT"
  [[ $ANSWER =~ ^vpce-[0-9a-f]{8,17}$ ]] ||
    die "output S3EndpointId of $STACK is '$ANSWER', not the id of a VPC endpoint; Deploy-$ENVIRONMENT was not touched"
  ENDPOINT=$ANSWER
  log "S3 endpoint of account $ACCOUNT: $ENDPOINT"
}

print_result() {
  local letter stacks=()
  STEP="reading the outputs"
  for letter in $LETTERS; do
    use "$letter"
    stacks+=("$STACK")
    outputs_command
    ask || die "reading the outputs of $STACK: $COMPLAINT"
    printf '%s\n' "$ANSWER" >"$WORK/outputs-$STACK.json"
  done
  # shellcheck disable=SC2016 # JavaScript
  RESULT=$(node -e '
    const [folder, ...stacks] = process.argv.slice(1);
    const outputs = stack => require(`${folder}/outputs-${stack}.json`) ?? [];
    console.log(JSON.stringify(Object.fromEntries(stacks.map(stack =>
      [stack, Object.fromEntries(outputs(stack).map(o => [o.OutputKey, o.OutputValue]))])), null, 2));
  ' "$WORK" "${stacks[@]}")
  printf '%s\n' "$RESULT"
  [[ $LETTERS != 'A B' ]] || print_next_steps
}

# output NAME finds an output in RESULT, where each has a line of its own.
output() { sed -n "s/^ *\"$1\": \"\(.*\)\",\{0,1\}$/\1/p" <<<"$RESULT"; }

print_next_steps() {
  local url host
  url=$(output Url)
  host=${url#https://}
  use A
  {
    echo
    echo "Next:"
    # With a hosted zone in the configuration the stack made the record itself.
    if ! grep -q '"AWS::Route53::RecordSet"' "$ASSEMBLY/$STACK.template.json"; then
      echo "- DNS: point ${host%%/*} at $(output LoadBalancerDnsName) (CNAME, or an alias record)."
    fi
    echo "- GitLab: sign in at $url as root. The password:"
    echo "  $(shell_words aws secretsmanager get-secret-value --secret-id "$(output RootPasswordSecretArn)" \
      --query SecretString --output text --profile "$PROFILE" --region "$REGION")"
    echo "- Runner: when GitLab answers there, register it:"
    echo "  $(shell_words scripts/ops register-runner --env "$ENVIRONMENT" --profile "$PROFILE")"
    echo "- Each application: set the CI variable ARTIFACT_BUCKET to $(output ArtifactBucketName),"
    echo "  and take the job from scripts/ci/deploy.gitlab-ci.yml."
  } >&2
}

print_commands() {
  # Words that become shell variables of the printed text.
  local assembly=@ASSEMBLY@ endpoint=@ENDPOINT@ letter
  printf '%s\n' "cd $(shell_words "$ROOT")" \
    "PATH=$(shell_words "$ROOT")/node_modules/.bin:\$PATH:$(shell_words "$ROOT")/.venv/bin"
  if [[ $ASSEMBLY == "$WORK/assembly" ]]; then
    echo "assembly=\$(mktemp -d)"
    synth_command "$assembly"
    print_command
  else
    echo "assembly=$(shell_words "$ASSEMBLY")"
  fi
  for letter in $LETTERS; do
    use "$letter"
    echo "# $STACK: has to print $ACCOUNT"
    identity_command
    print_command
  done
  if [[ -z $SKIP_PREFLIGHT ]]; then
    echo "# changes nothing; fails when a deploy would"
    preflight_command
    print_command
  fi
  for letter in $LETTERS; do
    use "$letter"
    echo "# only when there is no such parameter, or it is below $NEEDED_BOOTSTRAP: cdk bootstrap"
    bootstrap_version_command
    print_command
    bootstrap_command "$assembly"
    print_command
  done
  for letter in $LETTERS; do
    use "$letter"
    if [[ $LETTERS == B ]]; then endpoint=$ENDPOINT; fi
    print_deploy
    [[ $letter == A && $LETTERS != A ]] || continue
    endpoint_command
    echo "endpoint=\$($(print_command))"
  done
  for letter in $LETTERS; do
    use "$letter"
    outputs_command
    print_command
  done
}

print_deploy() {
  if [[ $PROTECTED == true ]]; then
    echo "# $STACK: is there none yet? Then first, from a synthesis with --context create=true, without Protection=on:"
    deploy_command "<that synthesis>" "$endpoint"
    echo "# $(print_command)"
  fi
  echo "# after a creation that failed, what is left has to be deleted first (docs/operations.md)"
  state_command "$STACK"
  print_command
  echo "# $STACK: fails when the stack does not exist yet, and that is all right"
  policy_command "$assembly/$STACK.deploy-policy.json"
  print_command
  deploy_command "$assembly" "$endpoint" on
  print_command
  policy_command "$assembly/$STACK.policy.json"
  print_command
}

main "$@"
