#!/usr/bin/env bash
#/ Usage: restore-gitlab.sh --backup <id> --bucket <name> --region <region> [--yes]
#/        restore-gitlab.sh --backup <id> --from-dir <folder> [--yes]
#/
#/ Puts a backup of backup-gitlab.sh in the place of the GitLab on this host:
#/ database, repositories, uploads and the other files, and gitlab-secrets.json.
#/ WHAT THIS GITLAB HOLDS NOW IS LOST. Run it as root.
#/
#/ Before anything is touched it makes sure that the backup is of exactly this
#/ version and edition, complete and unchanged, that nothing in it would land
#/ elsewhere, and that there is room: three times the archive. Puma and Sidekiq
#/ come back whatever happens. A run that was killed is repeated by the next one.
#/
#/ OPTIONS:
#/   --backup <id>        The backup's id, such as 1606734000_2020_11_30_13.10.2.
#/   --bucket <name>      Bucket that holds it.
#/   --region <region>    AWS region of the bucket.
#/   --from-dir <folder>  Folder that holds it instead: --to-dir of backup-gitlab.sh.
#/   --yes                Do not ask. scripts/ops has asked already.
#/   -h, --help           Show this message.
#/
#/ gitlab.rb and our settings stay those of this host, whose address and paths
#/ are in them. Those of the backup, and its SSH host keys, are laid into
#/ /etc/gitlab/from-<id> for you to compare; what is replaced is kept in
#/ /etc/gitlab/before-<time>.
#/
#/ Prints a line for each thing looked at afterwards, its columns divided by
#/ tabs: name, state (ok, wrong, or look for what may be as it should), and what
#/ was found.
#/ Exit status: 0 restored and sound; 1 not restored, or something is wrong, and
#/ the last line says which; 2 wrong use.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/host.sh"
# shellcheck source=scripts/lib/operation.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/operation.sh"
# shellcheck source=scripts/lib/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/settings.sh"
# shellcheck source=scripts/lib/backup-store.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/backup-store.sh"

# Seconds. A restore on a full disk hangs for ever.
RESTORE_TIMEOUT=${RESTORE_TIMEOUT:-43200}
RESTORE_READY_TIMEOUT=${RESTORE_READY_TIMEOUT:-900}

main() {
  refuse_trace
  parse_arguments "$@"
  check_host
  exclusive restore
  trap clean_up EXIT
  trap 'die "stopped by a signal"' HUP INT TERM
  find_backup_folder
  forget_unfinished_fetches
  check_manifest
  check_room
  confirm_overwriting
  fetch_parts
  check_members

  # From here on this GitLab is changed.
  mkdir -p "$BACKUP_STATE"
  printf '%s\n' "$ID" | write_file "$BACKUP_UNFINISHED_RESTORE" 600
  put_configuration
  restore_data
  restore_shared
  restart_gitlab
  rm -f "$BACKUP_UNFINISHED_RESTORE"
  log "$ID is restored; looking whether all is well"
  check_gitlab
}

