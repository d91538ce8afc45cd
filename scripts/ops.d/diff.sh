#!/usr/bin/env bash
#/ Usage: scripts/ops diff --env NAME --profile-a PROFILE --profile-b PROFILE [OPTIONS]
#/
#/ Shows what a deploy would change in both accounts, for a review.
#/
#/ The note is Markdown: what is replaced or removed first, then permissions and
#/ network access, then the rest. A script's change is shown line by line. It
#/ reads the deployed templates and needs no other right than
#/ cloudformation:GetTemplate; it changes nothing.
#/
#/ OPTIONS:
#/   --env NAME             Environment: config/NAME.yaml.
#/   --profile-a PROFILE    AWS profile of GitLab's account (gitlab.account).
#/   --profile-b PROFILE    AWS profile of the deployment account (deploy.account).
#/   --only a|b             Look at one account, with its profile alone.
#/   --assembly DIR         Compare what cdk synth has put there instead of
#/                          synthesising.
#/   --dry-run              Print the commands, and call nothing in AWS.
#/   --yes                  Accepted as everywhere; nothing is asked here.
#/   -h, --help             Show this message.
#/
#/ Prints the note on stdout. Exit status: 0 done, whether something changes or
#/ not; 1 AWS refused something; 2 wrong use, configuration or credentials.

# Runs on operators' laptops, macOS too: keep it to bash 3.2.
set -Eeuo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$ROOT/scripts/lib/common.sh"
# shellcheck source=scripts/lib/children.sh
source "$ROOT/scripts/lib/children.sh"
# shellcheck source=scripts/lib/accounts.sh
source "$ROOT/scripts/lib/accounts.sh"

main() {
  parse "$@"
  need_tools aws cdk go node
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/ops-diff.XXXXXX")
  trap finish EXIT
  trap 'interrupted 130' INT
  trap 'interrupted 143' TERM HUP
  cd "$ROOT"

  # The deploy validates the templates; what changes can be read without.
  export CDK_VALIDATION=false
  synthesise
  read_manifest
  if [[ -n $DRY_RUN ]]; then
    print_commands
    return
  fi
  check_identities
  local letter
  mkdir "$WORK/deployed" "$WORK/new"
  for letter in $LETTERS; do
    read_templates "$letter"
  done
  write_stacks
  node "$ROOT/scripts/ops.d/diff.js" "$ENVIRONMENT" "$WORK"
}

parse() {
  ENVIRONMENT='' PROFILE_A='' PROFILE_B='' ONLY='' ASSEMBLY='' DRY_RUN=''
  local option
  while (($#)); do
    option=$1
    shift
    case $option in
      --dry-run) DRY_RUN=1 ;;
      --yes) ;;
      -h | --help)
        sed -n 's/^#\/ \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit
        ;;
      --env | --profile-a | --profile-b | --only | --assembly)
        [[ -n ${1-} ]] || bad_usage "$option needs a value"
        case $option in
          --env) ENVIRONMENT=$1 ;;
          --profile-a) PROFILE_A=$1 ;;
          --profile-b) PROFILE_B=$1 ;;
          --only) ONLY=$1 ;;
          --assembly) ASSEMBLY=$1 ;;
        esac
        shift
        ;;
      *) bad_usage "unknown argument '$option'" ;;
    esac
  done
  check_accounts
}

finish() {
  local status=$?
  stop_child
  rm -rf "$WORK"
  exit "$status"
}

interrupted() {
  trap - INT TERM HUP
  log "interrupted while $STEP"
  exit "$1"
}

# The template as it was sent, not as CloudFormation processed it.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_GetTemplate.html
template_command() {
  aws_command cloudformation get-template --stack-name "$STACK" --template-stage Original \
    --query TemplateBody --output json
}

read_templates() {
  use "$1"
  begin "reading the deployed template of $STACK"
  template_command
  if ask; then
    printf '%s\n' "$ANSWER" >"$WORK/deployed/$STACK.json"
  elif [[ $COMPLAINT != *"does not exist"* ]]; then
    die "reading the template of $STACK as $PROFILE: $COMPLAINT"
  fi
  cp "$ASSEMBLY/$STACK.template.json" "$WORK/new/$STACK.json"
  end
}

write_stacks() {
  local letter separator='['
  for letter in $LETTERS; do
    use "$letter"
    printf '%s{"stack":"%s","account":"%s","region":"%s"}' "$separator" "$STACK" "$ACCOUNT" "$REGION"
    separator=,
  done >"$WORK/stacks.json"
  echo ']' >>"$WORK/stacks.json"
}

print_commands() {
  local assembly=@ASSEMBLY@ letter
  printf '%s\n' "cd $(shell_words "$ROOT")"
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
    echo "# to be compared with $STACK.template.json of the assembly"
    template_command
    print_command
  done
}

main "$@"
