# Shared by the commands of scripts/ops that look into one account; source it
# after common.sh and children.sh, do not run it. Needs bash 3.2.
#
# A command sets ENVIRONMENT and PROFILE from its arguments, and calls
# begin_work, load_environment, check_identity and read_outputs, in that order.
# The account is the deployment account, or GitLab's after SIDE=GitLab; without
# a PROFILE the AWS CLI's own rules find the credentials.
# shellcheck shell=bash

SIDE=Deploy # the account's part of the configuration, and its stack's name

# shellcheck source=scripts/lib/aws.sh
source "$ROOT/scripts/lib/aws.sh"

INTERRUPTED= # what goes on in AWS after an interrupt, for its message

# print_help prints the "#/" header of the running command.
print_help() { sed -n 's/^#\/ \{0,1\}//p' "$0"; }

# begin_work makes the folder WORK, which ends with the script, and takes care
# of the child under way when the script is interrupted.
begin_work() {
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/ops.XXXXXX")
  trap end_work EXIT
  trap 'interrupted 130' INT
  trap 'interrupted 143' TERM HUP
  cd "$ROOT" || exit
}

end_work() {
  local status=$?
  stop_child
  rm -rf "$WORK"
  exit "$status"
}

interrupted() {
  trap - INT TERM HUP
  log "interrupted${INTERRUPTED:+; $INTERRUPTED}"
  exit "$1"
}

# load_environment takes from config/ENVIRONMENT.yaml where the stack is. The
# program that reads it is the one that synth believes.
load_environment() {
  CMD=(go run ./internal/config/show "$ENVIRONMENT")
  ask_into "$WORK/config.json" || {
    # "go run" adds a line of its own.
    sed '/^exit status [0-9]*$/d' "$WORK/complaint" >&2
    log "error: the configuration of environment '$ENVIRONMENT' cannot be read; the reason stands above"
    exit 2
  }
  local facts
  facts=$(node -p '
    const { Region, [process.argv[1]]: side } = JSON.parse(require("fs").readFileSync(0));
    [Region, side.Account].join(" ")' "$SIDE" <"$WORK/config.json")
  read -r REGION ACCOUNT <<<"$facts"
  STACK=$SIDE-$ENVIRONMENT
  ACCOUNT_KEY="$(tr '[:upper:]' '[:lower:]' <<<"$SIDE").account in config/$ENVIRONMENT.yaml"
}

# The commands, each put into CMD: --dry-run prints the same ones.

# output_command NAME reads one output, as text.
output_command() {
  aws_command cloudformation describe-stacks --stack-name "$STACK" \
    --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue" --output text
}

# check_identity ends the script when the profile is of another account.
check_identity() {
  identity_command
  if ! ask || [[ ! $ANSWER =~ ^[0-9]{12}$ ]]; then
    log "error: ${PROFILE:+profile $PROFILE gives }no credentials for account $ACCOUNT ($ACCOUNT_KEY)." \
      "AWS says: ${COMPLAINT:-$ANSWER}. Sign in again (aws sso login${PROFILE:+ --profile $PROFILE}) or mend the profile."
    exit 2
  fi
  [[ $ANSWER == "$ACCOUNT" ]] || {
    log "error: ${PROFILE:+profile }${PROFILE:-the caller} is of account $ANSWER," \
      "but $STACK belongs to account $ACCOUNT ($ACCOUNT_KEY)"
    exit 2
  }
}

# read_outputs keeps the stack's outputs for output, one a line.
read_outputs() {
  outputs_command
  if ! ask; then
    [[ $COMPLAINT != *"does not exist"* ]] || {
      log "error: there is no stack $STACK in account $ACCOUNT, $REGION: scripts/ops deploy --env $ENVIRONMENT makes it"
      exit 2
    }
    die "reading the outputs of $STACK: $COMPLAINT"
  fi
  # shellcheck disable=SC2016 # JavaScript
  OUTPUTS=$(node -p '
    (JSON.parse(require("fs").readFileSync(0)) ?? []).map(o => `${o.OutputKey} ${o.OutputValue}`).join("\n")' <<<"$ANSWER")
}

# output NAME prints an output's value, or nothing.
output() { sed -n "s/^$1 //p" <<<"$OUTPUTS"; }

# need_output NAME PATTERN prints an output's value, which has to match.
need_output() {
  local value
  # Nothing was read: see print_command.
  if [[ -n ${DRY_RUN-} ]]; then
    echo "%%output:$1%%"
    return
  fi
  value=$(output "$1")
  [[ $value =~ ^($2)$ ]] || die "output $1 of $STACK is '$value', and that is none; deploy it anew with scripts/ops deploy"
  printf '%s\n' "$value"
}

# print_command prints CMD for a shell; a word %%name%% becomes "$name" there,
# and %%output:Name%% "$(output Name)".
print_command() {
  # shellcheck disable=SC2016 # for the reader's shell
  shell_words "${CMD[@]}" | sed 's/%%\([a-z_]*\)%%/"$\1"/g; s/%%output:\([A-Za-z]*\)%%/"$(output \1)"/g'
}
