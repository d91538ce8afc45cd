#!/usr/bin/env bash
#/ Usage: scripts/ops backup --env NAME [--profile PROFILE] [OPTIONS]
#/
#/ Makes a complete backup of GitLab now, in the backup bucket.
#/
#/ GitLab goes on working meanwhile. The backup counts only once all of it was
#/ checked and stored: what fails half-way cannot be mistaken for one. The
#/ nightly one is made by the same document.
#/
#/ OPTIONS:
#/   --env NAME         Environment: config/NAME.yaml.
#/   --profile PROFILE  AWS profile of GitLab's account (gitlab.account). Default:
#/                      the credentials that the AWS CLI finds by itself.
#/   --follow [RUN]     Start nothing: follow the newest backup, also the nightly
#/                      one, or that run.
#/   --timeout SECONDS  How long to follow it. Default: 86400. It goes on.
#/   --dry-run          Print the commands, and call nothing in AWS.
#/   --yes              Accepted as everywhere; nothing is asked here.
#/   -h, --help         Show this message.
#/
#/ Prints one line of JSON: {"backup", "version", "edition", "bytes", "store"}.
#/ Exit status: 0 there is a complete backup; 1 there is none; 2 wrong use,
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

main() {
  local bucket status=0
  parse_options "$@"
  open_account
  bucket=$(need_output BackupBucketName '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]')
  # Only the nightly one removes old backups.
  run_operation server backup "Bucket=$bucket" "Region=$REGION" KeepDays=0 "Environment=$ENVIRONMENT" || status=$?
  print_result
  exit "$status"
}

main "$@"
