#!/usr/bin/env bash
#/ Usage: scripts/ops reset-tokens --env NAME --profile PROFILE [OPTIONS]
#/
#/ Resets the tokens that register runners, as is due after a restore.
#/
#/ Those of the instance, of groups and of projects, in one transaction; runners
#/ that are registered stay so. It shows first how many there are.
#/
#/ OPTIONS:
#/   --env NAME             Environment: config/NAME.yaml.
#/   --profile PROFILE      AWS profile of GitLab's account (gitlab.account).
#/   --lost-secrets         When gitlab-secrets.json is lost for good: remove
#/                          everything that GitLab's own page lists, too: tokens of
#/                          runners and jobs, CI/CD variables (their names are kept
#/                          in a file on the server), webhooks, integrations. Asks
#/                          twice.
#/   --check                Only show what would be reset.
#/   --follow [RUN]         Follow the newest run, or that one, instead of starting one.
#/   --timeout SECONDS      Longest time to follow. Default: 86400.
#/   --dry-run              Print the commands, and call nothing in AWS.
#/   --yes                  Do not ask. Needed without a terminal.
#/   -h, --help             Show this message.
#/
#/ Prints one line of JSON: {"reset": {"projects": {"before", "after"}, …}, "missing", "names"}.
#/ Exit status: 0 done; 1 failed, and nothing was changed; 2 wrong use,
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
# shellcheck source=scripts/lib/remote.sh
source "$ROOT/scripts/lib/remote.sh"

LOST=no
CHECK=

take_option() {
  case $1 in
    --lost-secrets) LOST=yes ;;
    --check) CHECK=1 ;;
    *) return 1 ;;
  esac
}

main() {
  local status=0
  parse_options "$@"
  [[ -n $CHECK || -n $YES || -n $DRY_RUN || -n $FOLLOW ]] || has_terminal ||
    bad_usage "there is no terminal to ask on: pass --yes to reset without a question"
  open_account
  if [[ -z $FOLLOW ]]; then
    run_operation server reset-tokens "LostSecrets=$LOST" Check=yes Yes=no || exit
    if [[ -n $CHECK ]]; then
      print_result
      return
    fi
    ask_both
    : >"$WORK/result"
  fi
  run_operation server reset-tokens "LostSecrets=$LOST" Check=no Yes=yes || status=$?
  print_result
  exit "$status"
}

ask_both() {
  confirm "reset the tokens listed above in GitLab's database? Whoever registers runners needs the new ones."
  [[ $LOST == no ]] ||
    confirm "what is listed as variables, webhooks and integrations is deleted for good, and all of it is wrong as long as the right gitlab-secrets.json can be found. Is there a backup, and is the file lost?"
}

main "$@"
