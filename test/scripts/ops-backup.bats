#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2030,SC2031,SC2086,SC2119 # text for other shells; a test is a subshell
# scripts/ops backup, backups and restore: the real documents on a stand-in
# host, started through a played Systems Manager, with S3 played by moto.

load helper
load fixtures/host/host
load fixtures/host/systemd
load fixtures/host/gitlab-data
load fixtures/ops-remote

setup_file() {
  require_host
  make_host_package
  start_s3
}

teardown_file() { stop_s3; }

setup() {
  require_host
  start_host
  start_systemd
  install_data
  reach_s3
  start_remote BackupBucketName="$BUCKET" Url=https://gitlab.example.com
  cat "$BATS_FILE_TMPDIR/moto.url" >"$REMOTE/forward"
  # The stubs of the host are in front on the laptop, too: it has a CLI of its own.
  mkdir "$REMOTE/bin"
  ln -s "$AWS_CLI" "$REMOTE/bin/aws"
  PATH=$REMOTE/bin:$PATH
  run_on_host server RESTORE_READY_TIMEOUT=5
}

teardown() {
  stop_remote
  stop_data
  stop_host
}

@test "S10: a backup is made from the laptop, its log comes along, and it is listed" {
  ops backup
  echo "$stderr"
  [ "$status" -eq 0 ]
  local id
  id=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["backup"])' "$output")
  [[ $stderr == *"$id is complete: "* ]]
  [ "$(sent)" = backup ]
  [[ $(parameters_of backup) == *'"KeepDays": ["0"]'*'"Environment": ["staging"]'* ]]
  ops backups
  echo "$output"
  [ "$status" -eq 0 ]
  [[ ${lines[1]} =~ ^$id\ +13\.10\.2\ ce\ +[0-9]+\ kB\ +[0-9]+\ min\ +yes$ ]]
  [ "${#lines[@]}" -eq 2 ]
}

@test "S10: a backup is restored from the laptop, and what was looked at is the result" {
  local before id file folder=$BATS_TEST_TMPDIR/made
  mkdir "$folder"
  on_host "$ROOT/scripts/server/backup-gitlab.sh" --to-dir "$folder" >/dev/null
  id=$(ls "$folder/backups")
  for file in $(cd "$folder" && find . -type f); do
    put_object "${file#./}" "$folder/$file"
  done
  before=$(data_of)
  on_host bash -c 'echo lost >/var/opt/gitlab/postgresql/data/dump'
  ops restore --backup "$id" --yes
  echo "$stderr"
  [ "$status" -eq 0 ]
  [[ $output == *$'secrets\tok\tall that is encrypted can be read'* ]]
  [ "$(data_of)" = "$before" ]
  [ "$(sent)" = restore ]
}

@test "S10: backups tells for each why it does not count, and is harmless on a terminal" {
  local file=$BATS_TEST_TMPDIR/file
  put_object backups/1500000000_2017_07_14_13.10.2/x.tar
  printf '{"id": "\033]0;owned\007", "parts": []}\n' >"$file"
  put_object backups/1500100000_2017_07_15_13.10.2/manifest.json "$file"
  sealed "$file" 1500200000_2017_07_16_14.9.5-ee 14.9.5 ee
  put_object backups/1500200000_2017_07_16_14.9.5-ee/manifest.json "$file"
  # Nobody's backup.
  put_object backups/by-hand/x.tar
  ops backups --json
  echo "$output"
  [ "$status" -eq 0 ]
  python3 - "$output" <<'END'
import json, sys
ee, forged, partial = json.loads(sys.argv[1])
assert ee["edition"] == "ee" and not ee["complete"] and ee["reason"].endswith("x.tar is missing"), ee
assert forged["reason"] == "its manifest was changed, or is cut off", forged
assert partial["reason"].startswith("it has no manifest"), partial
END
  ops backups
  [[ ${lines[3]} == 1500000000_2017_07_14_13.10.2*'no: it has no manifest'* ]]
  if LC_ALL=C grep -n $'[\001-\010\013-\037\177]' <<<"$output$stderr"; then return 1; fi
}