parse_arguments() {
  local bucket='' region='' folder=''
  ID='' YES=''
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      --yes)
        YES=1
        shift
        continue
        ;;
      --backup) ID=${2-} ;;
      --bucket) bucket=${2-} ;;
      --region) region=${2-} ;;
      --from-dir) folder=${2-} ;;
      *) bad_usage "unknown argument '$1'" ;;
    esac
    shift $(($# > 1 ? 2 : 1))
  done
  check_argument --backup "$ID" "$BACKUP_ID_PATTERN" 'the id of a backup such as 1606734000_2020_11_30_13.10.2'
  [[ -n $bucket || -n $folder ]] || bad_usage "missing: --bucket or --from-dir"
  [[ -z $bucket || -z $folder ]] || bad_usage "want one of --bucket and --from-dir"
  STORE=${folder:-s3://$bucket}
  check_backup_store "$STORE" "$region"
}

check_host() {
  ((EUID == 0)) || die "run this as root"
  need awk curl df flock gitlab-backup gitlab-ctl gitlab-psql gitlab-rake gzip sha256sum tar timeout
  # The agent starts scripts without it, and Chef wants one.
  export HOME=${HOME:-/root}
}

# forget_unfinished_fetches removes what a run left that was killed.
forget_unfinished_fetches() {
  local left
  for left in "$BACKUP_FOLDER"/gitlab-codedeploy-restore.*; do
    [[ ! -e $left ]] || rm -rf "$left"
  done
  [[ ! -e $BACKUP_UNFINISHED_RESTORE ]] ||
    log "an earlier restore, of $(head -n 1 "$BACKUP_UNFINISHED_RESTORE"), did not finish"
  WORK=$(mktemp -d "$BACKUP_FOLDER/gitlab-codedeploy-restore.XXXXXX")
}

# check_manifest reads what the backup is, and refuses one that cannot be used here.
check_manifest() {
  local installed
  fetch_manifest "$STORE" "$ID" "$WORK/manifest.json" ||
    die "$ID has no manifest in $STORE (see the message above): it is not there, or it was never completed"
  read_manifest "$WORK/manifest.json" "$ID" || die "the manifest of $ID cannot be trusted: $MANIFEST_PROBLEM"
  # "gitlab-ce 13.10.2" is its first line.
  installed=$(head -n 1 /opt/gitlab/version-manifest.txt)
  [[ $installed == "gitlab-$BACKUP_EDITION $BACKUP_VERSION" ]] ||
    die "$ID is of gitlab-$BACKUP_EDITION $BACKUP_VERSION, and $installed is installed: a backup can only be restored on the version and edition that made it"
  check_stored_parts "$STORE" "$ID" || die "$ID is not complete: $MANIFEST_PROBLEM"
  TAR_KEY=backups/$ID/${ID}_gitlab_backup.tar
  TAR_SIZE=$(awk -v key="$TAR_KEY" '$1 == key { print $2 }' <<<"$PARTS")
}

# check_room: the archive itself, unpacked, and what it becomes.
check_room() {
  local need free
  need=$((3 * (TAR_SIZE / 1024 + 1) + 65536))
  free=$(kib_free "$BACKUP_FOLDER")
  ((free >= need)) ||
    die "too little disk for a restore: $((need / 1024)) MiB are needed in $BACKUP_FOLDER (three times the archive), $((free / 1024)) MiB are free"
}

confirm_overwriting() {
  local answer=
  log "restoring $ID (gitlab-$BACKUP_EDITION $BACKUP_VERSION, made by $BACKUP_HOST at $BACKUP_CREATED, $((TAR_SIZE / 1048576)) MiB)" \
    "onto $(uname -n): its database, its repositories, uploads and other files, and $BACKUP_CONFIG/gitlab-secrets.json are overwritten"
  # scripts/ops has asked who started the run.
  [[ -z $YES && -z ${OPERATION_RUN-} ]] || return 0
  [[ -t 0 ]] || bad_usage "there is no terminal to ask on: pass --yes"
  printf 'Overwrite the GitLab of %s? Type yes: ' "$(uname -n)" >&2
  read -r answer || true
  [[ $answer == yes ]] || die "not confirmed; nothing was done"
}

# fetch_parts brings all parts into WORK, and compares each with the manifest.
fetch_parts() {
  local key size hash found
  (umask 077 && mkdir -p "$WORK"/{backups,secrets}/"$ID")
  log "fetching $ID"
  while read -r key size hash; do
    [[ -n $key ]] || continue
    if [[ $STORE == s3://* ]]; then
      s3 s3 cp --only-show-errors "$STORE/$key" "$WORK/$key" || die "cannot fetch $key (see the message above)"
    else
      cp "$STORE/$key" "$WORK/$key" || die "cannot copy $STORE/$key"
    fi
    found=$(sha256sum <"$WORK/$key")
    [[ $(stat -c %s "$WORK/$key") == "$size" && ${found%% *} == "$hash" ]] ||
      die "$key is not what the backup was made of: its SHA-256 is ${found%% *}, and the manifest says $hash"
  done <<<"$PARTS"
  [[ -s $WORK/secrets/$ID/gitlab-secrets.json ]] || die "the gitlab-secrets.json of $ID is empty"
  TAR=$WORK/$TAR_KEY
  SHARED=$WORK/backups/$ID/shared.tar.gz
}

# check_members looks at what the archives would write before they may.
check_members() {
  local member members
  log "checking the content of ${ID}_gitlab_backup.tar"
  refuse_strays "$TAR" -f
  members=$(tar -tf "$TAR")
  read_backup_information "$TAR"
  [[ $ID == *_"$BACKUP_FULL_VERSION" ]] || die "$ID holds the data of GitLab $BACKUP_FULL_VERSION: it was renamed"
  grep -Eq '^db/database\.sql\.gz$' <<<"$members" || die "$ID holds no database"
  while IFS= read -r member; do
    # GitLab unpacks these, too. A symlink in one of them is a user's file.
    if [[ $member == *.tar.gz ]]; then
      tar -xOf "$TAR" -- "$member" >"$WORK/inner.tar.gz" || die "$member in $ID is damaged"
      refuse_strays "$WORK/inner.tar.gz" -zf names
      rm -f "$WORK/inner.tar.gz"
    fi
  done <<<"$members"
  [[ ! -e $SHARED ]] || refuse_strays "$SHARED" -zf
}

# refuse_strays FILE TAR-OPTIONS [names] ends the script for members that would
# leave their folder, and for links and devices.
refuse_strays() {
  local found
  tar -t "$2" "$1" >"$WORK/members" || die "${1##*/} cannot be listed: it is damaged"
  # tar writes a line end in a name as \n.
  found=$(grep -aE '^/|(^|/)\.\.(/|$)' "$WORK/members" | head -n 1) || true
  [[ -z $found ]] || die "${1##*/} holds '$found', which would land outside of its folder: nothing was unpacked"
  [[ -z ${3-} ]] || return 0
  tar -tv "$2" "$1" >"$WORK/members" || die "${1##*/} cannot be listed: it is damaged"
  found=$(grep -av '^[d-]' "$WORK/members" | head -n 1) || true
  [[ -z $found ]] || die "${1##*/} holds a link or a device: $found; nothing was unpacked"
}

# put_configuration replaces the secrets, and lays aside what was there and what
# else came with the backup.
put_configuration() {
  local before file from=$BACKUP_CONFIG/from-$ID
  before=$BACKUP_CONFIG/before-$(date -u +%Y%m%dT%H%M%SZ)
  (umask 077 && mkdir -p "$before" "$from")
  for file in gitlab-secrets.json gitlab.rb gitlab-codedeploy.rb; do
    [[ ! -f $BACKUP_CONFIG/$file ]] || cp -p "$BACKUP_CONFIG/$file" "$before/"
  done
  for file in "$WORK/secrets/$ID"/*; do
    [[ $file == */gitlab-secrets.json ]] || install -m 600 "$file" "$from/"
  done
  sync
  write_file "$BACKUP_CONFIG/gitlab-secrets.json" 600 <"$WORK/secrets/$ID/gitlab-secrets.json"
  log "gitlab-secrets.json is the backup's; the former files are in $before"
  log "gitlab-ctl reconfigure"
  run_gitlab 3600 gitlab-ctl reconfigure || {
    # GitLab works with the secrets that go with its database.
    [[ ! -f $before/gitlab-secrets.json ]] || write_file "$BACKUP_CONFIG/gitlab-secrets.json" 600 <"$before/gitlab-secrets.json"
    rm -f "$BACKUP_UNFINISHED_RESTORE"
    die "gitlab-ctl reconfigure failed with the secrets of the backup; the former ones are back, and no data was touched"
  }
}

# run_gitlab SECONDS COMMAND… runs it with its output on stderr and in WORK/output.
run_gitlab() {
  local limit=$1
  shift
  timeout "$limit" "$@" 2>&1 9>&- </dev/null | tee "$WORK/output" >&2
}

restore_data() {
  local tar=$BACKUP_FOLDER/${ID}_gitlab_backup.tar status=0 wrong
  # Anew each time: a file of that name may be half of one.
  ln -f "$TAR" "$tar" 2>/dev/null || cp "$TAR" "$tar"
  # GitLab unpacks it as its own user.
  chown --reference="$BACKUP_FOLDER" "$tar"
  STOPPED=1
  stop_workers
  log "gitlab-backup restore: this takes minutes to hours"
  # Several archives may lie there, so this one is named.
  GITLAB_ASSUME_YES=1 run_gitlab "$RESTORE_TIMEOUT" env -u SKIP gitlab-backup restore "BACKUP=$ID" force=yes || status=$?
  rm -f "$tar"
  case $status in
    0) ;;
    124) die "gitlab-backup restore did not end within $RESTORE_TIMEOUT s; is the disk full? $(df -Ph "$BACKUP_FOLDER" | tail -n 1)" ;;
    *) die "gitlab-backup restore ended with $status: $(grep '[^[:space:]]' "$WORK/output" | tail -n 1)" ;;
  esac
  wrong=$(restore_complaints "$WORK/output")
  [[ -z $wrong ]] || die "gitlab-backup restore ended with 0 and yet it failed: ${wrong//$'\n'/ }"
}

