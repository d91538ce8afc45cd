#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2030,SC2031,SC2086,SC2119 # text for shells on the host; a test is a subshell
# Backups, on a stand-in host: real tar, gzip and hashes, the real AWS CLI
# against the emulator, and a GitLab that fails as the real one does.

load helper
load fixtures/host/host
load fixtures/host/gitlab-data

setup_file() {
  require_host
  make_host_package
  start_s3
}

teardown_file() { stop_s3; }

setup() {
  require_host
  start_host
  install_data
  STORE=$BATS_TEST_TMPDIR/store
  mkdir "$STORE"
}

teardown() {
  stop_data
  stop_host
}

# backup [ARGUMENT …] makes one in the folder STORE; to_bucket makes one in S3.
backup() {
  (($#)) || set -- --to-dir "$STORE"
  run --separate-stderr on_host ${SESSION:-} "$ROOT/scripts/server/backup-gitlab.sh" "$@"
  echo "$output"
  echo "$stderr"
}

to_bucket() { backup --bucket "$BUCKET" --region ap-northeast-1 "$@"; }

# nothing_complete asserts that there is no backup that counts.
nothing_complete() {
  # Not by run: the test still wants what the backup said.
  if find "$STORE" -name manifest.json | grep .; then return 1; fi
  [[ -z ${FORWARD:-} ]] || [[ $(objects) != *manifest* ]]
}

# failed REASON asserts a failed run that left nothing which looks complete.
failed() {
  [ "$status" -eq 1 ]
  [[ ${stderr##*$'\n'} == *"error: $1"* ]] || {
    echo "no '$1' in the last line"
    return 1
  }
  [ -z "$output" ]
  nothing_complete
}

@test "S10: a backup holds what gitlab-backup makes and what it leaves out, and the manifest comes last" {
  reach_s3
  to_bucket
  [ "$status" -eq 0 ]
  local id
  id=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["backup"])' "$output")
  [[ $id =~ ^[0-9]{10}_[0-9]{4}_[0-9]{2}_[0-9]{2}_13\.10\.2$ ]]
  diff <(objects) - <<END
backups/$id/${id}_gitlab_backup.tar
backups/$id/manifest.json
backups/$id/shared.tar.gz
secrets/$id/gitlab-secrets.json
secrets/$id/gitlab.rb
secrets/$id/ssh_host_ed25519_key
END
  here s3 cp --recursive --only-show-errors "s3://$BUCKET" "$BATS_TEST_TMPDIR/stored"
  # Plain JSON, whose hashes are right.
  python3 - "$BATS_TEST_TMPDIR/stored" "$id" <<'END'
import hashlib, json, pathlib, sys
root, backup = pathlib.Path(sys.argv[1]), sys.argv[2]
manifest = json.loads((root / f"backups/{backup}/manifest.json").read_text())
assert (manifest["id"], manifest["version"], manifest["edition"]) == (backup, "13.10.2", "ce")
parts = [part for part in manifest["parts"] if part]
assert len(parts) == 5, parts
for part in parts:
    data = (root / part["key"]).read_bytes()
    assert len(data) == part["size"] and hashlib.sha256(data).hexdigest() == part["sha256"], part
END
  tar -tf "$BATS_TEST_TMPDIR/stored/backups/$id/shared.tar.gz" | grep -qx packages/ab/package
  on_host cat /etc/gitlab/gitlab-secrets.json | cmp - "$BATS_TEST_TMPDIR/stored/secrets/$id/gitlab-secrets.json"
  # Sent last, and nothing of it stays on the disk.
  [[ $(grep '^aws s3' "$CALLS" | tail -n 1) == *put-object*manifest.json* ]]
  [ -z "$(on_host ls /var/opt/gitlab/backups)" ]
}

@test "S10: a backup in a folder is the same, and needs no AWS" {
  stub aws 'exit 1'
  backup
  [ "$status" -eq 0 ]
  [[ $output == *"\"store\": \"$STORE\""* ]]
  [ "$(find "$STORE" -type f | wc -l)" -eq 6 ]
  # It holds the secrets.
  [ "$(find "$STORE/secrets" -type f -perm /077 | wc -l)" -eq 0 ]
  run ! grep '^aws' "$CALLS"
}

@test "S10: from 14.7 on GitLab's own archive has packages and Terraform states, and an edition is told by the id" {
  install_data 'gitlab-ee 14.9.5'
  backup
  [ "$status" -eq 0 ]
  [[ $output == *'_14.9.5-ee", "version": "14.9.5", "edition": "ee"'* ]]
  [ -z "$(find "$STORE" -name shared.tar.gz)" ]
}

@test "S10: an archive in several pieces is compared by S3's checksum of the pieces" {
  reach_s3
  on_host bash -c 'head -c 20000000 /dev/urandom >/var/opt/gitlab/gitlab-rails/uploads/video'
  to_bucket
  [ "$status" -eq 0 ]
  here s3api list-objects-v2 --bucket "$BUCKET" --query 'Contents[].[ETag]' --output text | grep -q -- '-[0-9]"$'
  grep -q 'head-object.*--part-number 1' "$CALLS"
}

@test "S10: old backups go once there is a new one, their manifests first, and never the newest three" {
  reach_s3
  local old
  for old in 1500000000_2017_07_14_13.10.2 1500100000_2017_07_15_13.10.2 1500200000_2017_07_16_13.10.2; do
    for key in backups/$old/x.tar secrets/$old/gitlab-secrets.json backups/$old/manifest.json; do
      put_object "$key"
    done
  done
  # One that never got a manifest, one that nobody of ours has made.
  put_object backups/1400000000_2014_05_13_13.10.2/x.tar
  put_object backups/by-hand/x.tar
  to_bucket --keep-days 30 --environment staging
  [ "$status" -eq 0 ]
  objects >"$BATS_TEST_TMPDIR/objects"
  run ! grep -e 1500000000 -e 1400000000 "$BATS_TEST_TMPDIR/objects"
  [ "$(grep -c manifest "$BATS_TEST_TMPDIR/objects")" -eq 3 ]
  grep -qx backups/by-hand/x.tar "$BATS_TEST_TMPDIR/objects"
  [[ $(grep '^aws s3 rm' "$CALLS" | head -n 1) == *1500000000*manifest.json* ]]
  [ "$(here cloudwatch list-metrics --namespace GitLabCodeDeploy --query 'Metrics[].[MetricName, Dimensions[0].Value]' --output text)" = $'BackupsCompleted\tstaging' ]
}

@test "S10: nothing is removed and nothing counted when the backup fails" {
  reach_s3
  put_object backups/1500000000_2017_07_14_13.10.2/x.tar
  on_host touch "$STATE/broken-dump"
  to_bucket --keep-days 1 --environment staging
  failed 'gitlab-backup create ended with 0 and yet it failed'
  [ "$(objects)" = backups/1500000000_2017_07_14_13.10.2/x.tar ]
  run ! grep put-metric-data "$CALLS"
}

@test "S10 backup | the database cannot be dumped, and gitlab-backup ends with 0 | refused by its log; nothing is stored" {
  on_host touch "$STATE/broken-dump"
  backup
  failed 'gitlab-backup create ended with 0 and yet it failed: Dumping database ... Dumping PostgreSQL database gitlabhq_production ... [FAILED]'
  [ -z "$(ls -A "$STORE")" ]
}

@test "S10 backup | the dump is empty and nothing says so | refused, since pg_dump's last line is missing" {
  on_host touch "$STATE/broken-dump-silently"
  backup
  failed 'db/database.sql.gz in '
  [[ $stderr == *'is not complete: the database was not dumped'* ]]
}

@test "S10 backup | a repository fails while a project is called failed-builds | the failure is told, the name is no failure" {
  on_host touch "$STATE/broken-repository"
  backup
  failed 'gitlab-backup create ended with 0 and yet it failed:  * team/app (@hashed/d4/73) ... [FAILED]'
}

@test "S10 backup | a part breaks off, and GitLab goes on and ends with 0 | refused by what each version says of it; nothing is stored" {
  local said time='2022-06-22 03:00:07 UTC' reason="Failed to create compressed file '/var/opt/gitlab/backups"
  local uploads="$reason/uploads.tar.gz' when trying to backup the following paths: '/var/opt/gitlab/gitlab-rails/uploads'"
  # lib/backup.rb has the reasons, lib/backup/manager.rb what stands before them:
  # nothing until 15.0.5, "Dumping … failed: " from v15.1.0 on, also in v15.4.6;
  # since gitlab-foss 0441cbd4 all of the line is red (lib/gitlab/backup_logger.rb).
  local words=(
    "$uploads"
    "$time -- \e[31mDumping uploads failed: $uploads\e[0m"
    "\e[31m2024-10-03 03:00:07 +0900 -- Dumping lfs objects failed: $uploads\e[0m"
    "$time -- Dumping database failed: $reason/db/database.sql.gz' when trying to backup the main database:\n - host: ''\n - port: ''"
    "$time -- \e[31mCreating archive 1655866800_2022_06_22_15.4.6_gitlab_backup.tar failed\e[0m"
    "$time -- \e[31mUploading backup to my.s3.bucket failed\e[0m"
  )
  on_host touch "$STATE/broken-part"
  for said in "${words[@]}"; do
    printf '%b\n' "$said" >"$STATE/says-create"
    backup
    failed "gitlab-backup create ended with 0 and yet it failed: $(printf '%b' "$said" | sed 's/\x1b\[[0-9;]*m//g' | head -n 1)"
    [ -z "$(ls -A "$STORE")" ]
  done
}

@test "S10: what GitLab 15.4 says of files that change and of empty repositories is no failure" {
  # lib/backup/manager.rb (remove_old) and files.rb of v15.4.6; Gitaly's
  # internal/backup/pipeline.go, which gitaly-backup logs as JSON from v14.8.0 on.
  cat >"$STATE/says-create" <<'END'
2022-10-03 03:00:05 UTC -- Dumping container registry images ... [DISABLED]
Warning: files vanished during rsync, retrying...
Ignoring tar exit status 1 'Some files differ': tar: ./-/system/failed/upload: file changed as we read it
{"command":"create","gl_project_path":"team/failed-builds","level":"info","msg":"completed create","pid":4711,"relative_path":"@hashed/6b/86.git","storage_name":"default","time":"2022-10-03T03:00:06.125Z"}
{"command":"create","error":"manager: repository empty: repository skipped","gl_project_path":"team/app.wiki","level":"warning","msg":"skipped create","pid":4711,"relative_path":"@hashed/d4/73.wiki.git","storage_name":"default","time":"2022-10-03T03:00:06.131Z"}
2022-10-03 03:00:07 UTC -- Deleting 1600000000_2020_09_13_13.3.5_gitlab_backup.tar failed: Permission denied @ apply2files
END
  backup
  [ "$status" -eq 0 ]
  [ "$(find "$STORE" -name manifest.json | wc -l)" -eq 1 ]
}

@test "S10 backup | the archive has no repositories, is cut off, or has a flipped bit | refused before anything is stored" {
  on_host touch "$STATE/broken-repositories"
  backup
  failed ''
  [[ $stderr == *'holds no repositories'* ]]
  on_host mv "$STATE/broken-repositories" "$STATE/broken-archive"
  backup
  failed ''
  [[ $stderr == *'cannot be listed: it is not complete'* || $stderr == *'is damaged'* ]]
  on_host mv "$STATE/broken-archive" "$STATE/broken-gzip"
  backup
  failed ''
  [[ $stderr == *'uploads.tar.gz in '*' is damaged'* ]]
  [ -z "$(ls -A "$STORE")" ]
}

@test "S10 backup | SKIP is set by the caller | everything is backed up all the same" {
  run on_host env SKIP=db,uploads BACKUP=mine "$ROOT/scripts/server/backup-gitlab.sh" --to-dir "$STORE"
  [ "$status" -eq 0 ]
  [ -z "$(find "$STORE" -name '*mine*')" ]
}

@test "S10 backup | PostgreSQL or Gitaly is down | refused before gitlab-backup starts" {
  on_host touch "$STATE/down-gitaly"
  backup
  failed 'gitaly is not running: gitlab-ctl start gitaly, then try again'
  run ! grep '^gitlab-backup' "$CALLS"
}

@test "S10 backup | the disk is too small for the archive | refused before gitlab-backup starts, with the numbers" {
  on_host mount -t tmpfs -o size=40m tmpfs /var/opt/gitlab/backups
  backup
  failed 'too little disk for a backup: '
  [[ $stderr == *'MiB may be needed in /var/opt/gitlab/backups'* ]]
  run ! grep '^gitlab-backup' "$CALLS"
}

@test "S10 backup | the disk fills up while it is made | failed, nothing is stored" {
  on_host mount -t tmpfs -o size=80m tmpfs /var/opt/gitlab/backups
  on_host bash -c 'head -c 79000000 /dev/zero >/var/opt/gitlab/backups/somebody-elses'
  stub df 'if [[ $* == -Pk* ]]; then printf "x\nx 1 1 99999999 1 /\n"; else exec /usr/bin/df "$@"; fi'
  on_host bash -c 'head -c 3000000 /dev/urandom >/var/opt/gitlab/gitlab-rails/uploads/video'
  backup
  [ "$status" -eq 1 ]
  nothing_complete
}

@test "S10 backup | the bucket cannot be reached, or refuses | told before gitlab-backup starts" {
  reach_s3
  stub aws 'echo "An error occurred (AccessDenied) when calling the ListObjectsV2 operation" >&2; exit 254'
  to_bucket
  failed "cannot list backups/ in $BUCKET"
  run ! grep '^gitlab-backup' "$CALLS"
}

@test "S10 backup | S3 has other bytes than were sent, or fewer | no manifest" {
  reach_s3
  cat >"$STATE/damage.py" <<END
import boto3, sys
s3 = boto3.client("s3", endpoint_url="http://localhost:4566", aws_access_key_id="anybody", aws_secret_access_key="anything", region_name="ap-northeast-1")
tar = [o for o in s3.list_objects_v2(Bucket="$BUCKET", Prefix="backups/")["Contents"] if o["Key"].endswith(".tar")][-1]
s3.put_object(Bucket="$BUCKET", Key=tar["Key"], Body=bytes(tar["Size"] - int(sys.argv[1])))
END
  stub aws "$BATS_TEST_TMPDIR/real-aws \"\$@\" || exit
    [[ \$* != *'s3 cp --recursive'* ]] || $ROOT/.venv/bin/python $STATE/damage.py \$(cat $STATE/less)"
  echo 0 >"$STATE/less"
  to_bucket
  failed 'S3 has other bytes of backups/'
  echo 1 >"$STATE/less"
  to_bucket
  failed 'S3 has '
}

@test "S10 backup | gitlab-secrets.json is gone | refused: without it the backup is worth little" {
  on_host rm /etc/gitlab/gitlab-secrets.json
  backup
  failed '/etc/gitlab/gitlab-secrets.json is not there'
}

@test "S10 backup | a restore did not finish on this host | refused until it did" {
  on_host bash -c 'mkdir -p /var/lib/gitlab-codedeploy && echo 1606734000_2020_11_30_13.10.2 >/var/lib/gitlab-codedeploy/restoring'
  backup
  failed 'the restore of 1606734000_2020_11_30_13.10.2 did not finish'
  run ! grep '^gitlab-backup' "$CALLS"
}

@test "S10 backup | a second one at the same time | it ends at once and names the first" {
  on_host bash -c 'exec 9>>/run/gitlab-codedeploy.lock; flock 9; echo "backup (process 1), since noon," >/run/gitlab-codedeploy.lock; touch "$STATE/locked"; exec sleep 100' &
  until [[ -e $STATE/locked ]]; do sleep 0.05; done
  backup
  failed 'backup (process 1), since noon, is under way on this host: nothing was done'
}

@test "S10 backup | SIGKILL at any step | never a backup that looks complete, and the next run makes one" {
  local step
  SESSION='setsid --wait'
  for step in 'gitlab-ctl status' 'du -skc' 'df -Pk' 'gitlab-backup create' 'tar -tf' 'tar -xOf' 'ln ' 'tar -czf' 'install -m' \
    'find secrets' 'cp -a' 'stat -c' 'sync '; do
    killed_at "$step" backup
  done
  backup
  [ "$status" -eq 0 ]
  [ "$(find "$STORE" -name manifest.json | wc -l)" -eq 1 ]
  [[ $stderr == *'left by a backup that did not finish'* ]]
  run ! on_host bash -c 'ls -d /var/opt/gitlab/backups/gitlab-codedeploy-*'
}

@test "S10 backup | SIGKILL during the upload | never a backup that looks complete, and the next run makes one" {
  reach_s3
  SESSION='setsid --wait'
  killed_at 'aws list-objects-v2' to_bucket
  killed_at 'aws cp' to_bucket
  [[ $(objects) == *_gitlab_backup.tar* ]]
  to_bucket
  [ "$status" -eq 0 ]
  [ "$(objects | grep -c manifest)" -eq 1 ]
}

# killed_at STEP COMMAND lets a backup be killed after that step.
killed_at() {
  kill_step "${1%% *}" "${1#* }"
  "$2"
  echo "$1: $status"
  [ "$status" -eq 137 ]
  killed_is_gone
  nothing_complete
  install_stub_again "${1%% *}"
}

# kill_step COMMAND WORD lets the next such call on the host end in a SIGKILL.
kill_step() {
  case $1 in
    aws) kill_after aws "$2" "$BATS_TEST_TMPDIR/real-aws" ;;
    gitlab-*)
      cp "$FIXTURES/gitlab-data.sh" "$STATE/$1"
      chmod +x "$STATE/$1"
      kill_after "$1" "$2" "$STATE/$1"
      ;;
    *) kill_after "$1" "$2" ;;
  esac
}

