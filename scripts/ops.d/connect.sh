#!/usr/bin/env bash
#/ Usage: scripts/ops connect --env NAME [--profile PROFILE] [OPTIONS]
#/
#/ Opens a shell on the GitLab server, or on the runner.
#/
#/ There is no other way in: the hosts have no public address and no open port.
#/ Session Manager logs you in as ssm-user, who may use sudo. It needs AWS's
#/ session-manager-plugin on this machine.
#/
#/ OPTIONS:
#/   --env NAME         Environment: config/NAME.yaml.
#/   --profile PROFILE  AWS profile of GitLab's account (gitlab.account). Default:
#/                      the credentials that the AWS CLI finds by itself.
#/   --host HOST        server (default) or runner.
#/   --dry-run          Print the commands, and call nothing in AWS.
#/   --yes              Accepted as everywhere; nothing is asked here.
#/   -h, --help         Show this message.
#/
#/ Exit status: that of the session; 1 AWS refused something; 2 wrong use,
#/ configuration or credentials, or no plug-in. When it does not come up:
#/ scripts/ops check.

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
# shellcheck source=scripts/lib/session.sh
source "$ROOT/scripts/lib/session.sh"

HOST=server

take_option() {
  case $1 in
    --host) HOST=$2 TAKEN=2 ;;
    *) return 1 ;;
  esac
}

main() {
  local instance
  parse_options "$@"
  [[ $HOST == server || $HOST == runner ]] || bad_usage "--host: want server or runner, got '$HOST'"
  need_plugin
  open_account
  instance=$(host_instance "$HOST")
  [[ -n $DRY_RUN ]] || log "opening a shell on the $HOST ($instance) of account $ACCOUNT, $REGION"
  open_session "$instance"
}

main "$@"
