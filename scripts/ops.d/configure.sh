#!/usr/bin/env bash
#/ Usage: scripts/ops configure --env NAME --profile PROFILE [OPTIONS]
#/
#/ Brings our settings on the GitLab server up to date, and takes them back when it fails.
#/
#/ They are a file of their own, which gitlab.rb includes; gitlab.rb is kept as
#/ it is, but for that one line when it is not there yet. The difference is
#/ shown, and GitLab reconfigured after a question. When GitLab does not come up
#/ with them, the old settings come back.
#/
#/ OPTIONS:
#/   --env NAME             Environment: config/NAME.yaml.
#/   --profile PROFILE      AWS profile of GitLab's account (gitlab.account).
#/   --check                Only show the difference.
#/   --follow [RUN]         Follow the newest run, or that one, instead of starting one.
#/   --timeout SECONDS      Longest time to follow. Default: 86400.
#/   --dry-run              Print the commands, and call nothing in AWS.
#/   --yes                  Do not ask. Needed without a terminal.
#/   -h, --help             Show this message.
#/
#/ Prints one line of JSON: {"settings", "state"}; state is unchanged, differs
#/ (--check) or applied.
#/ Exit status: 0 done; 1 failed, and the old settings are back unless it says
#/ otherwise; 2 wrong use, configuration or credentials.

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

CHECK=

take_option() {
  case $1 in
    --check) CHECK=1 ;;
    *) return 1 ;;
  esac
}

main() {
  local status=0 url
  parse_options "$@"
  [[ -n $CHECK || -n $YES || -n $DRY_RUN || -n $FOLLOW ]] || has_terminal ||
    bad_usage "there is no terminal to ask on: pass --yes to apply without a question"
  open_account
  url=$(need_output Url 'https://[a-z0-9.-]+') || exit
  if [[ -z $FOLLOW ]]; then
    run_operation server configure "ExternalUrl=$url" Check=yes Yes=no || exit
    if [[ -n $CHECK ]]; then
      print_result
      return
    fi
    # Applied even when nothing differs: the server itself knows whether an
    # earlier run was left unfinished.
    confirm "write the difference shown above, if any, and reconfigure GitLab? What it concerns is restarted."
    : >"$WORK/result"
  fi
  run_operation server configure "ExternalUrl=$url" Check=no Yes=yes || status=$?
  print_result
  exit "$status"
}

main "$@"
