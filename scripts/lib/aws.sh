# How the commands of scripts/ops call AWS, and show their calls. Source it
# after common.sh and children.sh, do not run it. Needs bash 3.2.
#
# A command has a folder WORK. PROFILE and REGION say where a call goes; without
# a PROFILE the AWS CLI's own rules find the credentials. Each call is put into
# CMD first: --dry-run prints what would be run.
# shellcheck shell=bash disable=SC2034 # the commands use what it sets

# The CDK CLI has to be the pinned one. The AWS CLI is rather the operator's
# own, since that is where their profiles are known to work.
PATH=$ROOT/node_modules/.bin:$PATH:$ROOT/.venv/bin

# No pager (AWS CLI 2 has one), and no waiting for an unreachable endpoint.
export AWS_PAGER='' AWS_RETRY_MODE=standard AWS_MAX_ATTEMPTS=${AWS_MAX_ATTEMPTS:-3}
AWS_LIMITS=(--cli-connect-timeout 10 --cli-read-timeout 60)

# need_tools NAME … ends the script with all that are missing.
need_tools() {
  local tool missing=
  for tool in "$@"; do
    command -v "$tool" >/dev/null || missing+=" $tool"
  done
  [[ -z $missing ]] || bad_usage "not installed:$missing; make setup installs all but Go"
}

# Questions go to stderr: stdout is for the result.
has_terminal() { [[ -t 0 && -t 2 ]]; }

aws_command() {
  CMD=(aws "$@")
  [[ -z $PROFILE ]] || CMD+=(--profile "$PROFILE")
  CMD+=(--region "$REGION" "${AWS_LIMITS[@]}")
}

identity_command() {
  aws_command sts get-caller-identity --query Account --output text
}

outputs_command() {
  aws_command cloudformation describe-stacks --stack-name "$STACK" --query 'Stacks[0].Outputs' --output json
}

# ask runs the AWS call in CMD: ANSWER is what it printed, COMPLAINT its
# messages in one line.
ask() {
  local status=0
  ask_into "$WORK/answer" || status=$?
  ANSWER=$(cat "$WORK/answer")
  rm -f "$WORK/answer" "$WORK/complaint"
  return "$status"
}

# ask_into FILE is ask with the answer in a file.
ask_into() {
  local status=0
  run_child exec_quietly "$1" || status=$?
  COMPLAINT=$(LC_ALL=C tr -s '\000-\037\177' ' ' <"$WORK/complaint" | sed 's/^ //; s/ $//')
  return "$status"
}

# exec_quietly FILE becomes CMD. The files are the child's only: a trap that
# runs meanwhile has to reach the terminal.
exec_quietly() { exec "${CMD[@]}" </dev/null >"$1" 2>"$WORK/complaint"; }

# shell_words quotes each word where a shell needs it.
shell_words() {
  # The quotes in variables: bash 3.2 reads them differently in a replacement.
  local word quoted line='' quote="'" escaped="'\\''"
  for word in "$@"; do
    quoted=$word
    [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || quoted="'${word//$quote/$escaped}'"
    line+=" $quoted"
  done
  printf '%s\n' "${line# }"
}
