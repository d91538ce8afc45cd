#!/usr/bin/env bash
#/ Usage: scripts/ops forward --env NAME [--profile PROFILE] [OPTIONS]
#/
#/ Makes the server's port 80 a port of this machine, past the load balancer.
#/
#/ For looking at GitLab while the load balancer lets nobody in, such as between
#/ a restore and an upgrade. It ends with Ctrl-C. GitLab's own links and redirects
#/ go to its public address; curl with --header 'Host: …' is often what you want.
#/ It needs AWS's session-manager-plugin on this machine.
#/
#/ OPTIONS:
#/   --env NAME         Environment: config/NAME.yaml.
#/   --profile PROFILE  AWS profile of GitLab's account (gitlab.account). Default:
#/                      the credentials that the AWS CLI finds by itself.
#/   --port PORT        Port of this machine, 1024 to 65535. Default: 8080.
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

PORT=8080

take_option() {
  case $1 in
    --port) PORT=$2 TAKEN=2 ;;
    *) return 1 ;;
  esac
}

main() {
  local instance
  parse_options "$@"
  [[ $PORT =~ ^[1-9][0-9]{3,4}$ && $PORT -ge 1024 && $PORT -le 65535 ]] ||
    bad_usage "--port: want 1024 to 65535, got '$PORT'"
  need_plugin
  open_account
  instance=$(host_instance server)
  [[ -n $DRY_RUN ]] || log "http://localhost:$PORT becomes port 80 of $instance in account $ACCOUNT, $REGION, until Ctrl-C"
  open_session "$instance" --document-name AWS-StartPortForwardingSession \
    --parameters "portNumber=80,localPortNumber=$PORT"
}

main "$@"
