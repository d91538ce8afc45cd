#!/usr/bin/env bash
#/ Usage: scripts/ops upgrade-runner --env NAME --version VERSION [--profile PROFILE] [OPTIONS]
#/
#/ Brings GitLab Runner to a version, in step with GitLab: the same minor.
#/
#/ Do it after an upgrade of GitLab. The runner takes no new jobs and lets the
#/ running ones end first.
#/
#/ OPTIONS:
#/   --env NAME              Environment: config/NAME.yaml.
#/   --profile PROFILE       AWS profile of GitLab's account (gitlab.account). Default:
#/                           the credentials that the AWS CLI finds by itself.
#/   --version VERSION       GitLab Runner version, such as 15.4.2, or 15.4 for its
#/                           newest patch. Required.
#/   --jobs-timeout SECONDS  Longest wait for running jobs; nothing is changed when
#/                           they take longer. Default: 7200.
#/   --follow [RUN]          Start nothing: follow the newest one, or that run.
#/   --timeout SECONDS       How long to follow it. Default: 86400. It goes on.
#/   --dry-run               Print the commands, and call nothing in AWS.
#/   --yes                   Do not ask.
#/   -h, --help              Show this message.
#/
#/ Prints one line of JSON: {"from", "to"}.
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

VERSION='' JOBS_TIMEOUT=7200

take_option() {
  TAKEN=2
  case $1 in
    --version) VERSION=$2 ;;
    --jobs-timeout) JOBS_TIMEOUT=$2 ;;
    *) return 1 ;;
  esac
}

main() {
  local url status=0
  parse_options "$@"
  [[ -n $VERSION || -n $FOLLOW ]] || bad_usage "missing: --version"
  VERSION=${VERSION:-0.0} # not sent with --follow
  [[ $VERSION =~ ^[0-9]{1,2}\.[0-9]{1,2}(\.[0-9]{1,2})?$ ]] || bad_usage "--version: got '$VERSION', want a version such as 15.4.2 or 15.4"
  [[ $JOBS_TIMEOUT =~ ^[0-9]{1,6}$ ]] || bad_usage "--jobs-timeout: want seconds, got '$JOBS_TIMEOUT'"
  open_account
  url=$(node -p 'JSON.parse(require("fs").readFileSync(0)).GitLab.Runner.PackageRepositoryURL' <"$WORK/config.json")
  confirm "bring the runner of $ENVIRONMENT to $VERSION, when its jobs have ended?"
  run_operation runner upgrade-runner "Version=$VERSION" "RepositoryUrl=$url" "JobsTimeout=$JOBS_TIMEOUT" || status=$?
  print_result
  exit "$status"
}

main "$@"