install_stub_again() {
  case $1 in
    aws) cp "$BATS_TEST_TMPDIR/real-aws" "$STUBS/aws" ;;
    gitlab-*) cp "$FIXTURES/gitlab-data.sh" "$STUBS/$1" ;;
  esac
}

@test "S10: arguments are checked by pattern, before anything is done" {
  local case
  for case in '--bucket=a;id' '--bucket=$(id)' "--bucket=x' y" '--region=tokyo' '--keep-days=-1' '--keep-days=1;id' '--keep-days=' \
    '--environment=Prod;id' '--to-dir=relative' '--to-dir=/a b' '--force=1'; do
    run on_host "$ROOT/scripts/server/backup-gitlab.sh" --bucket "$BUCKET" --region ap-northeast-1 "${case%%=*}" "${case#*=}"
    echo "$case: $output"
    [ "$status" -eq 2 ]
  done
  run on_host "$ROOT/scripts/server/backup-gitlab.sh"
  [ "$status" -eq 2 ]
  [[ $output == *'missing: --bucket or --to-dir'* ]]
  [ ! -s "$CALLS" ] || run ! grep -v '^systemctl' "$CALLS"
}

@test "S10: under set -x it refuses, since credentials may be in the environment" {
  run on_host bash -x "$ROOT/scripts/server/backup-gitlab.sh" --bucket "$BUCKET" --region ap-northeast-1
  [ "$status" -eq 1 ]
  [[ $output == *'tracing (set -x) is on'* ]]
}

