#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2030,SC2031 # text for shells on the host; each test is a subshell
# The upgrade of GitLab, on a stand-in host (fixtures/host/host.bash): real dnf
# and rpm, packages of all stops that behave as GitLab's do around an upgrade
# (fixtures/upgrade). Backups are played here; they have tests of their own.

load helper
load fixtures/host/host

STOPS='13.12.15 14.0.12 14.3.6 14.9.5 14.10.5 15.0.5 15.4.6'

setup_file() {
  # The whole way, killed a hundred times, takes one or two minutes on a busy machine.
  export BATS_TEST_TIMEOUT=300
  require_host
  make_key
  make_host_package
  local spec=$BATS_TEST_DIRNAME/fixtures/upgrade/gitlab.spec version family packages=gitlab/gitlab-ce
  for version in 13.10.2 $STOPS; do
    family=amazon2
    case $version in 13.* | 14.0.* | 14.3.*) family=el7 ;; esac
    make_package gitlab-ce "$version" "ce.0.$family" "$spec" "$packages/${family/%[0-9]/}/${family: -1}/x86_64"
  done
  for family in el/7 amazon/2; do
    make_repository "$packages/$family/x86_64"
  done
  mkdir "$BATS_FILE_TMPDIR/www/base"
  make_repository base
  publish_key $packages/gpgkey/gitlab-gitlab-ce-3D645A26AB9FBD22.pub.gpg
  # The script in its place, with a stand-in for backups.
  mkdir -p "$BATS_FILE_TMPDIR/tree/internal"
  cp -r "$ROOT/scripts" "$BATS_FILE_TMPDIR/tree/"
  cp -r "$ROOT/internal/gitlab" "$BATS_FILE_TMPDIR/tree/internal/"
  cp "$BATS_TEST_DIRNAME/fixtures/upgrade/backup.sh" "$BATS_FILE_TMPDIR/tree/scripts/lib/backup.sh"
}

setup() {
  SCRIPT=$BATS_FILE_TMPDIR/tree/scripts/server/upgrade-gitlab.sh
}

teardown() { stop_host; }

# gitlab VERSION makes a host with that GitLab, all well.
gitlab() {
  require_host
  start_host
  stub curl 'case $* in *sign_in*) [[ -e /etc/gitlab/test/never-ready ]] && printf 502 || printf 200 ;; *) exec /usr/bin/curl "$@" ;; esac'
  local file
  file=$(find "$BATS_FILE_TMPDIR/www" -name "gitlab-ce-$1-*.rpm")
  on_host bash -c '
    mkdir -p /etc/gitlab/test /var/opt/gitlab/gitlab-rails
    rpm --force-debian --install --nosignature "$1" && cd /var/opt/gitlab && rm installed
    echo "$2" | tee schema gitlab-rails/VERSION >visited
    echo 0 >queued && : >batched && echo 120004 >postgresql
    echo "external_url '\''https://gitlab.example.com'\''" >/etc/gitlab/gitlab.rb' _ "$file" "$1"
}

upgrade() {
  on_host env UPGRADE_FREE_MIB="${FREE:-1}" UPGRADE_READY_TIMEOUT=1 UPGRADE_MIGRATIONS_TIMEOUT="${MIGRATIONS:-30}" MIGRATIONS_POLL=0.01 \
    setsid --wait "$SCRIPT" --repository-url "$HOST_URL/gitlab" --bucket example-backups --region ap-northeast-1 "$@"
}

data() { on_host cat "/var/opt/gitlab/$1"; }
# what_if FILE [TEXT] changes how GitLab's stand-in behaves.
what_if() { on_host bash -c 'printf "%s" "$2" >"/etc/gitlab/test/$1"' _ "$1" "${2-}"; }

# stands_at VERSION asserts that a run failed with that installed.
stands_at() {
  [ "$status" -eq 1 ]
  [[ $(on_host rpm -q gitlab-ce) == "gitlab-ce-$1-ce.0."* ]]
}

