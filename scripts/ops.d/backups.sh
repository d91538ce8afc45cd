#!/usr/bin/env bash
#/ Usage: scripts/ops backups --env NAME [--profile PROFILE] [OPTIONS]
#/
#/ Lists the backups in the bucket, and says which of them are complete.
#/
#/ A backup is complete when its manifest is sound and each part that it names is
#/ there in its size. What has no manifest was never finished, or is on its way.
#/ The parts' content is compared when they are restored. It changes nothing.
#/
#/ OPTIONS:
#/   --env NAME         Environment: config/NAME.yaml.
#/   --profile PROFILE  AWS profile of GitLab's account (gitlab.account). Default:
#/                      the credentials that the AWS CLI finds by itself.
#/   --json             One JSON array on stdout instead of the table.
#/   --dry-run          Print the commands, and call nothing in AWS.
#/   --yes              Accepted as everywhere; nothing is asked here.
#/   -h, --help         Show this message.
#/
#/ JSON: [{"backup", "version", "edition", "bytes", "ageSeconds", "host",
#/ "complete", "reason"}, …], the newest first; unknown is null.
#/ Exit status: 0 listed, also when there are none; 1 AWS refused something;
#/ 2 wrong use, configuration or credentials.

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

FORMAT=table

take_option() {
  case $1 in
    --json) FORMAT=json TAKEN=1 ;;
    *) return 1 ;;
  esac
}

main() {
  local bucket prefix
  parse_options "$@"
  [[ -z $FOLLOW ]] || bad_usage "--follow: there is nothing to follow; ask again"
  open_account
  bucket=$(need_output BackupBucketName '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]')
  if [[ -n $DRY_RUN ]]; then
    for prefix in backups secrets; do
      list_command "$bucket" "$prefix"
      print_command
    done
    echo "# then the manifests: aws s3 cp --recursive --exclude '*' --include '*/manifest.json'"
    return
  fi
  for prefix in backups secrets; do
    list_command "$bucket" "$prefix"
    ask_into "$WORK/$prefix.json" || die "listing $prefix/ in $bucket: $COMPLAINT"
  done
  mkdir "$WORK/manifests"
  manifests_command "$bucket"
  ask || die "reading the manifests in $bucket: $COMPLAINT"
  node "$ROOT/scripts/ops.d/backups.js" "$FORMAT" "$WORK" "$bucket"
}

# The commands, each put into CMD: --dry-run prints the same ones.

list_command() {
  aws_command s3api list-objects-v2 --bucket "$1" --prefix "$2/" --query 'Contents[].[Key, Size]' --output json
}

manifests_command() {
  aws_command s3 cp "s3://$1/backups/" "$WORK/manifests" --recursive --only-show-errors --exclude '*' --include '*/manifest.json'
}

main "$@"