# restore_complaints FILE prints the lines that tell of a failure. gitlab-backup
# ends with 0 when psql says errors and when 13.x cannot restore a repository;
# later versions write down how gitaly-backup ended, and go on.
# https://gitlab.com/gitlab-org/gitlab/-/blob/master/lib/backup/targets/repositories.rb
restore_complaints() {
  # Harmless of psql's errors is what GitLab ignores: extensions and, from
  # PostgreSQL 16 on, a function are the superuser's. The first one may follow
  # "Restoring PostgreSQL database … ... " on its line.
  # https://gitlab.com/gitlab-org/gitlab/-/blob/master/lib/backup/targets/database.rb
  sed 's/\x1b\[[0-9;]*m//g' "$1" |
    grep -aE -e '\[(FAILED|Failed)\]|rake aborted!|GitLab version mismatch|^(unpacking backup|Backup|Restore) failed' \
      -e '(^|-- |\.\.\. )ERROR: |^psql:.*ERROR: ' \
      -e 'level=(error|fatal)|"level":"(error|fatal)"|gitaly-backup exit status [1-9]' |
    grep -avE 'ERROR: +(must be owner of .*|must be able to SET ROLE "gitlab-psql"|.*(does not exist|already exists))$' | head -n 3 || true
}

# stop_workers stops whatever writes: unicorn is puma's predecessor.
stop_workers() {
  local service
  for service in puma unicorn sidekiq; do
    # Not each version has each of them.
    timeout 300 gitlab-ctl status "$service" >/dev/null 2>&1 9>&- </dev/null || continue
    log "stopping $service"
    timeout 300 gitlab-ctl stop "$service" >&2 9>&- </dev/null || die "$service cannot be stopped"
  done
}

