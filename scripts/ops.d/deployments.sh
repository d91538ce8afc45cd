#!/usr/bin/env bash
#/ Usage: scripts/ops deployments --env NAME --profile PROFILE [OPTIONS]
#/
#/ Lists the last deployments of each application, the newest first.
#/
#/ Deployments and their states come from CodeDeploy; uploads that got none
#/ (Waiting, Rejected, Superseded), and why, from the objects in the artifact
#/ bucket that the jobs wait for. Where both know a deployment, the one that is
#/ further on is shown. It changes nothing.
#/
#/ OPTIONS:
#/   --env NAME                Environment: config/NAME.yaml.
#/   --profile PROFILE         AWS profile of the deployment account (deploy.account).
#/   --application NAME        Only this application.
#/   --deployment-group NAME   Only this deployment group.
#/   --last N                  Rows for each application, 1 to 100. Default: 5.
#/   --json                    One JSON array on stdout instead of the table.
#/   --dry-run                 Print the commands, and call nothing in AWS.
#/   --yes                     Accepted as everywhere; nothing is asked here.
#/   -h, --help                Show this message.
#/
#/ It looks at the newest 100 deployments and the newest 100 upload states, and
#/ says so on stderr when there are more; --application with --deployment-group
#/ looks at the newest 100 deployments of that group.
#/ AGE counts from the start of the deployment, else from the last change of the
#/ upload's state. An upload state that makes no sense is "unreadable".
#/
#/ JSON: [{"application", "deploymentGroup", "state", "uploadId", "deploymentId",
#/ "key", "versionId", "reason", "project", "ref", "user", "pipelineUrl", "since",
#/ "ageSeconds"}, …]; unknown is null. The four before "since" are whose upload it
#/ is, as GitLab has signed it; the table has them as FROM, where any is known.
#/ Exit status: 0 done, also when there are none; 1 AWS refused something;
#/ 2 wrong use, configuration or credentials.

# Runs on operators' laptops, macOS too: keep it to bash 3.2.
set -Eeuo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$ROOT/scripts/lib/common.sh"
# shellcheck source=scripts/lib/children.sh
source "$ROOT/scripts/lib/children.sh"
# shellcheck source=scripts/lib/operator.sh
source "$ROOT/scripts/lib/operator.sh"

# How many of the newest deployments and upload states are read.
WINDOW=100
# S3 lists by name, not by time: everything is listed to find the newest.
LISTED=100000
# BatchGetDeployments takes no more.
# https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_BatchGetDeployments.html
BATCH=25

main() {
  parse "$@"
  need_tools aws go node
  begin_work
  load_environment
  if [[ -n $DRY_RUN ]]; then
    print_commands
    return
  fi
  check_identity
  read_outputs
  BUCKET=$(need_output ArtifactBucketName '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]')
  mkdir "$WORK/states" "$WORK/lists" "$WORK/deployments"
  read_states
  list_deployments
  read_deployments
  program print "$BUCKET" "$LAST" "$FORMAT" "$APPLICATION" "$GROUP"
}

parse() {
  ENVIRONMENT='' PROFILE='' APPLICATION='' GROUP='' LAST=5 FORMAT=table DRY_RUN=''
  local option
  while (($#)); do
    option=$1
    shift
    case $option in
      --json) FORMAT=json ;;
      --dry-run) DRY_RUN=1 ;;
      --yes) ;;
      -h | --help)
        print_help
        exit
        ;;
      --env | --profile | --application | --deployment-group | --last)
        [[ -n ${1-} ]] || bad_usage "$option needs a value"
        case $option in
          --env) ENVIRONMENT=$1 ;;
          --profile) PROFILE=$1 ;;
          --application) APPLICATION=$1 ;;
          --deployment-group) GROUP=$1 ;;
          --last) LAST=$1 ;;
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
  [[ $LAST =~ ^([1-9][0-9]?|100)$ ]] || bad_usage "--last: want a number from 1 to 100, got '$LAST'"
  check_name --application "$APPLICATION"
  check_name --deployment-group "$GROUP"
}

# check_name keeps to the names that the configuration takes.
check_name() {
  local LC_ALL=C
  [[ $2 =~ ^[A-Za-z0-9._+=,@-]{0,100}$ ]] ||
    bad_usage "$1: want up to 100 letters, digits and . _ + = , @ -, got '$2'"
}

# The commands, each put into CMD: --dry-run prints the same ones.

list_states_command() {
  aws_command s3api list-objects-v2 --bucket "$1" --prefix deployments/ --max-items "$LISTED" \
    --query '{objects: Contents[].[Key, LastModified, Size], more: NextToken}' --output json
}

