#!/usr/bin/env bash
#/ Usage: unregister-runner.sh --name <runner>
#/
#/ Takes this host's runner of that name out of GitLab and out of the
#/ configuration. Jobs under way are not waited for. One that GitLab does not
#/ know any more is only taken out of the configuration. Run it as root on the
#/ runner's host.
#/
#/ OPTIONS:
#/   --name <runner>  The runner's name here and in GitLab.
#/   -h, --help       Show this message.
#/
#/ The result on stdout is one line of JSON: {"runner", "state"}; state is
#/ unregistered, or none when there was nothing to do.
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

main() {
  refuse_trace
  parse_arguments "$@"
  ((EUID == 0)) || die "run this as root"
  need flock gitlab-runner grep timeout
  exclusive unregister-runner
  read_state "$NAME"
  case $RUNNER_STATE in
    none)
      log "there is no runner '$NAME' on this host: nothing to do"
      result none
      return
      ;;
    unknown) die_unknown ;;
    removed) forget_removed "$NAME" ;;
    alive)
      log "unregistering '$NAME'"
      logged timeout 60 gitlab-runner unregister --name "$NAME" || die "gitlab-runner unregister failed: $(last_logged)"
      ! is_registered "$NAME" || die "gitlab-runner unregister reports success, and $RUNNER_CONFIG still has '$NAME': $(last_logged)"
      ;;
  esac
  log "the runner '$NAME' is unregistered"
  result unregistered
}

parse_arguments() {
  NAME=''
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      --name) NAME=${2-} ;;
      *) bad_usage "unknown argument '$1'" ;;
    esac
    shift $(($# > 1 ? 2 : 1))
  done
  check_runner_name "$NAME"
}

result() { printf '{"runner": "%s", "state": "%s"}\n' "$NAME" "$1"; }

operate unregister-runner main "$@"