# all_stops_once asserts a whole upgrade: nothing skipped, nothing twice, and a
# backup of each version before it was left.
all_stops_once() {
  local from=13.10.2 to
  [ "$(data visited)" = "$(tr ' ' '\n' <<<"13.10.2 $STOPS")" ]
  [ "$(on_host rpm -q gitlab-ce)" = gitlab-ce-15.4.6-ce.0.amazon2.noarch ]
  for to in $STOPS; do
    on_host grep -q " $from ce$" /var/opt/gitlab/backups
    [ "$(on_host grep -cE "^[^ ]+ $from $to [0-9]+_2026_11_24_$from$" /var/lib/gitlab-codedeploy/upgrades)" -eq 1 ]
    from=$to
  done
  run ! on_host test -e /var/opt/gitlab/migrated-too-early
  run ! on_host test -e /var/opt/gitlab/checks-skipped
  run ! on_host test -e /var/lib/gitlab-codedeploy/upgrading
}

@test "S8: from 13.10.2 to 15.4.6 by every stop, each from its distribution's repository, with a backup before each" {
  gitlab 13.10.2
  run --separate-stderr upgrade
  echo "$stderr"
  [ "$status" -eq 0 ]
  [ "$output" = '{"from":"13.10.2","to":"15.4.6","edition":"ce"}' ]
  [[ $stderr == *'waiting for migrations: '*'1 batched'* ]]
  all_stops_once
  # Once each: the package's own reconfigure was right.
  [ "$(data reconfigures)" = "$(sed 's/^/reconfigure /' < <(tr ' ' '\n' <<<"$STOPS"))" ]
  [ "$(data installed)" = "$(tr ' ' '\n' <<<"$STOPS")" ]
  [ "$(data backups | wc -l)" -eq 7 ]

  # Again: nothing is left to do.
  run --separate-stderr upgrade
  [ "$status" -eq 0 ]
  [ "$output" = '{"from":"15.4.6","to":"15.4.6","edition":"ce"}' ]
  [ "$(data installed | wc -l)" -eq 7 ]
}

@test "S8 upgrade | killed at every step of the way from 13.10.2 to 15.4.6, and started again each time | it ends at 15.4.6, each stop once, no hop without its backup" {
  gitlab 13.10.2
  kill_everywhere
  local runs=0 status=137
  while ((status != 0)); do
    ((++runs < 400))
    status=0
    upgrade >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" || status=$?
    # Nothing but a kill may end it.
    ((status == 0 || status == 137)) || {
      cat "$BATS_TEST_TMPDIR/err"
      on_host tail -n 3 /etc/gitlab/test/killed
      return 1
    }
    killed_is_gone
  done
  echo "$runs runs"
  ((runs > 70))
  [ "$(on_host sort /etc/gitlab/test/killed | uniq -d)" = '' ]
  all_stops_once
}

# kill_everywhere lets each command of the script that may change something, at
# each version, end once in a SIGKILL of all that runs; and each kind of question once.
kill_everywhere() {
  local name
  what_if kill
  for name in yum rpm mv rm gitlab-ctl gitlab-rails gitlab-rake gitlab-psql curl; do
    cat >"$STUBS/$name" <<'STUB'
#!/bin/bash
name=${0##*/} real=$name label="$*" killed=/etc/gitlab/test/killed
[[ $name != yum ]] || real='dnf --setopt=keepcache=0'
PATH=/usr/sbin:/usr/bin:/sbin:/bin
[[ $name != curl || $* != *sign_in* ]] || real='printf 200 #'
if [[ $real == printf* ]]; then printf 200; status=0; else $real "$@"; status=$?; fi
version=$(</opt/gitlab/version-manifest.txt)
case $name in
  # Questions are the same at each version.
  yum | gitlab-ctl)
    label=$1,${*: -1}
    [[ $* == *reconfigure* || $* == *' install '* ]] || version='' label=$1
    ;;
  mv | rm)
    label=${*: -1}
    [[ $label != *.new ]] || version=''
    ;;
  rpm) [[ $* == *' -e'* || $1 == -e ]] || version='' label=$1 ;;
  *) version='' label=${1:0:60} ;;
esac
label="$version after $name $label"
[[ $label != *'/tmp/tmp.'* ]] || exit $status
if ! grep -Fxq -- "$label" $killed 2>/dev/null; then
  echo "$label" >>$killed
  exec pkill -KILL --session 0
fi
exit $status
STUB
    chmod +x "$STUBS/$name"
  done
}

# fails_because TEXT… asserts that the last run failed for these reasons, at 13.10.2.
fails_because() {
  local reason
  echo "$output"
  stands_at 13.10.2
  for reason; do
    [[ $output == *"$reason"* ]]
  done
  run ! on_host test -e /var/opt/gitlab/installed
}

