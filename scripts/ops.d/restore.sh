#!/usr/bin/env bash
#/ Usage: scripts/ops restore --env NAME [--profile PROFILE] --backup ID [OPTIONS]
#/
#/ Puts a backup in the place of what GitLab holds, which is lost.
#/
#/ Database, repositories, uploads and other files, and gitlab-secrets.json are
#/ those of the backup afterwards, users and their passwords too. gitlab.rb and our
#/ settings stay. A backup of another version or edition, an incomplete or changed
#/ one, and one that the disk has no room for, are refused before anything is
#/ touched. Nobody can work while it runs.
#/
#/ OPTIONS:
#/   --env NAME         Environment: config/NAME.yaml.
#/   --profile PROFILE  AWS profile of GitLab's account (gitlab.account). Default:
#/                      the credentials that the AWS CLI finds by itself.
#/   --backup ID        The backup: see scripts/ops backups.
#/   --follow [RUN]     Start nothing: follow the newest restore, or that run.
#/   --timeout SECONDS  How long to follow it. Default: 86400. It goes on.
#/   --dry-run          Print the commands, and call nothing in AWS.
#/   --yes              Do not ask.
#/   -h, --help         Show this message.
#/
#/ Prints what was looked at afterwards, a line each: name, state, what was found.
#/ Exit status: 0 restored and sound; 1 not restored, or something is wrong;
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

BACKUP=

take_option() {
  case $1 in
    --backup) BACKUP=$2 TAKEN=2 ;;
    *) return 1 ;;
  esac
}

main() {
  local bucket url server status=0
  parse_options "$@"
  [[ $BACKUP =~ ^[0-9]{10}_[0-9]{4}_[0-9]{2}_[0-9]{2}_[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2}(-ee)?$ || -n $FOLLOW ]] ||
    bad_usage "--backup: want the id of a backup such as 1606734000_2020_11_30_13.10.2, got '$BACKUP'"
  open_account
  bucket=$(need_output BackupBucketName '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]')
  url=$(need_output Url 'https://[a-z0-9.-]+')
  server=$(host_instance server)
  confirm "restore $BACKUP onto $server, the GitLab at $url? Its database, repositories, uploads and secrets are overwritten."
  run_operation server restore "Backup=$BACKUP" "Bucket=$bucket" "Region=$REGION" || status=$?
  print_result
  exit "$status"
}

main "$@"
