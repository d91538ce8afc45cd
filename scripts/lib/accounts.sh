# Shared by the commands of scripts/ops that work with both accounts; source it
# after common.sh and children.sh, do not run it. Needs bash 3.2.
#
# A command sets ENVIRONMENT, PROFILE_A, PROFILE_B, ASSEMBLY and ONLY from its
# arguments, calls check_accounts, makes the folder WORK, and calls synthesise,
# read_manifest and check_identities, in that order. `use A` and `use B` choose
# the account that the functions speak about.
# shellcheck shell=bash

# shellcheck source=scripts/lib/aws.sh
source "$ROOT/scripts/lib/aws.sh"

STEP= # what is under way, for messages

# check_accounts ends the script for mistakes in the arguments that choose
# accounts. It sets LETTERS, the accounts to work on, and makes ASSEMBLY absolute.
check_accounts() {
  local missing=
  case $ONLY in
    '') LETTERS='A B' ;;
    a) LETTERS=A ;;
    b) LETTERS=B ;;
    *) bad_usage "--only: want a or b, got '$ONLY'" ;;
  esac
  [[ -n $ENVIRONMENT ]] || missing+=' --env'
  [[ $LETTERS == B || -n $PROFILE_A ]] || missing+=' --profile-a'
  [[ $LETTERS == A || -n $PROFILE_B ]] || missing+=' --profile-b'
  [[ -z $missing ]] || bad_usage "missing:$missing"
  [[ -n $ASSEMBLY ]] || return 0
  [[ -f $ASSEMBLY/manifest.json ]] || bad_usage "--assembly: $ASSEMBLY/manifest.json does not exist; cdk synth --output makes it"
  ASSEMBLY=$(cd "$ASSEMBLY" && pwd)
}

begin() {
  STEP=$*
  STEP_BEGAN=$SECONDS
  log "$STEP"
}

end() { log "$STEP: done in $((SECONDS - STEP_BEGAN)) s"; }

# synthesise needs no account: both are in the configuration. It makes ASSEMBLY
# unless there is one.
synthesise() {
  [[ -z $ASSEMBLY ]] || return 0
  ASSEMBLY=$WORK/assembly
  begin "synthesising $ENVIRONMENT"
  rm -rf "$ASSEMBLY"
  synth_command "$ASSEMBLY"
  run_logged 600 "$WORK/synth.log" "${CMD[@]}" || {
    log "error: $ENVIRONMENT cannot be synthesised; the reason stands above"
    exit 2
  }
  end
}

# read_manifest takes from the assembly what each stack needs: account, region,
# least bootstrap version, the parameter that tells an account's version, and
# whether the stack is to be protected from deletion.
read_manifest() {
  local facts
  # shellcheck disable=SC2016 # JavaScript
  facts=$(node -e '
    const [file, ...names] = process.argv.slice(1);
    for (const name of names) {
      const { environment, properties } = require(file).artifacts[name];
      console.log(...environment.replace("aws://", "").split("/"),
        properties.requiresBootstrapStackVersion, properties.bootstrapStackVersionSsmParameter,
        properties.terminationProtection === true);
    }
  ' "$ASSEMBLY/manifest.json" "GitLab-$ENVIRONMENT" "Deploy-$ENVIRONMENT") ||
    die "the assembly has no stacks GitLab-$ENVIRONMENT and Deploy-$ENVIRONMENT"
  local line='[0-9]{12} [a-z0-9-]+ [0-9]+ /[^ ]+ (true|false)'
  [[ $facts =~ ^$line$'\n'$line$ ]] ||
    die "the assembly's stacks lack an account, a region or a bootstrap version: $facts"
  FACTS_A=${facts%%$'\n'*}
  FACTS_B=${facts#*$'\n'}
}

# use A or use B chooses the account that the functions below speak about.
use() {
  case $1 in
    A) PROFILE=$PROFILE_A STACK=GitLab-$ENVIRONMENT KEY=gitlab.account FACTS=$FACTS_A ;;
    B) PROFILE=$PROFILE_B STACK=Deploy-$ENVIRONMENT KEY=deploy.account FACTS=$FACTS_B ;;
  esac
  # shellcheck disable=SC2034 # for the commands
  read -r ACCOUNT REGION NEEDED_BOOTSTRAP VERSION_PARAMETER PROTECTED <<<"$FACTS"
}

# The commands, each put into CMD: --dry-run prints the same ones.

synth_command() {
  CMD=(cdk synth --quiet --context "env=$ENVIRONMENT" --output "$1")
}

# check_identities reports what is wrong with any profile before it ends.
check_identities() {
  local letter got='' problems=0 profiles="$PROFILE_A and $PROFILE_B"
  [[ $LETTERS == 'A B' ]] || profiles=$PROFILE_A$PROFILE_B
  begin "checking the credentials of $profiles"
  for letter in $LETTERS; do
    use "$letter"
    identity_command
    if ! ask || [[ ! $ANSWER =~ ^[0-9]{12}$ ]]; then
      problems=$((problems + 1))
      log "error: profile $PROFILE gives no credentials for account $ACCOUNT ($KEY in config/$ENVIRONMENT.yaml)." \
        "AWS says: ${COMPLAINT:-$ANSWER}. Sign in again (aws sso login --profile $PROFILE) or mend the profile."
    elif [[ $ANSWER != "$ACCOUNT" ]]; then
      problems=$((problems + 1))
      log "error: profile $PROFILE is of account $ANSWER," \
        "but $STACK belongs to account $ACCOUNT ($KEY in config/$ENVIRONMENT.yaml)"
    fi
    got+="$ANSWER "
  done
  [[ $got != "${FACTS_B%% *} ${FACTS_A%% *} " || $problems == 0 ]] ||
    log "the two profiles are the right ones the wrong way round"
  ((problems == 0)) || exit 2
  end
}

print_command() {
  # shellcheck disable=SC2016 # for the reader's shell
  shell_words "${CMD[@]}" | sed 's/@ASSEMBLY@/"$assembly"/; s/@ENDPOINT@/"$endpoint"/'
}