@test "S8 upgrade | migrations that never end | it waits for its time, then stops before the hop and says what is left" {
  gitlab 13.10.2
  on_host bash -c 'echo 7 >/var/opt/gitlab/queued'
  what_if for-ever
  MIGRATIONS=1 run upgrade
  fails_because 'migrations of 13.10.2 are not finished after 1 s: 0 batched (0 failed), 7 in Sidekiq'
}

@test "S8 upgrade | asking for migrations crashes, prints rubbish, or prints nothing | that is not finished: it stops before the hop" {
  gitlab 13.10.2
  local answer
  for answer in 'echo boom >&2; exit 1' 'echo "DEPRECATION WARNING"; echo 0' 'true' 'echo -1' 'echo 0 0' 'echo nil' 'kill -SEGV $$'; do
    what_if rails "$answer"
    run upgrade
    fails_because 'whether the migrations of 13.10.2 are finished cannot be told'
  done
  on_host rm /etc/gitlab/test/rails
  what_if psql 'case $* in *to_regclass*) echo yes ;; *) exit 3 ;; esac'
  run upgrade
  fails_because "got 'yes', want a number"
  run upgrade --preflight
  fails_because 'in the way: migrations of 13.10.2 are not finished'
}

@test "S8 upgrade | a batched migration failed | it stops, names it and the documented remedy; --fix-known-jobs applies that and goes on" {
  gitlab 14.0.12
  on_host bash -c 'printf "9\t4\tCopyColumn\tevents\tid\t[[\"id\"], [\"id_convert_to_bigint\"]]\n" >/var/opt/gitlab/batched'
  what_if for-ever
  run upgrade --to 14.3.6
  stands_at 14.0.12
  [[ $output == *'CopyColumn on events (status 4)'*'gitlab:background_migrations:finalize['* ]]
  run ! on_host test -e /var/opt/gitlab/ran

  on_host rm /etc/gitlab/test/for-ever
  on_host bash -c 'printf "9\t4\tCopyColumn\tevents\tid\t[[\"id\"], [\"id_convert_to_bigint\"]]\n" >/var/opt/gitlab/batched'
  run upgrade --to 14.3.6 --fix-known-jobs yes
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$(data ran)" = 'gitlab:background_migrations:finalize[CopyColumn,events,id,[["id"]\, ["id_convert_to_bigint"]]]' ]
}

@test "S8 upgrade | jobs of MigrateMergeRequestDiffCommitUsers are left at 14.3, and Sidekiq has lost them | 14.9 is not begun; --fix-known-jobs runs them" {
  gitlab 14.3.6
  what_if diff-jobs 3
  MIGRATIONS=1 run upgrade --to 14.9.5
  stands_at 14.3.6
  [[ $output == *'3 of MigrateMergeRequestDiffCommitUsers'* ]]
  MIGRATIONS=1 run upgrade --to 14.9.5 --fix-known-jobs yes
  stands_at 14.3.6
  [[ $(data ran) == *"for_migration_class('MigrateMergeRequestDiffCommitUsers').pending"* ]]
}

@test "S8 upgrade | settings, legacy storage, PostgreSQL, disk or a skip-file are in the way | all of them are named at once, by preflight and by the run" {
  gitlab 13.12.15
  what_if removed-setting
  what_if legacy 4
  on_host bash -c 'touch /etc/gitlab/skip-auto-reconfigure /etc/gitlab/disable-postgresql-upgrade; echo 110009 >/var/opt/gitlab/postgresql
    echo "unicorn['\''worker_processes'\''] = 3" >>/etc/gitlab/gitlab.rb'
  local mode reason before
  before=$(on_host sh -c 'cd / && find etc var/opt opt -type f -newer /var/opt/gitlab/postgresql')
  for mode in --preflight ''; do
    # shellcheck disable=SC2086
    FREE=99999999 run upgrade $mode
    echo "$output"
    stands_at 13.12.15
    for reason in 'rm /etc/gitlab/skip-auto-reconfigure' 'PostgreSQL is 11, GitLab 14.0.12 needs 12, and /etc/gitlab/disable-postgresql-upgrade opted out' \
      'gitlab-ctl check-config --version=14.0.12' '4 projects are in legacy storage' '4 attachments are in legacy storage' \
      'has unicorn settings' '/opt has '; do
      [[ $output == *"$reason"* ]]
    done
    [[ -z $mode ]] || [ "$(on_host sh -c 'cd / && find etc var/opt opt -type f -newer /var/opt/gitlab/postgresql')" = "$before" ]
  done
  run ! on_host test -e /var/opt/gitlab/backups
}

