#!/usr/bin/env bash
#/ Usage: scripts/ops unregister-runner --env NAME --profile PROFILE [OPTIONS]
#/
#/ Takes the runner host out of GitLab; jobs that run on it are lost.
#/
#/ OPTIONS:
#/   --env NAME             Environment: config/NAME.yaml.
#/   --profile PROFILE      AWS profile of GitLab's account (gitlab.account).
#/   --follow [RUN]         Follow the newest run, or that one, instead of starting one.
#/   --timeout SECONDS      Longest time to follow. Default: 86400.
#/   --dry-run              Print the commands, and call nothing in AWS.
#/   --yes                  Do not ask. Needed without a terminal.
#/   -h, --help             Show this message.
#/
#/ Prints one line of JSON: {"runner", "state"}; state is unregistered, or none
#/ when there was nothing to do.
#/ Exit status: 0 done; 1 failed; 2 wrong use, configuration or credentials.

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

main() {
  local status=0
  parse_options "$@"
  open_account
  confirm "unregister the runner gitlab-codedeploy-$ENVIRONMENT? Jobs that run on it are lost, and new ones wait for another runner."
  run_operation runner unregister-runner "Name=gitlab-codedeploy-$ENVIRONMENT" || status=$?
  print_result
  exit "$status"
}

main "$@"
