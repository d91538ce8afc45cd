# How a backup of GitLab is made. Source it after common.sh and host.sh, do not
# run it. Keep it to bash 4.2, like common.sh. What it is made of, and where it
# is kept, stands in backup-store.sh.
# shellcheck shell=bash disable=SC2034 # who sources it uses what it sets
# shellcheck source=scripts/lib/backup-store.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/backup-store.sh"

# make_backup STORE makes a complete backup in a bucket (name or s3://name) or a
# folder, and sets BACKUP_ID. It ends the script with the reason when it cannot;
# what is left then has no manifest.
make_backup() {
  local target=$1
  [[ $target == */* ]] || target=s3://$target
  # A database that was restored half is no state to go back to.
  [[ ! -e $BACKUP_UNFINISHED_RESTORE ]] ||
    die "the restore of $(head -n 1 "$BACKUP_UNFINISHED_RESTORE") did not finish: finish it first (restore-gitlab.sh), nothing is backed up in between"
  need awk du df gzip sha256sum md5sum split tar gitlab-backup gitlab-ctl
  find_backup_folder
  forget_unfinished_backups
  check_backup_services
  check_backup_room
  check_backup_access "$target"
  BACKUP_WORK=$(mktemp -d "$BACKUP_FOLDER/gitlab-codedeploy-backup.XXXXXX")
  create_gitlab_backup
  check_backup_content "$BACKUP_FOLDER/$BACKUP_TAR"
  stage_backup
  write_manifest "$BACKUP_WORK/parts" "$BACKUP_WORK/manifest.json"
  store_backup "$target"
  # It is where it belongs now; a copy here would only fill the disk.
  rm -rf "$BACKUP_WORK" "${BACKUP_FOLDER:?}/$BACKUP_TAR"
}

# forget_unfinished_backups removes what a run left that was killed. Tars are
# GitLab's, and it prunes them itself by backup_keep_time.
forget_unfinished_backups() {
  local left
  for left in "$BACKUP_FOLDER"/gitlab-codedeploy-backup.*; do
    [[ ! -e $left ]] || {
      log "removing $left, left by a backup that did not finish"
      rm -rf "$left"
    }
  done
}

# check_backup_services: without them the dump fails half-way, after an hour.
check_backup_services() {
  local status service up=0
  # It fails when any service is down.
  status=$(timeout 120 gitlab-ctl status 2>&1 9>&- </dev/null) || true
  for service in postgresql gitaly; do
    if grep -q "^run: $service:" <<<"$status"; then
      up=$((up + 1))
    elif grep -q "^[a-z]*: $service:" <<<"$status"; then
      die "$service is not running: gitlab-ctl start $service, then try again"
    fi
  done
  # An external database or Gitaly is not listed.
  ((up > 0)) || die "gitlab-ctl status names neither postgresql nor gitaly: $(tail -n 1 <<<"$status")"
}

# check_backup_room: GitLab copies everything once and then packs the copies,
# so both are on the disk for a while. The database shrinks to a fraction.
check_backup_room() {
  local files database need free place paths=()
  for place in git-data/repositories gitlab-rails/uploads gitlab-ci/builds \
    gitlab-rails/shared/{artifacts,lfs-objects,pages,packages,terraform_state,registry}; do
    [[ ! -d $BACKUP_DATA/$place ]] || paths+=("$BACKUP_DATA/$place/")
  done
  files=0
  ((${#paths[@]} == 0)) || files=$(kib_of "${paths[@]}")
  database=0
  [[ ! -d $BACKUP_DATA/postgresql/data ]] || database=$(kib_of "$BACKUP_DATA/postgresql/data/")
  need=$((2 * files + database + 65536))
  free=$(kib_free "$BACKUP_FOLDER")
  log "room: up to $((need / 1024)) MiB needed in $BACKUP_FOLDER, $((free / 1024)) MiB free"
  ((free >= need)) ||
    die "too little disk for a backup: $((need / 1024)) MiB may be needed in $BACKUP_FOLDER (twice the files, once the database), $((free / 1024)) MiB are free"
}

# check_backup_access finds out now, and not after hours, what would refuse the upload.
check_backup_access() {
  if [[ $1 == s3://* ]]; then
    s3 s3api list-objects-v2 --bucket "${1#s3://}" --prefix backups/ --max-keys 1 --output text >/dev/null ||
      die "cannot list backups/ in ${1#s3://} (see the message above): nothing was done"
  else
    [[ -d $1 && -w $1 ]] || die "$1 is no folder that can be written to"
  fi
}

# create_gitlab_backup sets BACKUP_TAR, BACKUP_ID, BACKUP_VERSION, BACKUP_EDITION.
create_gitlab_backup() {
  local status=0 wrong output=$BACKUP_WORK/output
  log "gitlab-backup create: this takes minutes to hours"
  # Variables of the caller would leave parts out or name the file.
  env -u SKIP -u BACKUP -u STRATEGY -u DIRECTORY -u CRON -u INCREMENTAL gitlab-backup create \
    2>&1 9>&- </dev/null | plain_text | tee "$output" >&2 || status=$?
  ((status == 0)) || die "gitlab-backup create ended with $status: $(tail -n 1 "$output")"
  # These versions end with 0 all the same when the database cannot be dumped.
  # https://gitlab.com/gitlab-org/gitlab/-/blob/v13.10.2-ee/lib/tasks/gitlab/backup.rake
  wrong=$(backup_complaints "$output")
  [[ -z $wrong ]] || die "gitlab-backup create ended with 0 and yet it failed: ${wrong//$'\n'/ }"
  BACKUP_TAR=$(sed -n 's/.*Creating backup archive: \([^ ]*_gitlab_backup\.tar\) .*/\1/p' "$output" | tail -n 1)
  BACKUP_ID=${BACKUP_TAR%_gitlab_backup.tar}
  [[ $BACKUP_ID =~ ^$BACKUP_ID_PATTERN$ ]] ||
    die "gitlab-backup create says no name of an archive that could be one: '$BACKUP_TAR'"
  [[ -f $BACKUP_FOLDER/$BACKUP_TAR ]] || die "gitlab-backup create names $BACKUP_TAR, and it is not in $BACKUP_FOLDER"
}

# plain_text takes colours out.
plain_text() { sed -u $'s/\033\\[[0-9;]*m//g'; }

# backup_complaints FILE prints the lines that tell of a failure. Names of
# projects stand in that log, so a word alone says nothing. From 15.1 on a part
# that fails leaves a whole file, and the backup goes on and ends with 0.
# https://gitlab.com/gitlab-org/gitlab/-/blob/v15.4.6-ee/lib/backup/manager.rb
backup_complaints() {
  grep -aE -e '\[(FAILED|Failed|ERROR|Error)\]' -e '(^|-- )(Failed to |Backup failed|Backup::|rake aborted!|Errno::)' \
    -e '(^|-- )pg_dump: (error|fatal|\[)' -e 'level=(error|fatal)|"level":"(error|fatal)"' \
    -e '(^|-- )(Dumping .* failed:|([Cc]reating archive|[Uu]ploading backup|[Uu]npacking backup|deleting tmp directory) .*failed)' "$1" | head -n 3 || true
}

# check_backup_content TAR looks at what is in it, since gitlab-backup writes
# straight to the final name, and an empty dump compresses as well as a full one.
check_backup_content() {
  local tar=$1 members member dump found=0
  log "checking the content of $(basename "$tar")"
  members=$(tar -tf "$tar") || die "$tar cannot be listed: it is not complete"
  grep -Fxq backup_information.yml <<<"$members" || die "$tar holds no backup_information.yml"
  read_backup_information "$tar"
  [[ $BACKUP_ID == *_"$BACKUP_FULL_VERSION" ]] ||
    die "$tar says it is of GitLab $BACKUP_FULL_VERSION, and its name says otherwise"
  [[ ! $BACKUP_SKIPPED =~ (^|,)(db|repositories|uploads|artifacts|lfs)(,|$) ]] || die "$tar leaves out $BACKUP_SKIPPED"
  grep -q '^repositories/' <<<"$members" || die "$tar holds no repositories"
  while IFS= read -r member; do
    case $member in
      db/*.sql.gz)
        # pg_dump's last words: a dump that broke off lacks them.
        dump=$(tar -xOf "$tar" -- "$member" | gzip -dc | tail -n 12) || die "$member in $tar is damaged"
        [[ $dump == *'PostgreSQL database dump complete'* ]] || die "$member in $tar is not complete: the database was not dumped"
        found=1
        ;;
      *.gz) tar -xOf "$tar" -- "$member" | gzip -t || die "$member in $tar is damaged" ;;
    esac
  done <<<"$members"
  ((found)) || die "$tar holds no database: db/database.sql.gz is missing"
}

# stage_backup lays all parts out under $BACKUP_WORK/parts as they will be
# stored, and takes the secrets as they are now: GitLab leaves them out.
# https://docs.gitlab.com/administration/backup_restore/backup_gitlab/#data-not-included-in-a-backup
stage_backup() {
  local parts=$BACKUP_WORK/parts shared=$BACKUP_DATA/gitlab-rails/shared status=0 file folders=()
  local backups=$parts/backups/$BACKUP_ID secrets=$parts/secrets/$BACKUP_ID
  (umask 077 && mkdir -p "$backups" "$secrets")
  # No second copy, where the filesystem can do without.
  ln "$BACKUP_FOLDER/$BACKUP_TAR" "$backups/" 2>/dev/null || cp -p "$BACKUP_FOLDER/$BACKUP_TAR" "$backups/"
  # https://docs.gitlab.com/administration/backup_restore/backup_gitlab/ (packages and Terraform states came with 14.7)
  if ! version_at_least "$BACKUP_VERSION" 14.7.0; then
    for file in packages terraform_state; do
      [[ ! -d $shared/$file ]] || folders+=("$file")
    done
    if ((${#folders[@]} > 0)); then
      # 1 says that a file changed meanwhile, as uploads do.
      tar -czf "$backups/shared.tar.gz" -C "$shared" -- ${folders[@]+"${folders[@]}"} 9>&- || status=$?
      ((status <= 1)) || die "cannot pack $shared: tar ended with $status"
      gzip -t "$backups/shared.tar.gz" || die "shared.tar.gz is damaged"
    fi
  fi
  [[ -s $BACKUP_CONFIG/gitlab-secrets.json ]] ||
    die "$BACKUP_CONFIG/gitlab-secrets.json is not there: without it nothing that is encrypted could be read again"
  for file in "$BACKUP_CONFIG"/{gitlab-secrets.json,gitlab.rb,gitlab-codedeploy.rb} /etc/ssh/ssh_host_*_key{,.pub}; do
    [[ ! -f $file ]] || install -m 600 "$file" "$secrets/"
  done
}

# write_manifest PARTS FILE hashes what is under PARTS.
write_manifest() {
  local parts=$1 file=$2 path size hash
  log "hashing"
  {
    printf '{\n"format": "gitlab-codedeploy-backup-1",\n"id": "%s",\n"version": "%s",\n"edition": "%s",\n' \
      "$BACKUP_ID" "$BACKUP_VERSION" "$BACKUP_EDITION"
    printf '"host": "%s",\n"createdAt": "%s",\n"parts": [\n' \
      "$(uname -n | LC_ALL=C tr -cd 'A-Za-z0-9.-')" "$(date -u +%FT%TZ)"
    while IFS= read -r path; do
      size=$(stat -c %s "$parts/$path")
      hash=$(sha256sum <"$parts/$path")
      printf '{"key": "%s", "size": %s, "sha256": "%s"},\n' "$path" "$size" "${hash%% *}"
    done < <(cd "$parts" && find backups secrets -type f | LC_ALL=C sort)
    printf 'null],\n'
  } >"$file"
  hash=$(sha256sum <"$file")
  printf '"sha256": "%s"\n}\n' "${hash%% *}" >>"$file"
  read_manifest "$file" "$BACKUP_ID" || die "the manifest that was just written is wrong: $MANIFEST_PROBLEM"
}

# store_backup TARGET puts the parts there, looks at each again, and writes the
# manifest as the last thing.
store_backup() {
  local target=$1 parts=$BACKUP_WORK/parts manifest=$BACKUP_WORK/manifest.json key=backups/$BACKUP_ID/manifest.json sum answer
  log "storing $BACKUP_ID in $target"
  if [[ $target != s3://* ]]; then
    cp -a "$parts/." "$target/" || die "cannot copy the backup to $target"
    check_stored_folder "$target"
    sync
    write_file "$target/$key" 600 <"$manifest"
    return
  fi
  # The CLI sends an MD5 of each piece, and S3 takes no piece that differs.
  # https://docs.aws.amazon.com/cli/latest/topic/s3-faq.html
  s3 s3 cp --recursive --only-show-errors "$parts/" "$target/" || die "the upload to $target failed (see the message above)"
  check_stored_objects "${target#s3://}"
  sum=$(md5sum <"$manifest" | cut -c1-32)
  answer=$(s3 s3api put-object --bucket "${target#s3://}" --key "$key" --body "$manifest" \
    --content-md5 "$(hex_bytes <<<"$sum" | base64)" --server-side-encryption AES256 \
    --content-type application/json --query ETag --output text) ||
    die "cannot write the manifest: the backup does not count"
  [[ -n $answer ]] || die "S3 does not confirm the manifest: the backup does not count"
}

check_stored_folder() {
  local key size hash found
  while read -r key size hash; do
    [[ -n $key ]] || continue
    found=$(sha256sum <"$1/$key") || die "$1/$key cannot be read again"
    [[ ${found%% *} == "$hash" && $(stat -c %s "$1/$key") == "$size" ]] || die "$1/$key is not what was written"
  done <<<"$PARTS"
}

# check_stored_objects BUCKET compares what S3 has with what was sent: sizes,
# and the ETag, which is made of MD5s unless the bucket encrypts with KMS.
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
check_stored_objects() {
  local bucket=$1 key size hash found etag wanted
  list_stored "$bucket" "backups/$BACKUP_ID/" >"$BACKUP_WORK/stored" || die "cannot look at what was uploaded"
  list_stored "$bucket" "secrets/$BACKUP_ID/" >>"$BACKUP_WORK/stored" || die "cannot look at what was uploaded"
  while read -r key size hash; do
    [[ -n $key ]] || continue
    read -r found etag < <(awk -F '\t' -v key="$key" '$1 == key { print $2, $3 }' "$BACKUP_WORK/stored") || true
    [[ ${found-} == "$size" ]] || die "S3 has ${found:-nothing} of $key, and $size bytes were sent"
    etag=${etag//\"/}
    wanted=$(expected_etag "$bucket" "$key" "$etag") || die "cannot tell how $key was uploaded"
    [[ $etag == "$wanted" ]] || is_kms "$bucket" "$key" || die "S3 has other bytes of $key than were sent (ETag $etag, not $wanted)"
  done <<<"$PARTS"
}

# expected_etag BUCKET KEY ETAG prints what the ETag has to be. One with a
# number at its end is of an upload in that many pieces.
expected_etag() {
  local file=$BACKUP_WORK/parts/$2 size
  if [[ $3 != *-* ]]; then
    md5sum <"$file" | cut -c1-32
    return
  fi
  # How large the pieces are is the CLI's own affair.
  size=$(s3 s3api head-object --bucket "$1" --key "$2" --part-number 1 --query ContentLength --output text) || return
  printf '%s-%s\n' "$(split -b "$size" --filter='md5sum | cut -c1-32' "$file" | hex_bytes | md5sum | cut -c1-32)" "${3##*-}"
}

is_kms() {
  [[ $(s3 s3api head-object --bucket "$1" --key "$2" --query ServerSideEncryption --output text) == aws:kms* ]] || return 1
  log "$2: encrypted with KMS, so only its size could be compared"
}

# hex_bytes writes the bytes that hex digits spell.
hex_bytes() { printf '%b' "$(tr -d '\n' | sed 's/../\\x&/g')"; }