@test "S8 upgrade | the database is down | it stops, for the package would skip its checks" {
  gitlab 13.10.2
  on_host rm /var/opt/gitlab/postgresql
  run upgrade
  fails_because 'services are down: down: postgresql'
  run ! on_host test -e /var/opt/gitlab/checks-skipped
}

@test "S8 upgrade | the package is not in the repository | nothing is installed, and no backup was made for nothing" {
  gitlab 13.10.2
  run on_host env UPGRADE_FREE_MIB=1 MIGRATIONS_POLL=0.01 "$SCRIPT" --repository-url "$HOST_URL/elsewhere" --bucket example-backups --region ap-northeast-1
  fails_because 'cannot list gitlab-ce in http://localhost:8800/elsewhere'
  run ! on_host test -e /var/opt/gitlab/backups
}

@test "S8 upgrade | the backup fails | the hop is not begun; without backups only when that is said" {
  gitlab 13.12.15
  what_if fail-backup
  run upgrade --to 14.0.12
  stands_at 13.12.15
  [[ $output == *'the backup failed'* ]]
  run upgrade --to 14.0.12 --backup-each-hop no
  [ "$status" -eq 0 ]
  [[ $output == *'WARNING: no backup before this hop'* ]]
}

@test "S8 upgrade | the newest backup is too old, or of another version | a new one is made" {
  gitlab 13.12.15
  local backup now
  now=$(date +%s)
  for backup in "$((now - 3700)) 13.12.15 ce" "$now 13.10.2 ce" "$now 13.12.15 ee"; do
    on_host bash -c 'echo "$1" >/var/opt/gitlab/backups; echo 1 >/etc/gitlab/test/fail-backup' _ "$backup"
    run upgrade --to 14.0.12
    stands_at 13.12.15
    [[ $output == *'making a backup of GitLab 13.12.15'*'the backup failed'* ]]
  done
  on_host bash -c 'echo "$1" >/var/opt/gitlab/backups' _ "$((now - 60)) 13.12.15 ce"
  run upgrade --to 14.0.12
  [ "$status" -eq 0 ]
  [ "$(data backups | wc -l)" -eq 1 ]
}

@test "S8 upgrade | the package's own check refuses it before a file is written | the old version stays and runs, and the next run goes on with the same backup" {
  gitlab 13.12.15
  # As real packages do, it refuses a jump over a major version by itself.
  run on_host yum -y --repofrompath="stops,$HOST_URL/gitlab/gitlab-ce/amazon/2/x86_64" --repo=stops --nogpgcheck install gitlab-ce-15.0.5-ce.0.amazon2
  [ "$status" -ne 0 ]
  [[ $output == *'over a major version: not supported'* ]]

  what_if fail-before-unpacking
  run upgrade --to 14.0.12
  stands_at 13.12.15
  [[ $output == *'yum could not install gitlab-ce-14.0.12-ce.0.el7'* ]]
  [ "$(on_host cat /opt/gitlab/version-manifest.txt)" = 13.12.15 ]
  on_host rm /etc/gitlab/test/fail-before-unpacking
  run upgrade --to 14.0.12
  [ "$status" -eq 0 ]
  [ "$(data visited)" = $'13.12.15\n14.0.12' ]
  [ "$(data backups | wc -l)" -eq 1 ]
}

@test "S8 upgrade | reconfigure fails, or passes Chef's hour | it stops there with the reason, and the next run goes on; the hour is helped" {
  gitlab 13.12.15
  what_if fail-reconfigure $'There was an error running gitlab-ctl reconfigure\n'
  run upgrade --to 14.0.12
  stands_at 14.0.12
  [[ $output == *'gitlab-ctl reconfigure of GitLab 14.0.12 failed: There was an error'* ]]
  run ! on_host test -e /var/lib/gitlab-codedeploy/upgrades
  what_if fail-reconfigure $'Mixlib::ShellOut::CommandTimeout: Command timed out after 3600s:\n'
  run upgrade --to 14.0.12
  [ "$status" -eq 0 ]
  [[ $output == *"longer than Chef's hour"* ]]
  [ "$(data visited)" = $'13.12.15\n14.0.12' ]
  [ "$(data backups | wc -l)" -eq 1 ]
}

