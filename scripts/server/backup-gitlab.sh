#!/usr/bin/env bash
#/ Usage: backup-gitlab.sh --bucket <name> --region <region> [--keep-days <n>] [--environment <name>]
#/        backup-gitlab.sh --to-dir <folder>
#/
#/ Makes a complete backup of the GitLab on this host: what gitlab-backup makes,
#/ and what it leaves out (gitlab-secrets.json, gitlab.rb, SSH host keys; before
#/ 14.7 also packages and Terraform states). GitLab goes on working meanwhile.
#/
#/ The content is checked and hashed, each part is looked at again where it was
#/ stored, and a manifest is written last: a backup without one does not count,
#/ so there is none that only looks complete. Run it as root, on any host that
#/ has GitLab 12.2 to 15.x from its package: this server, or the old one.
#/
#/ OPTIONS:
#/   --bucket <name>       Bucket to store it in: below backups/, and the secrets
#/                         below secrets/.
#/   --region <region>     AWS region of the bucket.
#/   --to-dir <folder>     Folder to store it in instead, for a copy by other
#/                         means. It will hold the secrets: keep it as safe.
#/   --keep-days <n>       Afterwards remove backups from the bucket that are
#/                         older, but never the newest three. 0 keeps all. Default: 0.
#/   --environment <name>  Afterwards count it in CloudWatch for this environment,
#/                         where an alarm waits for it.
#/   -h, --help            Show this message.
#/
#/ The AWS CLI finds its credentials as always: the instance's role, or on the
#/ old server AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
#/
#/ Prints one line of JSON: {"backup", "version", "edition", "bytes", "store"}.
#/ Exit status: 0 there is a complete backup, 1 there is none, 2 wrong use.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/host.sh"
# shellcheck source=scripts/lib/operation.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/operation.sh"
# shellcheck source=scripts/lib/backup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/backup.sh"

# Backups that stay, however old.
KEPT_ALWAYS=3
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/publishingMetrics.html
METRIC_NAMESPACE=GitLabCodeDeploy

main() {
  local bytes
  # Credentials may come by the environment.
  refuse_trace
  parse_arguments "$@"
  ((EUID == 0)) || die "run this as root"
  exclusive backup
  make_backup "$STORE"
  bytes=$(awk '{ n += $2 } END { printf "%.0f", n }' <<<"$PARTS")
  log "$BACKUP_ID is complete: $bytes bytes in $STORE"
  if ((KEEP_DAYS > 0)); then
    prune_backups
  fi
  [[ -z $ENVIRONMENT ]] || count_backup
  printf '{"backup": "%s", "version": "%s", "edition": "%s", "bytes": %s, "store": "%s"}\n' \
    "$BACKUP_ID" "$BACKUP_VERSION" "$BACKUP_EDITION" "$bytes" "$STORE"
}

parse_arguments() {
  local bucket='' region='' folder=''
  KEEP_DAYS=0 ENVIRONMENT=''
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      --bucket) bucket=${2-} ;;
      --region) region=${2-} ;;
      --to-dir) folder=${2-} ;;
      --keep-days) KEEP_DAYS=${2-} ;;
      --environment) ENVIRONMENT=${2-} ;;
      *) bad_usage "unknown argument '$1'" ;;
    esac
    shift $(($# > 1 ? 2 : 1))
  done
  [[ -n $bucket || -n $folder ]] || bad_usage "missing: --bucket or --to-dir"
  [[ -z $bucket || -z $folder ]] || bad_usage "want one of --bucket and --to-dir"
  check_argument --keep-days "$KEEP_DAYS" '0|[1-9][0-9]{0,3}' 'a number of days up to 9999'
  check_argument --environment "$ENVIRONMENT" '([a-z][a-z0-9-]{0,19})?' 'the name of an environment'
  [[ -n $bucket || $KEEP_DAYS$ENVIRONMENT == 0 ]] || bad_usage "--keep-days and --environment go with --bucket"
  STORE=${folder:-s3://$bucket}
  check_backup_store "$STORE" "$region"
}

# prune_backups removes old backups, now that there is a new one. What goes
# wrong with it is no fault of the new backup.
prune_backups() {
  local bucket=${STORE#s3://} oldest ids id kept=0
  oldest=$(($(date +%s) - KEEP_DAYS * 86400))
  ids=$(stored_ids "$bucket") || {
    log "warning: cannot list old backups: nothing was removed"
    return
  }
  for id in $ids; do
    # The newest three that count, this one among them; never one of the future.
    if ((10#${id%%_*} >= oldest)); then
      kept=$((kept + 1))
      continue
    fi
    if ((++kept <= KEPT_ALWAYS)) || [[ $id == "$BACKUP_ID" ]]; then
      continue
    fi
    log "removing $id, which is older than $KEEP_DAYS days"
    # The manifest goes first: half a backup must not count.
    if ! { s3 s3 rm --only-show-errors "s3://$bucket/backups/$id/manifest.json" &&
      s3 s3 rm --recursive --only-show-errors "s3://$bucket/backups/$id/" &&
      s3 s3 rm --recursive --only-show-errors "s3://$bucket/secrets/$id/"; }; then
      log "warning: $id could not be removed"
    fi
  done
}

# stored_ids BUCKET prints the ids of all that is there: the complete ones
# first, then what never got a manifest; each the newest first.
stored_ids() {
  local complete all prefix
  complete=$(backup_ids "$1") || return
  all=$(for prefix in backups secrets; do
    s3 s3api list-objects-v2 --bucket "$1" --prefix "$prefix/" --delimiter / --query 'CommonPrefixes[].[Prefix]' --output text || exit
  done) || return
  printf '%s\n' "$complete"
  sed -nE "s/^(backups|secrets)\/($BACKUP_ID_PATTERN)\/$/\2/p" <<<"$all" | sort -ru | grep -Fxv -e "${complete:-none}" || true
}

# count_backup tells CloudWatch. The alarm is about the absence of this, so a
# failure here is told by it.
count_backup() {
  s3 cloudwatch put-metric-data --namespace "$METRIC_NAMESPACE" --metric-name BackupsCompleted \
    --dimensions "Environment=$ENVIRONMENT" --value 1 --unit Count ||
    log "warning: CloudWatch did not take the count of this backup: its alarm will say that there is none"
}

operate backup main "$@"