# read_states_command BUCKET NAME … copies those states, in one process.
read_states_command() {
  local bucket=$1 name
  shift
  CMD=(s3 cp "s3://$bucket/deployments/" "$WORK/states" --recursive --only-show-errors --exclude '*')
  for name in "$@"; do
    CMD+=(--include "$name")
  done
  aws_command "${CMD[@]}"
}

list_groups_command() {
  aws_command deploy list-deployment-groups "--application-name=$APPLICATION" \
    --query deploymentGroups --output json
}

# list_deployments_command [GROUP] lists those of a group, or of the account:
# CodeDeploy takes both names or none.
list_deployments_command() {
  CMD=(deploy list-deployments)
  [[ -z ${1-} ]] || CMD+=("--application-name=$APPLICATION" "--deployment-group-name=$1")
  aws_command "${CMD[@]}" --max-items "$WINDOW" --query '{ids: deployments, more: NextToken}' --output json
}

read_deployments_command() {
  aws_command deploy batch-get-deployments --deployment-ids "$@" --output json
}

# program runs the part that needs more than a shell: see there.
program() {
  local step=$1
  shift
  node "$ROOT/scripts/ops.d/deployments.js" "$step" "$WORK" "$@"
}

read_states() {
  local names
  list_states_command "$BUCKET"
  ask_into "$WORK/objects.json" || die "listing deployments/ in $BUCKET: $COMPLAINT"
  names=$(program choose "$WINDOW")
  [[ -n $names ]] || return 0
  # shellcheck disable=SC2086 # names without blanks or patterns
  read_states_command "$BUCKET" $names
  ask || die "reading the upload states in $BUCKET: $COMPLAINT"
}

list_deployments() {
  local group groups=''
  if [[ -n $APPLICATION && -n $GROUP ]]; then
    groups=$GROUP
  elif [[ -n $APPLICATION ]]; then
    list_groups_command
    if ask_into "$WORK/groups.json"; then
      groups=$(program groups)
    elif [[ $COMPLAINT == *ApplicationDoesNotExist* ]]; then
      log "CodeDeploy has no application $APPLICATION in account $ACCOUNT, $REGION"
    else
      die "listing the deployment groups of $APPLICATION: $COMPLAINT"
    fi
    [[ -n $groups ]] || return 0
  fi
  if [[ -z $groups ]]; then
    list_deployments_of
    return
  fi
  # Whole lines, since a group's name may have blanks.
  while IFS= read -r group; do
    list_deployments_of "$group"
  done <<<"$groups"
}

# list_deployments_of [GROUP] puts a list into the folder.
list_deployments_of() {
  LISTS=$((${LISTS:-0} + 1))
  list_deployments_command "$@"
  ask_into "$WORK/lists/$LISTS.json" && return
  rm "$WORK/lists/$LISTS.json"
  [[ $COMPLAINT == *DoesNotExist* ]] || die "listing the deployments${1:+ of $APPLICATION, $1}: $COMPLAINT"
  log "CodeDeploy has no deployment group $1 of application $APPLICATION in account $ACCOUNT, $REGION"
}

read_deployments() {
  local ids batch=0
  ids=$(program ids "$BATCH")
  while read -r ids; do
    [[ -n $ids ]] || continue
    batch=$((batch + 1))
    # shellcheck disable=SC2086 # ids without blanks or patterns
    read_deployments_command $ids
    ask_into "$WORK/deployments/$batch.json" && continue
    rm "$WORK/deployments/$batch.json"
    # An id of an upload's state that CodeDeploy does not know any more.
    [[ $COMPLAINT == *DoesNotExist* || $COMPLAINT == *InvalidDeploymentId* ]] ||
      die "reading deployments: $COMPLAINT"
    log "CodeDeploy does not know some deployments that upload states name: $COMPLAINT"
  done <<<"$ids"
}

print_commands() {
  echo "# has to print $ACCOUNT"
  identity_command
  print_command
  output_command ArtifactBucketName
  echo "bucket=\$($(print_command))"
  list_states_command %%bucket%%
  print_command
  echo "# then the newest $WINDOW of them: aws s3 cp --recursive, with an --include for each"
  if [[ -n $APPLICATION && -z $GROUP ]]; then
    list_groups_command
    print_command
    echo "# for each of the groups: aws deploy list-deployments"
  elif [[ -n $APPLICATION ]]; then
    list_deployments_command "$GROUP"
    print_command
  else
    list_deployments_command
    print_command
  fi
  echo "# $BATCH ids at a time: aws deploy batch-get-deployments"
}

main "$@"