@test "S8 upgrade | GitLab never gets ready | it says so, and does not go on to the next stop" {
  gitlab 13.12.15
  stub curl 'case $* in *sign_in*) printf 502 ;; *) exec /usr/bin/curl "$@" ;; esac'
  run upgrade --to 14.0.12
  stands_at 13.12.15
  [[ $output == *'GitLab 13.12.15 does not get ready: the sign-in page answers with HTTP 502'* ]]
}

@test "S8 upgrade | a second one is started while one runs | it ends at once and names the first; that one is not disturbed" {
  gitlab 13.12.15
  what_if for-ever
  on_host bash -c 'echo 1 >/var/opt/gitlab/queued'
  upgrade --to 14.0.12 2>"$BATS_TEST_TMPDIR/first" &
  local first=$! deadline=$((SECONDS + 30))
  until grep -q 'waiting for migrations' "$BATS_TEST_TMPDIR/first"; do
    ((SECONDS < deadline))
    sleep 0.05
  done
  run upgrade --to 14.0.12
  [ "$status" -eq 1 ]
  [[ $output == *'upgrade (process '*'is under way on this host: nothing was done'* ]]
  on_host bash -c 'rm /etc/gitlab/test/for-ever; echo 0 >/var/opt/gitlab/queued'
  wait "$first"
  [ "$(data visited)" = $'13.12.15\n14.0.12' ]
}

@test "S8 upgrade | asked for what is no stop, for an older version, or for shell characters | wrong use, or refused: nothing is done" {
  gitlab 15.0.5
  local value
  for value in 15.4 15.4.6-ee '15.4.6;id' '$(id)' '`id`' "15.4.6'" $'15.4.6\nid' '../15.4.6' '' 15.4.5 99.1.1; do
    run upgrade --to "$value"
    [ "$status" -eq 2 ]
    [[ $output == *'--to: '* && $output != *uid=* ]]
    run upgrade --from "${value:-x}" --repository-url 'https://x/$(id)'
    [ "$status" -eq 2 ]
  done
  run upgrade --to 14.10.5
  stands_at 15.0.5
  [[ $output == *'GitLab 15.0.5 is newer than 14.10.5: there is no way back but a restore'* ]]
  run upgrade --from 15.4.6
  stands_at 15.0.5
  [[ $output == *'GitLab 15.0.5 is installed, and --from says 15.4.6'* ]]
  run upgrade --backup-each-hop maybe
  [ "$status" -eq 2 ]
  run on_host "$SCRIPT" --to 15.4.6
  [ "$status" -eq 2 ]
  [[ $output == *'missing: --bucket; or --backup-each-hop no'* ]]
  run ! on_host test -e /var/opt/gitlab/installed
}

@test "S8: preflight on a GitLab that is ready says so and changes nothing" {
  gitlab 13.10.2
  local before
  before=$(on_host sh -c 'cd / && find etc opt var/opt var/lib/gitlab-codedeploy -type f 2>/dev/null | xargs md5sum')
  run --separate-stderr upgrade --preflight
  echo "$stderr"
  [ "$status" -eq 0 ]
  [ "$output" = '{"from":"13.10.2","next":"13.12.15","to":"15.4.6","ready":true}' ]
  [ "$(on_host sh -c 'cd / && find etc opt var/opt var/lib/gitlab-codedeploy -type f 2>/dev/null | xargs md5sum')" = "$before" ]
}

@test "S8: a plan can be made anywhere: without root, GitLab or AWS" {
  run --separate-stderr "$ROOT/scripts/server/upgrade-gitlab.sh" --plan --from 13.10.2
  [ "$status" -eq 0 ]
  [ "$(tail -n +2 <<<"$output" | cut -f 1 | paste -s -d ' ')" = "$STOPS" ]
  [ "$(tail -n +2 <<<"$output" | cut -f 4 | paste -s -d ' ')" = '11 12 12 12 12 12 12' ]
  run --separate-stderr "$ROOT/scripts/server/upgrade-gitlab.sh" --plan --from 14.4.0 --to 15.11.13
  [ "$(tail -n +2 <<<"$output" | cut -f 1 | paste -s -d ' ')" = '14.9.5 14.10.5 15.0.5 15.4.6 15.11.13' ]
  run "$ROOT/scripts/server/upgrade-gitlab.sh" --plan --from 12.10.0
  [ "$status" -eq 1 ]
  [[ $output == *'GitLab 12.10.0 is older than 13.8, where this path begins'* ]]
  run "$ROOT/scripts/server/upgrade-gitlab.sh" --plan
  [ "$status" -eq 2 ]
}