@test "S10: the newest backup is the newest that is complete, with its age" {
  reach_s3
  local id folder=$BATS_TEST_TMPDIR/half newer=1999999999_2033_05_18_13.10.2
  backup
  id=$(ls "$STORE/backups")
  for file in $(cd "$STORE" && find . -type f); do
    put_object "${file#./}" "$STORE/$file"
  done
  # One that looks newer, and has lost a part.
  mkdir "$folder"
  sed "s/$id/$newer/g" "$STORE/backups/$id/manifest.json" | head -n -2 >"$folder/manifest"
  printf '"sha256": "%s"\n}\n' "$(sha256sum <"$folder/manifest" | cut -d' ' -f1)" >>"$folder/manifest"
  put_object "backups/$newer/manifest.json" "$folder/manifest"
  run on_host bash -c 'set -Eeuo pipefail; cd "$1/scripts/server"; for lib in common host backup; do source ../lib/$lib.sh; done
    BACKUP_REGION=ap-northeast-1; newest_backup "$2"; echo "$BACKUP_ID $BACKUP_VERSION $BACKUP_EDITION $((BACKUP_AGE < 600))"' _ "$ROOT" "$BUCKET"
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *"$newer does not count: backups/$newer/"*" is missing"* ]]
  [ "${lines[-1]}" = "$id 13.10.2 ce 1" ]
}

@test "S10: the script for the old server is the one that the document holds, and runs alone" {
  run --separate-stderr "$ROOT/scripts/ops" script backup-gitlab
  [ "$status" -eq 0 ]
  printf '%s\n' "$output" >"$BATS_TEST_TMPDIR/backup.sh"
  run --separate-stderr on_host bash "$BATS_TEST_TMPDIR/backup.sh" --to-dir "$STORE"
  echo "$stderr"
  [ "$status" -eq 0 ]
  [ -n "$(find "$STORE" -name manifest.json)" ]
  run "$ROOT/scripts/ops" script ../ops
  [ "$status" -eq 2 ]
  [[ $output == *'no script "../ops": want one of backup-gitlab '* ]]
}
