#!/usr/bin/env bash
#/ Usage: register-runner.sh --action <check|register> --name <runner> [--url <https://host>]
#/            [--parameter <name> --region <region>] [--image <image>] [--tags <a,b>] [--concurrency <n>]
#/
#/ Registers this host's GitLab Runner with the token that issue-runner-token.sh
#/ has put into an SSM parameter, and removes the parameter, whatever happens. Its
#/ jobs have /opt/gitlab-codedeploy/bin, read-only.
#/ A runner that is registered and alive is left as it is; one that GitLab does
#/ not know any more is registered anew. check only says which. Run it as root
#/ on the runner's host.
#/
#/ OPTIONS:
#/   --action <…>         check or register.
#/   --name <runner>      The runner's name here and in GitLab.
#/   --url <https://host> GitLab's address, for register.
#/   --parameter <name>   SSM parameter with the token, for register.
#/   --region <region>    AWS region of the parameter, for register.
#/   --image <image>      Docker image of jobs that name none. Default: alpine:3.20.
#/   --tags <a,b>         Tags of the jobs it takes; without any it takes jobs
#/                        without tags. From GitLab 16.0 on, given on the server.
#/   --concurrency <n>    Jobs at a time on this host. Default: 2.
#/   -h, --help           Show this message.
#/
#/ ENVIRONMENT (seconds): REGISTER_TIMEOUT, for tries to register. Default: 150.
#/
#/ The result on stdout is one line of JSON: {"runner", "state"}; state is
#/ registered or kept, for check none, alive or removed.
#/ Exit status: 0 done, 1 failed, 2 wrong use.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/host.sh"
# shellcheck source=scripts/lib/operation.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/operation.sh"
# shellcheck source=scripts/lib/runner.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/runner.sh"

# After a reset GitLab's processes take the old token for another minute.
REGISTER_TIMEOUT=${REGISTER_TIMEOUT:-150}

main() {
  refuse_trace
  parse_arguments "$@"
  check_host
  if [[ $ACTION == check ]]; then
    read_state "$NAME"
    [[ $RUNNER_STATE != unknown ]] || die_unknown
    result "$RUNNER_STATE"
    return
  fi
  # From here on: the token must not outlive this run.
  trap remove_parameter EXIT
  exclusive register-runner
  read_state "$NAME"
  case $RUNNER_STATE in
    unknown) die_unknown ;;
    alive)
      log "the runner '$NAME' is registered and alive: it stays as it is"
      give_jobs_programs
      verify
      result kept
      return
      ;;
    removed) forget_removed "$NAME" ;;
  esac
  read_token
  set_concurrency
  register
  verify
  result registered
}