# restore_shared puts back what GitLab's own backup left out before 14.7.
restore_shared() {
  [[ -e $SHARED ]] || return 0
  log "unpacking packages and Terraform states"
  tar -xzpf "$SHARED" -C "$BACKUP_DATA/gitlab-rails/shared" || die "cannot unpack shared.tar.gz"
}

restart_gitlab() {
  log "gitlab-ctl reconfigure and restart"
  run_gitlab 3600 gitlab-ctl reconfigure || die "gitlab-ctl reconfigure failed after the restore: $(tail -n 1 "$WORK/output")"
  run_gitlab 900 gitlab-ctl restart || die "gitlab-ctl restart failed after the restore"
  STOPPED=
}

# clean_up is the way out: whatever happened, what was stopped runs again.
clean_up() {
  local status=$?
  trap - EXIT
  trap '' HUP INT TERM
  set +e
  if [[ -n ${STOPPED-} ]]; then
    log "starting GitLab's services again"
    timeout 900 gitlab-ctl start >&2 9>&- </dev/null || log "error: gitlab-ctl start failed: run it by hand"
    log "this GitLab holds parts of $ID: restore it again, or another backup"
  fi
  [[ -z ${WORK-} ]] || rm -rf "$WORK"
  exit "$status"
}

check_gitlab() {
  local services secrets
  WRONG=
  wait_for_page
  # It fails when a service is down.
  services=$(timeout 120 gitlab-ctl status 2>/dev/null 9>&- </dev/null | sed -n 's/^down: \([^:]*\):.*/\1/p' | paste -s -d ' ' -) || true
  if [[ -z $services ]]; then found services ok 'all are up'; else found services wrong "down: $services"; fi
  if run_gitlab 3600 gitlab-psql -c 'SET statement_timeout = 0' -c ANALYZE; then
    found statistics ok 'ANALYZE is done'
  else
    found statistics wrong "ANALYZE failed: $(tail -n 1 "$WORK/output")"
  fi
  if ! run_gitlab 7200 gitlab-rake gitlab:doctor:secrets; then
    found secrets wrong "gitlab:doctor:secrets failed: $(tail -n 1 "$WORK/output")"
  else
    secrets=$(sed -n 's/.* - \([A-Za-z:]* failures: [1-9][0-9]*\).*/\1/p' "$WORK/output" | paste -s -d , -)
    if [[ -z $secrets ]]; then
      found secrets ok 'all that is encrypted can be read'
    else
      found secrets wrong "cannot be read: $secrets"
    fi
  fi
  # Much that it finds is advice.
  if run_gitlab 7200 gitlab-rake gitlab:check SANITIZE=true && ! grep -q 'Try fixing it' "$WORK/output"; then
    found gitlab:check ok 'nothing to fix'
  else
    found gitlab:check look "$(grep -c 'Try fixing it' "$WORK/output") things to look at, see the log"
  fi
  [[ -z $WRONG ]] || die "$ID is restored, but something is wrong:$WRONG"
}

# found NAME STATE TEXT prints a line of the result.
found() {
  printf '%s\t%s\t%s\n' "$1" "$2" "$3"
  [[ $2 != wrong ]] || WRONG+=" $1 ($3)"
}

wait_for_page() {
  INSTALL_TIMEOUT=$((SECONDS + RESTORE_READY_TIMEOUT))
  if wait_for "$RESTORE_READY_TIMEOUT" answers_sign_in "$(address_in_use)"; then
    found sign-in ok 'the page answers with 200'
  else
    found sign-in wrong "the page does not answer with 200; the last answer was HTTP $ANSWER"
  fi
}

operate restore main "$@"
