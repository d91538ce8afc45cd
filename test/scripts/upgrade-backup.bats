#!/usr/bin/env bats
# shellcheck disable=SC2016 # text for shells on the host
# An upgrade with the backups that it really makes: scripts/lib/backup.sh as it
# is, and the real AWS CLI against the emulator. upgrade-gitlab.bats plays them.

load helper
load fixtures/host/host
load fixtures/host/gitlab-data

setup_file() {
  require_host
  make_key
  make_host_package
  local spec=$BATS_TEST_DIRNAME/fixtures/upgrade/gitlab.spec packages=gitlab/gitlab-ce version
  for version in 13.10.2 13.12.15 14.0.12; do
    make_package gitlab-ce "$version" ce.0.el7 "$spec" "$packages/el/7/x86_64"
  done
  make_repository "$packages/el/7/x86_64"
  mkdir "$BATS_FILE_TMPDIR/www/base"
  make_repository base
  publish_key $packages/gpgkey/gitlab-gitlab-ce-3D645A26AB9FBD22.pub.gpg
  start_s3
}

teardown_file() { stop_s3; }

setup() {
  require_host
  start_host
  stub curl 'case $* in *sign_in*) printf 200 ;; *) exec /usr/bin/curl "$@" ;; esac'
  # What is in a backup is up to backup.bats: here it has to be sound.
  stub gitlab-backup '
    [[ ! -e $STATE/broken-dump ]] || { echo "Dumping PostgreSQL database ... [FAILED]"; exit 0; }
    version=$(</opt/gitlab/version-manifest.txt) now=$(date +%s)
    while [[ -e $STATE/last && $now -le $(<"$STATE/last") ]]; do now=$((now + 1)); done
    echo "$now" >"$STATE/last"
    cd /var/opt/gitlab/backups && mkdir -p db repositories
    echo "-- PostgreSQL database dump complete" | gzip >db/database.sql.gz
    printf ":gitlab_version: %s\n:skipped: \n" "$version" >backup_information.yml
    tar=${now}_$(date -u -d "@$now" +%Y_%m_%d)_${version}_gitlab_backup.tar
    echo "Creating backup archive: $tar ... done"
    tar -cf "$tar" backup_information.yml db repositories && rm -rf backup_information.yml db repositories'
  reach_s3
  on_host bash -c '
    mkdir -p /etc/gitlab /var/opt/gitlab/{backups,gitlab-rails}
    rpm --force-debian --install --nosignature "$1" && cd /var/opt/gitlab && rm installed
    echo 13.10.2 | tee schema gitlab-rails/VERSION >visited
    echo 0 >queued && : >batched && echo 120004 >postgresql
    echo "{}" >/etc/gitlab/gitlab-secrets.json
    echo "external_url '\''https://gitlab.example.com'\''" >/etc/gitlab/gitlab.rb' _ \
    "$BATS_FILE_TMPDIR/www/gitlab/gitlab-ce/el/7/x86_64/gitlab-ce-13.10.2-ce.0.el7.rpm"
}

teardown() {
  stop_data
  stop_host
}

upgrade() {
  run --separate-stderr on_host env UPGRADE_FREE_MIB=1 UPGRADE_READY_TIMEOUT=1 UPGRADE_MIGRATIONS_TIMEOUT=30 MIGRATIONS_POLL=0.01 \
    setsid --wait "$ROOT/scripts/server/upgrade-gitlab.sh" --repository-url "$HOST_URL/gitlab" --bucket "$BUCKET" \
    --region ap-northeast-1 --to 14.0.12
  echo "$stderr"
}

@test "S8: each hop has a real backup of the version that it leaves, complete in the bucket" {
  upgrade
  [ "$status" -eq 0 ]
  [ "$output" = '{"from":"13.10.2","to":"14.0.12","edition":"ce"}' ]
  [ "$(objects | grep -c '^backups/.*_13\.10\.2/manifest\.json$')" -eq 1 ]
  [ "$(objects | grep -c '^backups/.*_13\.12\.15/manifest\.json$')" -eq 1 ]
  [ "$(objects | grep -c /manifest.json)" -eq 2 ]
  # The journal names them.
  local from to backup
  while read -r _ from to backup; do
    objects | grep -Fx "backups/$backup/manifest.json"
    [[ $backup == *_"$from" && $to != "$from" ]]
  done < <(on_host cat /var/lib/gitlab-codedeploy/upgrades)
}

@test "S8 upgrade | the dump of its backup fails, and gitlab-backup ends with 0 | no package is touched, and no backup counts" {
  touch "$STATE/broken-dump"
  upgrade
  [ "$status" -eq 1 ]
  [[ $stderr == *'gitlab-backup create ended with 0 and yet it failed'* ]]
  [ "$(on_host rpm -q gitlab-ce)" = gitlab-ce-13.10.2-ce.0.el7.noarch ]
  [ -z "$(objects)" ]
  # Mended, the same command goes on.
  rm "$STATE/broken-dump"
  upgrade
  [ "$status" -eq 0 ]
  [ "$(objects | grep -c /manifest.json)" -eq 2 ]
}