parse_arguments() {
  ACTION='' NAME='' URL='' PARAMETER='' REGION='' IMAGE=alpine:3.20 TAGS='' CONCURRENCY=2
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      --action) ACTION=${2-} ;;
      --name) NAME=${2-} ;;
      --url) URL=${2-} ;;
      --parameter) PARAMETER=${2-} ;;
      --region) REGION=${2-} ;;
      --image) IMAGE=${2-} ;;
      --tags) TAGS=${2-} ;;
      --concurrency) CONCURRENCY=${2-} ;;
      *) bad_usage "unknown argument '$1'" ;;
    esac
    shift $(($# > 1 ? 2 : 1))
  done
  check_argument --action "$ACTION" 'check|register' 'check or register'
  check_runner_name "$NAME"
  [[ $ACTION == register ]] || return 0
  # Plain http from this very host, for tests.
  check_argument --url "$URL" 'https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?|http://localhost:[0-9]+' 'https:// and a host name, without port or path'
  check_token_parameter "$PARAMETER" "$REGION"
  check_argument --image "$IMAGE" '[a-z0-9][A-Za-z0-9._/:@-]{0,254}' 'a Docker image such as alpine:3.20'
  check_job_tags "$TAGS"
  check_argument --concurrency "$CONCURRENCY" '[1-9][0-9]{0,2}' 'a number from 1 to 999'
}

check_host() {
  ((EUID == 0)) || die "run this as root"
  need awk gitlab-runner grep systemctl timeout
  [[ $ACTION == check ]] || need aws flock
}

result() { printf '{"runner": "%s", "state": "%s"}\n' "$NAME" "$1"; }

# remove_parameter leaves the script's exit status as it is.
remove_parameter() {
  local message
  message=$(timeout 60 aws ssm delete-parameter --region "$REGION" --name "$PARAMETER" 2>&1) ||
    [[ $message == *ParameterNotFound* ]] ||
    log "warning: $PARAMETER could not be removed and still holds a token: $message"
}

# read_token sets TOKEN. It reaches gitlab-runner through its environment.
read_token() {
  TOKEN=$(timeout 60 aws ssm get-parameter --region "$REGION" --name "$PARAMETER" --with-decryption \
    --query Parameter.Value --output text) || die "cannot read the token in $PARAMETER (see the messages above)"
  [[ $TOKEN =~ ^[A-Za-z0-9._=-]{8,255}$ ]] || die "$PARAMETER holds no token"
}

# set_concurrency writes the one setting that "register" has no flag for. The
# rest of the file is gitlab-runner's.
set_concurrency() {
  if [[ ! -e $RUNNER_CONFIG ]]; then
    printf 'concurrent = %s\ncheck_interval = 0\n' "$CONCURRENCY" | write_file "$RUNNER_CONFIG" 600
  elif ! grep -Fxq "concurrent = $CONCURRENCY" "$RUNNER_CONFIG"; then
    {
      printf 'concurrent = %s\n' "$CONCURRENCY"
      grep -Ev '^concurrent *=' "$RUNNER_CONFIG" || true
    } | write_file "$RUNNER_CONFIG" 600
  fi
}

register() {
  log "registering '$NAME' at $URL"
  wait_for "$REGISTER_TIMEOUT" register_once || die "gitlab-runner register failed: $(last_logged)"
  is_registered "$NAME" || die "gitlab-runner register reports success, and $RUNNER_CONFIG has no runner '$NAME': $(last_logged)"
}

# register_once: an authentication token belongs to a runner whose tags and
# lock were set when it was made, and both flags are refused with it.
# https://docs.gitlab.com/ci/runners/new_creation_workflow/
register_once() {
  local options=(register --non-interactive --url "$URL" --name "$NAME" --executor docker --docker-image "$IMAGE"
    --docker-volumes "$JOB_PROGRAMS_VOLUME")
  if [[ $TOKEN == glrt-* ]]; then
    CI_SERVER_TOKEN=$TOKEN REDACT=$TOKEN logged gitlab_runner ${options[@]+"${options[@]}"}
    return
  fi
  options+=(--locked=false)
  if [[ -n $TAGS ]]; then options+=(--tag-list "$TAGS" --run-untagged=false); else options+=(--run-untagged=true); fi
  REGISTRATION_TOKEN=$TOKEN REDACT=$TOKEN logged gitlab_runner ${options[@]+"${options[@]}"}
}

# gitlab_runner hides by what gitlab-runner names the runner in its messages:
# the beginning of the token, here of one that registers.
gitlab_runner() { timeout 120 gitlab-runner "$@" 2>&1 | sed 's/runner=[^ ]*/runner=********/'; }

# verify makes sure that the runner is known to GitLab and asks for jobs. The
# service reads a changed configuration by itself.
verify() {
  read_state "$NAME"
  [[ $RUNNER_STATE == alive ]] || die "the runner '$NAME' is registered, but not alive: ${VERIFIED##*$'\n'}"
  systemctl is-active --quiet gitlab-runner || {
    log "starting the service gitlab-runner"
    systemctl start gitlab-runner 9>&- || die "cannot start gitlab-runner: see journalctl --unit gitlab-runner"
  }
  log "the runner '$NAME' is alive"
}

operate register-runner main "$@"