# sealed FILE ID VERSION EDITION writes a sound manifest of parts that are not there.
sealed() {
  printf '{\n"format": "gitlab-codedeploy-backup-1",\n"id": "%s",\n"version": "%s",\n"edition": "%s",\n"host": "x",\n"createdAt": "x",\n"parts": [\n{"key": "backups/%s/x.tar", "size": 1, "sha256": "%064d"},\n{"key": "secrets/%s/y", "size": 1, "sha256": "%064d"},\nnull],\n' \
    "$2" "$3" "$4" "$2" 0 "$2" 0 >"$1"
  printf '"sha256": "%s"\n}\n' "$(sha256sum <"$1" | cut -d' ' -f1)" >>"$1"
}

@test "S10: an empty bucket is said to be one" {
  ops backups
  [ "$status" -eq 0 ]
  [ -z "$output" ]
  [[ $stderr == *"there is no backup in $BUCKET"* ]]
}

@test "S10 restore | nobody can be asked, and --yes is missing | nothing is sent; the question names host, address and loss" {
  ops restore --backup 1606734000_2020_11_30_13.10.2
  [ "$status" -eq 2 ]
  [[ $stderr == *"restore 1606734000_2020_11_30_13.10.2 onto $REMOTE_SERVER, the GitLab at https://gitlab.example.com? Its database"* ]]
  [ -z "$(sent)" ]
}

@test "S10 restore | the id of a backup has shell characters | refused before anything is asked of AWS, and by the document" {
  local id
  for id in '' x '$(id)' "1606734000_2020_11_30_13.10.2';id;'" '../1606734000_2020_11_30_13.10.2' $'1606734000_2020_11_30_13.10.2\nid'; do
    ops restore --yes --backup "$id"
    [ "$status" -eq 2 ]
  done
  [ ! -s "$REMOTE/requests" ]
  AWS_PROFILE=account-a run "$AWS_CLI" ssm send-command --document-name gitlab-codedeploy-staging-restore \
    --instance-ids "$REMOTE_SERVER" --parameters '{"RunId": ["20261124T185436-0a1b2c3d"], "Backup": ["x; id"], "Bucket": ["b-b"], "Region": ["ap-northeast-1"]}'
  [ "$status" -ne 0 ]
  [[ $output == *InvalidParameters* ]]
}

@test "S10 restore | the backup is not there | the script's own status and reason reach the laptop" {
  ops restore --yes --backup 1606734000_2020_11_30_13.10.2
  [ "$status" -eq 1 ]
  [[ $stderr == *"1606734000_2020_11_30_13.10.2 has no manifest in s3://$BUCKET"* ]]
}

@test "S10: --dry-run prints the commands and asks nothing of AWS" {
  local command
  for command in backup backups 'restore --backup 1606734000_2020_11_30_13.10.2'; do
    ops $command --dry-run
    [ "$status" -eq 0 ]
    [[ $output == *'aws s'* ]]
  done
  [ ! -s "$REMOTE/requests" ]
}

@test "S10: the script for the old server is the one that the document holds, and runs alone" {
  rm "$STUBS/go"
  run --separate-stderr "$ROOT/scripts/ops" script backup-gitlab
  [ "$status" -eq 0 ]
  printf '%s\n' "$output" >"$BATS_TEST_TMPDIR/backup.sh"
  mkdir "$BATS_TEST_TMPDIR/store"
  run --separate-stderr on_host bash "$BATS_TEST_TMPDIR/backup.sh" --to-dir "$BATS_TEST_TMPDIR/store"
  echo "$stderr"
  [ "$status" -eq 0 ]
  [ -n "$(find "$BATS_TEST_TMPDIR/store" -name manifest.json)" ]
  run "$ROOT/scripts/ops" script ../ops
  [ "$status" -eq 2 ]
  [[ $output == *"no script '../ops': want one of backup-gitlab "* ]]
}
