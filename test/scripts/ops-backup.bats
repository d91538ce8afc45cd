#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2030,SC2031,SC2086,SC2119 # text for other shells; a test is a subshell
# scripts/ops backup and restore: the real documents on a stand-in
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

@test "S10: a backup is made from the laptop, its log comes along, and its id is the result" {
  ops backup
  echo "$stderr"
  [ "$status" -eq 0 ]
  local id
  id=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["backup"])' "$output")
  [[ $stderr == *"$id is complete: "* ]]
  [ "$(sent)" = backup ]
  [[ $(parameters_of backup) == *'"KeepDays": ["0"]'*'"Environment": ["staging"]'* ]]
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
  for command in backup 'restore --backup 1606734000_2020_11_30_13.10.2'; do
    ops $command --dry-run
    [ "$status" -eq 0 ]
    [[ $output == *'aws s'* ]]
  done
  [ ! -s "$REMOTE/requests" ]
}
