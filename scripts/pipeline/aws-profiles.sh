#!/usr/bin/env bash
#/ Usage: scripts/pipeline/aws-profiles.sh review|deploy
#/
#/ Writes an AWS configuration for a pipeline job, and prints the line that
#/ makes AWS clients use it:
#/
#/   eval "$(scripts/pipeline/aws-profiles.sh review)"
#/
#/ Its profiles gitlab-account and deploy-account take the role of that name in
#/ either account (constructs/pipeline_access.go), by the token that GitLab made
#/ for this job. There are no keys to keep: clients fetch credentials that last
#/ an hour, when they need them.
#/
#/ Reads ENVIRONMENT (config/ENVIRONMENT.yaml), AWS_ID_TOKEN (the job's
#/ id_tokens) and CI_JOB_ID. Exit status: 0 done; 2 something is missing.

set -Eeuo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/pipeline/common.sh
source "$ROOT/scripts/pipeline/common.sh"

main() {
  case ${1-} in
    review | deploy) ;;
    -h | --help)
      sed -n 's/^#\/ \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit
      ;;
    *) bad_usage "want review or deploy, got '${1-}'" ;;
  esac
  [[ -n ${ENVIRONMENT-} ]] || bad_usage "ENVIRONMENT is not set"
  [[ -n ${AWS_ID_TOKEN-} ]] || bad_usage "AWS_ID_TOKEN is not set: the job needs id_tokens, which GitLab has from 15.7 on"
  cd "$ROOT"
  # The configuration says which accounts, and by which rules.
  local facts
  facts=$(go run ./internal/config/show "$ENVIRONMENT" \
    '{{.Region}} {{.GitLab.Account}} {{.Deploy.Account}} {{if .Pipeline}}on{{else}}off{{end}}') || exit 2
  local region gitlab deploy pipeline
  read -r region gitlab deploy pipeline <<<"$facts"
  [[ $pipeline == on ]] ||
    bad_usage "config/$ENVIRONMENT.yaml has no key pipeline: without it the accounts have no roles for this job"

  umask 077
  local folder
  folder=$(mktemp -d "${TMPDIR:-/tmp}/aws-profiles.XXXXXX")
  printf '%s' "$AWS_ID_TOKEN" >"$folder/token"
  profile gitlab-account "$gitlab" "$region" "$1" "$folder" >"$folder/config"
  profile deploy-account "$deploy" "$region" "$1" "$folder" >>"$folder/config"
  printf 'export AWS_CONFIG_FILE=%q AWS_SHARED_CREDENTIALS_FILE=/dev/null\n' "$folder/config"
}

# profile NAME ACCOUNT REGION ROLE FOLDER
# https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-role.html#cli-configure-role-oidc
profile() {
  cat <<CONFIG
[profile $1]
region = $3
role_arn = arn:$(partition "$3"):iam::$2:role/gitlab-codedeploy-$ENVIRONMENT-$4
role_session_name = job-${CI_JOB_ID:-0}
web_identity_token_file = $5/token

CONFIG
}

# https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
partition() {
  case $1 in
    cn-*) echo aws-cn ;;
    us-gov-*) echo aws-us-gov ;;
    *) echo aws ;;
  esac
}

main "$@"
