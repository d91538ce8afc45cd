#!/usr/bin/env bash
#/ Usage: scripts/ops register-runner --env NAME --profile PROFILE [OPTIONS]
#/
#/ Registers the runner host with GitLab, and checks that GitLab hears from it.
#/
#/ The server hands over what to register with, its registration token or, from
#/ 16.0 on, the token of a new runner, in an SSM parameter that only the runner
#/ can decrypt; it is removed whatever happens. A runner that is registered and
#/ alive is left as it is, one that GitLab does not know any more is registered
#/ anew. Image, tags and jobs at a time come from the configuration.
#/
#/ OPTIONS:
#/   --env NAME             Environment: config/NAME.yaml.
#/   --profile PROFILE      AWS profile of GitLab's account (gitlab.account).
#/   --follow [RUN]         Follow the newest registration on the runner, or that one.
#/   --timeout SECONDS      Longest time to follow each step. Default: 86400.
#/   --dry-run              Print the commands, and call nothing in AWS.
#/   --yes                  Taken for the sake of scripts; it never asks.
#/   -h, --help             Show this message.
#/
#/ Prints one line of JSON: {"runner", "online", "contactedSecondsAgo"}.
#/ Exit status: 0 the runner is online; 1 failed; 2 wrong use, configuration or
#/ credentials.

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
  read_settings
  if [[ -n $FOLLOW ]]; then
    on_runner register || status=$?
    print_result
    exit "$status"
  fi
  on_runner check || exit
  if [[ -n $DRY_RUN ]] || ! grep -q '"state": "alive"' "$WORK/result"; then
    hand_over
  else
    log "the runner $NAME is registered and alive: it stays as it is"
  fi
  : >"$WORK/result"
  run_operation server runner-token Action=online "Name=$NAME" || status=$?
  print_result
  exit "$status"
}

# read_settings takes from the configuration what the runner is registered with.
read_settings() {
  local facts
  NAME=gitlab-codedeploy-$ENVIRONMENT
  PARAMETER=/gitlab-codedeploy/$ENVIRONMENT/runner-token
  facts=$(node -p '
    const { ConcurrentJobs, JobImage, Tags } = JSON.parse(require("fs").readFileSync(0)).GitLab.Runner;
    [ConcurrentJobs, JobImage, (Tags ?? []).join(",")].join(" ")' <"$WORK/config.json")
  read -r CONCURRENCY IMAGE TAGS <<<"$facts"
  URL=$(need_output Url 'https://[a-z0-9.-]+') || exit
  KEY=$(need_output RunnerTokenKeyArn 'arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-f-]+') || exit
}

on_runner() {
  run_operation runner register-runner "Action=$1" "Name=$NAME" "Url=$URL" "Parameter=$PARAMETER" "Region=$REGION" \
    "Image=$IMAGE" "Concurrency=$CONCURRENCY" ${TAGS:+"Tags=$TAGS"}
}

# hand_over brings the token from the server to the runner. The runner removes
# the parameter itself on every way out; but it may never have got that far.
hand_over() {
  local status=0
  : >"$WORK/result"
  ISSUING=1
  trap end_hand_over EXIT
  run_operation server runner-token Action=issue "Name=$NAME" "Parameter=$PARAMETER" "Key=$KEY" "Region=$REGION" ${TAGS:+"Tags=$TAGS"} || status=$?
  ISSUING=
  if ((status == 0)); then
    : >"$WORK/result"
    on_runner register || status=$?
  fi
  remove_parameter
  trap end_work EXIT
  ((status == 0)) || exit "$status"
}

# end_hand_over is the end when a step was given up. A run that goes on and has
# not read its token yet fails then: this way none stays behind.
# shellcheck disable=SC2329 # the trap calls it
end_hand_over() {
  local status=$?
  trap end_work EXIT
  stop_child
  remove_parameter
  [[ -z $ISSUING ]] ||
    log "warning: the server may still put a token into $PARAMETER. This command removes it when it is run again"
  exit "$status"
}

# remove_parameter is silent when there is nothing left to remove.
remove_parameter() {
  aws_command ssm delete-parameter --name "$PARAMETER"
  if [[ -n $DRY_RUN ]]; then
    echo "# when the runner has not removed it"
    print_command
  elif ask; then
    log "$PARAMETER still held the token: it is removed"
  elif [[ $COMPLAINT != *ParameterNotFound* ]]; then
    log "warning: $PARAMETER may still hold a token, which only the runner can decrypt: $COMPLAINT. Remove it with: $(print_command)"
  fi
}

main "$@"
