#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2030,SC2031,SC2086,SC2119,SC2120 # text for shells on the host; a test is a subshell
# The restore of a backup, on a stand-in host: what it refuses, what it brings
# back, and what is left when it dies.

load helper
load fixtures/host/host
load fixtures/host/gitlab-data

setup_file() {
  require_host
  make_host_package
  start_s3
}

teardown_file() { stop_s3; }

# The backup of an old server, made once, and a new server to put it on.
setup() {
  require_host
  start_host
  KEPT=$BATS_FILE_TMPDIR/kept
  if [[ ! -e $KEPT/data ]]; then
    install_data 'gitlab-ce 13.10.2' old
    mkdir -p "$KEPT/backups"
    on_host bash -c 'echo "the old settings" >/etc/gitlab/gitlab-codedeploy.rb'
    on_host "$ROOT/scripts/server/backup-gitlab.sh" --to-dir "$KEPT" >/dev/null
    data_of >"$KEPT/data"
  fi
  ID=$(ls "$KEPT/backups")
  BACKUPS=$BATS_TEST_TMPDIR/backups
  cp -r "$KEPT" "$BACKUPS"
  TAR=$BACKUPS/backups/$ID/${ID}_gitlab_backup.tar
  MANIFEST=$BACKUPS/backups/$ID/manifest.json
  install_data 'gitlab-ce 13.10.2' new
  on_host bash -c 'rm -rf /var/opt/gitlab/gitlab-rails/shared/packages/ab; echo "the new settings" >/etc/gitlab/gitlab-codedeploy.rb'
  BEFORE=$(data_of)
  : >"$CALLS"
}

teardown() {
  stop_data
  stop_host
}

restore() {
  run --separate-stderr on_host ${SESSION:-} env RESTORE_READY_TIMEOUT=2 RESTORE_TIMEOUT="${RESTORE_TIMEOUT:-60}" \
    "$ROOT/scripts/server/restore-gitlab.sh" --backup "$ID" --from-dir "$BACKUPS" --yes "$@"
  echo "$output"
  echo "$stderr"
}

# restored asserts that all of the old server is there, and everything runs.
restored() {
  [ "$status" -eq 0 ]
  diff <(data_of) "$KEPT/data"
  [ ! -e "$STATE/violations" ]
  all_up
  [ -z "$(on_host bash -c 'ls -d /var/opt/gitlab/backups/* /var/lib/gitlab-codedeploy/restoring 2>/dev/null')" ]
}

all_up() { [[ -z $(find "$STATE" -name 'down-*') ]]; }

# untouched REASON asserts a refusal before anything was changed or unpacked.
untouched() {
  [ "$status" -eq 1 ]
  [[ ${stderr##*$'\n'} == *"error: "*"$1"* ]] || {
    echo "no '$1' in the last line"
    return 1
  }
  [ "$(data_of)" = "$BEFORE" ]
  # Not by run: the test still wants what the restore said.
  if grep -E '^gitlab-(backup|ctl (stop|reconfigure))' "$CALLS"; then return 1; fi
  [ -z "$(on_host bash -c 'ls -d /var/opt/gitlab/backups/* /etc/gitlab/b* 2>/dev/null')" ]
}

# seal writes the manifest anew for what is there now, as whoever can write to
# the bucket could.
seal() {
  python3 - "$BACKUPS" "$ID" <<'END'
import hashlib, pathlib, re, sys
root, backup = pathlib.Path(sys.argv[1]), sys.argv[2]
file = root / f"backups/{backup}/manifest.json"
def part(match):
    data = (root / match[1]).read_bytes()
    return '{"key": "%s", "size": %d, "sha256": "%s"}' % (match[1], len(data), hashlib.sha256(data).hexdigest())
text = re.sub(r'\{"key": "([^"]*)".*?\}', part, file.read_text())
head = text[: text.rindex('"sha256"')]
file.write_text(head + '"sha256": "%s"\n}\n' % hashlib.sha256(head.encode()).hexdigest())
END
}

@test "S10: a restore brings back all of the old server, its secrets too, and keeps this host's settings" {
  restore
  restored
  [ "$output" = $'sign-in\tok\tthe page answers with 200\nservices\tok\tall are up\nstatistics\tok\tANALYZE is done\nsecrets\tok\tall that is encrypted can be read\ngitlab:check\tok\tnothing to fix' ]
  [ "$(on_host cat /etc/gitlab/gitlab-codedeploy.rb)" = 'the new settings' ]
  on_host grep -q new.example.com /etc/gitlab/gitlab.rb
  # What was there, and what came along.
  on_host bash -c 'grep -q new /etc/gitlab/before-*/gitlab-secrets.json'
  [ "$(on_host stat -c %a "/etc/gitlab/from-$ID/ssh_host_ed25519_key")" = 600 ]
  on_host grep -q old.example.com "/etc/gitlab/from-$ID/gitlab.rb"
  # Secrets, reconfigure, stop, restore, reconfigure, restart.
  diff <(grep -E '^gitlab-(ctl (reconf|stop|restart)|backup)' "$CALLS") - <<END
gitlab-ctl reconfigure
gitlab-ctl stop puma
gitlab-ctl stop sidekiq
gitlab-backup restore BACKUP=$ID force=yes
gitlab-ctl reconfigure
gitlab-ctl restart
END
}

@test "S10: a restore from the bucket is the same" {
  reach_s3
  here s3 cp --recursive --only-show-errors "$BACKUPS/" "s3://$BUCKET/"
  run --separate-stderr on_host env RESTORE_READY_TIMEOUT=2 "$ROOT/scripts/server/restore-gitlab.sh" \
    --backup "$ID" --bucket "$BUCKET" --region ap-northeast-1 --yes
  echo "$stderr"
  restored
}

@test "S10: without --yes and without a terminal nothing is done, and the question names host, backup and loss" {
  run --separate-stderr on_host "$ROOT/scripts/server/restore-gitlab.sh" --backup "$ID" --from-dir "$BACKUPS"
  [ "$status" -eq 2 ]
  [[ $stderr == *"restoring $ID (gitlab-ce 13.10.2, made by "*"onto $(on_host uname -n): its database"*'are overwritten'* ]]
  [ "$(data_of)" = "$BEFORE" ]
}

@test "S10 restore | another version is installed | refused with both names; nothing was changed" {
  install_data 'gitlab-ce 13.10.3' new
  BEFORE=$(data_of)
  restore
  untouched "$ID is of gitlab-ce 13.10.2, and gitlab-ce 13.10.3 is installed"
}

@test "S10 restore | another edition is installed | refused with both names; nothing was changed" {
  install_data 'gitlab-ee 13.10.2' new
  BEFORE=$(data_of)
  restore
  untouched "$ID is of gitlab-ce 13.10.2, and gitlab-ee 13.10.2 is installed"
}

@test "S10 restore | there is no manifest | refused: the backup was never completed" {
  rm "$MANIFEST"
  restore
  untouched "$ID has no manifest in $BACKUPS"
}

@test "S10 restore | a letter of the manifest was changed, its end is missing, or it is another backup's | refused" {
  sed -i 's/"edition": "ce"/"edition": "ee"/' "$MANIFEST"
  restore
  untouched 'it does not match its own SHA-256'
  cp "$KEPT/backups/$ID/manifest.json" "$MANIFEST"
  sed -i '$d' "$MANIFEST"
  restore
  untouched 'it does not match its own SHA-256'
  : >"$MANIFEST"
  restore
  untouched 'it does not match its own SHA-256'
  sed "s/$ID/1606734000_2020_11_30_13.10.2/g" "$KEPT/backups/$ID/manifest.json" >"$MANIFEST"
  seal_head
  restore
  untouched 'it is of another backup'
}

# seal_head makes the manifest match its own hash.
seal_head() {
  head -n -2 "$MANIFEST" >"$MANIFEST.new"
  printf '"sha256": "%s"\n}\n' "$(sha256sum <"$MANIFEST.new" | cut -d' ' -f1)" >>"$MANIFEST.new"
  mv "$MANIFEST.new" "$MANIFEST"
}

@test "S10 restore | a manifest that names places outside of the backup | refused, whatever its hash" {
  sed -i "s|\"key\": \"backups/$ID/shared.tar.gz\"|\"key\": \"backups/$ID/../../../etc/passwd\"|" "$MANIFEST"
  seal_head
  restore
  untouched 'it is not of the form that it should have'
}

@test "S10 restore | a part is missing or shorter | refused before anything is fetched" {
  rm "$BACKUPS/secrets/$ID/gitlab-secrets.json"
  restore
  untouched "secrets/$ID/gitlab-secrets.json is missing"
  cp "$KEPT/secrets/$ID/gitlab-secrets.json" "$BACKUPS/secrets/$ID/"
  truncate -s 5000 "$TAR"
  restore
  untouched "has 5000 bytes, and "
}

@test "S10 restore | one bit of the archive is flipped | refused by its hash" {
  printf X | dd of="$TAR" bs=1 seek=4000 conv=notrunc 2>/dev/null
  restore
  untouched "is not what the backup was made of"
}

@test "S10 restore | the secrets are those of another server | refused by their hash" {
  tr o x <"$KEPT/secrets/$ID/gitlab-secrets.json" >"$BACKUPS/secrets/$ID/gitlab-secrets.json"
  restore
  untouched "secrets/$ID/gitlab-secrets.json is not what the backup was made of"
}

# hostile_member COMMAND lets the archive, and its manifest, have more members.
hostile_member() {
  local folder=$BATS_TEST_TMPDIR/hostile
  rm -rf "$folder"
  mkdir "$folder"
  cp "$KEPT/backups/$ID/${ID}_gitlab_backup.tar" "$TAR"
  (cd "$folder" && bash -c "$1" _ "$TAR")
  seal
}

@test "S10 restore | the archive has members with ../ or from the root, links or devices | refused before anything is unpacked" {
  hostile_member 'echo x >evil; tar -rPf "$1" --transform "s|evil|../../../../etc/cron.d/evil|" evil'
  restore
  untouched "holds '../../../../etc/cron.d/evil', which would land outside of its folder"
  hostile_member 'echo x >evil; tar -rPf "$1" --transform "s|evil|/etc/cron.d/evil|" evil'
  restore
  untouched "holds '/etc/cron.d/evil'"
  hostile_member 'echo x >evil; tar -rPf "$1" --transform "s|evil|repositories/..|" evil'
  restore
  untouched "holds 'repositories/..'"
  hostile_member 'ln -s /etc/cron.d extra; tar -rf "$1" extra'
  restore
  untouched 'holds a link or a device: lrwx'
  hostile_member 'echo x >a; ln a b; tar -rf "$1" a b'
  restore
  untouched 'holds a link or a device: hrw'
  hostile_member 'mknod extra b 7 0; tar -rf "$1" extra'
  restore
  untouched 'holds a link or a device: brw'
  run ! on_host test -e /etc/cron.d/evil
}

@test "S10 restore | an archive inside the archive has ../ | refused before anything is unpacked" {
  hostile_member 'echo x >evil; tar -czPf lfs.tar.gz --transform "s|evil|../../../etc/cron.d/evil|" evil; tar -rf "$1" lfs.tar.gz'
  restore
  untouched "holds '../../../etc/cron.d/evil'"
  cp "$KEPT/backups/$ID/${ID}_gitlab_backup.tar" "$TAR"
  (cd "$BATS_TEST_TMPDIR" && ln -s /etc packages && tar -czf "$BACKUPS/backups/$ID/shared.tar.gz" packages)
  seal
  restore
  untouched 'shared.tar.gz holds a link or a device'
}

@test "S10 restore | a backup of another version under this one's name | refused by what is in it, before it is unpacked" {
  hostile_member 'tar -xf "$1" backup_information.yml; sed -i "s/13.10.2/13.12.15/" backup_information.yml; tar --delete -f "$1" backup_information.yml; tar -rf "$1" backup_information.yml'
  restore
  untouched "$ID holds the data of GitLab 13.12.15: it was renamed"
}

@test "S10 restore | less room than three times the archive | refused with the numbers" {
  on_host mount -t tmpfs -o size=60m tmpfs /var/opt/gitlab/backups
  restore
  [ "$status" -eq 1 ]
  [[ $stderr == *'too little disk for a restore: '*'(three times the archive)'* ]]
  [ "$(data_of)" = "$BEFORE" ]
}

@test "S10 restore | another operation is under way | it ends at once and names it" {
  on_host bash -c 'exec 9>>/run/gitlab-codedeploy.lock; flock 9; echo "restore (run 1), since noon," >/run/gitlab-codedeploy.lock; touch "$STATE/locked"; exec sleep 100' &
  until [[ -e $STATE/locked ]]; do sleep 0.05; done
  restore
  untouched 'restore (run 1), since noon, is under way on this host: nothing was done'
}

@test "S10 restore | reconfigure fails with the backup's secrets | the former ones are back, no data was touched" {
  on_host touch "$STATE/broken-reconfigure"
  restore
  [ "$status" -eq 1 ]
  [[ $stderr == *'the former ones are back, and no data was touched'* ]]
  [ "$(data_of)" = "$BEFORE" ]
  run ! on_host test -e /var/lib/gitlab-codedeploy/restoring
}

@test "S10 restore | gitlab-backup fails half-way | services run again, it says what this GitLab is, and a second run succeeds" {
  on_host touch "$STATE/broken-restore"
  restore
  [ "$status" -eq 1 ]
  [[ $stderr == *'gitlab-backup restore ended with 1: rake aborted!'* ]]
  [[ $stderr == *"this GitLab holds parts of $ID: restore it again"* ]]
  all_up
  # Nobody takes this for a state worth keeping.
  run on_host "$ROOT/scripts/server/backup-gitlab.sh" --to-dir "$BACKUPS"
  [ "$status" -eq 1 ]
  [[ $output == *"the restore of $ID did not finish"* ]]
  on_host rm "$STATE/broken-restore"
  restore
  restored
}

@test "S10 restore | psql says errors and gitlab-backup ends with 0 | failed; what GitLab itself ignores is ignored" {
  on_host touch "$STATE/broken-restore-psql"
  restore
  [ "$status" -eq 1 ]
  [[ $stderr == *'ended with 0 and yet it failed: ERROR:  out of memory'* ]]
  all_up
}

@test "S10 restore | repositories are lost and gitlab-backup ends with 0 | failed by what each version says of it; services run again, and it says what this GitLab is" {
  local said
  # lib/backup/repository.rb of v13.10.2; gitaly-backup's log is text until
  # Gitaly v14.7.7 and then JSON (cmd/gitaly-backup/main.go, internal/backup/pipeline.go);
  # lib/backup/targets/repositories.rb says the last line since gitlab-foss ba0f3164, and goes on.
  local words=(
    '[Failed] restoring team/app (@hashed/d4/73)\nError 14:Connect Failed'
    'time="2021-10-12T14:25:42Z" level=error msg="restore failed" command=restore error="manager: remove repository: rpc error: code = NotFound desc = no such repository" gl_project_path=team/app relative_path=@hashed/d4/73.git storage_name=default'
    '{"command":"restore","error":"manager: create repository: rpc error: code = Internal desc = creating repository","gl_project_path":"team/app","level":"error","msg":"restore failed","pid":4711,"relative_path":"@hashed/d4/73.git","storage_name":"default","time":"2022-10-03T03:00:06.125Z"}'
    '{"level":"fatal","msg":"restore: resolve locator: unknown layout","pid":4711,"time":"2022-10-03T03:00:06.125Z"}'
    '\e[31m2025-10-07 21:58:02 UTC -- gitaly-backup exit status 1\e[0m'
  )
  on_host touch "$STATE/broken-restore-repositories"
  for said in "${words[@]}"; do
    printf '%b\n' "$said" >"$STATE/says-restore"
    restore
    [ "$status" -eq 1 ]
    [[ $stderr == *"gitlab-backup restore ended with 0 and yet it failed: $(printf '%b' "$said" | sed 's/\x1b\[[0-9;]*m//g' | head -n 1)"* ]] || {
      echo "not told: $said"
      return 1
    }
    [[ $stderr == *"this GitLab holds parts of $ID: restore it again"* ]]
    all_up
    on_host test -e /var/lib/gitlab-codedeploy/restoring
  done
  on_host rm "$STATE"/{broken-restore-repositories,says-restore}
  restore
  restored
}

@test "S10 restore | the first error of psql stands behind GitLab's own words | failed" {
  # lib/backup/database.rb of v13.10.2 prints them without a line end.
  echo 'Restoring PostgreSQL database gitlabhq_production ... ERROR:  permission denied to create extension "pg_stat_statements"' >"$STATE/says-restore"
  restore
  [ "$status" -eq 1 ]
  [[ $stderr == *'ended with 0 and yet it failed: Restoring PostgreSQL database gitlabhq_production ... ERROR:  permission denied'* ]]
  all_up
}

@test "S10: what psql says on PostgreSQL 16 of the superuser's things, and wikis that nobody has, are no failure" {
  # 18.4.1 says these; lib/backup/targets/database.rb ignores them, in 18.1 and later
  # the one on SET ROLE, too. Gitaly's internal/backup/pipeline.go on an empty wiki.
  cat >"$STATE/says-restore" <<'END'
Restoring PostgreSQL database gitlabhq_production ... ERROR:  must be owner of extension pg_trgm
ERROR:  must be owner of extension amcheck
ERROR:  must be able to SET ROLE "gitlab-psql"
2025-10-07 21:55:01 +0330 -- ------ BEGIN ERRORS -----
2025-10-07 21:55:01 +0330 -- ERROR:  must be able to SET ROLE "gitlab-psql"
2025-10-07 21:55:01 +0330 -- ------ END ERRORS -------
{"command":"restore","gl_project_path":"team/app.wiki","level":"warning","msg":"skipped restore","pid":4711,"relative_path":"@hashed/d4/73.wiki.git","storage_name":"default","time":"2025-10-07T18:26:06.131Z"}
END
  restore
  restored
}

@test "S10 restore | gitlab-backup hangs, as it does on a full disk | ended after its time, services run again" {
  on_host touch "$STATE/broken-restore-hang"
  RESTORE_TIMEOUT=2 restore
  [ "$status" -eq 1 ]
  [[ $stderr == *'gitlab-backup restore did not end within 2 s; is the disk full?'* ]]
  all_up
}

@test "S10 restore | afterwards the page does not answer, ANALYZE fails and advice is given | each is told, the first two fail" {
  on_host touch "$STATE"/broken-{page,psql,check}
  restore
  [ "$status" -eq 1 ]
  [[ $output == *$'sign-in\twrong\tthe page does not answer with 200; the last answer was HTTP 502'* ]]
  [[ $output == *$'statistics\twrong\tANALYZE failed'* ]]
  [[ $output == *$'gitlab:check\tlook\t1 things to look at'* ]]
  [[ ${stderr##*$'\n'} == *"$ID is restored, but something is wrong: sign-in"* ]]
}

@test "S10 restore | SIGTERM while gitlab-backup runs | services run again" {
  on_host touch "$STATE/broken-restore-hang"
  SESSION='setsid --wait'
  restore >"$BATS_TEST_TMPDIR/said" &
  until [[ -s $STATE/session ]]; do sleep 0.05; done
  # All processes at once, as systemd does it.
  on_host pkill -TERM --session "$(tr -d ' ' <"$STATE/session")"
  wait $! || true
  grep -q "error: stopped by a signal" "$BATS_TEST_TMPDIR/said"
  grep -q "this GitLab holds parts of $ID" "$BATS_TEST_TMPDIR/said"
  all_up
}

@test "S10 restore | SIGKILL at any step | the second run brings everything back, services up" {
  local step
  SESSION='setsid --wait'
  for step in 'tar -tf' 'gitlab-ctl reconfigure' 'gitlab-ctl stop' 'ln -f' 'gitlab-backup restore' 'tar -xzpf' 'gitlab-ctl restart'; do
    case $step in
      gitlab-*)
        cp "$FIXTURES/gitlab-data.sh" "$STATE/${step%% *}"
        kill_after "${step%% *}" "${step#* }" "$STATE/${step%% *}"
        ;;
      *) kill_after "${step%% *}" "${step#* }" ;;
    esac
    restore
    echo "$step: $status"
    [ "$status" -eq 137 ]
    killed_is_gone
    cp "$FIXTURES/gitlab-data.sh" "$STUBS/gitlab-ctl"
    cp "$FIXTURES/gitlab-data.sh" "$STUBS/gitlab-backup"
    restore
    restored
  done
}

@test "S10: arguments of a restore are checked by pattern, before anything is done" {
  local case
  for case in '--backup=x' "--backup=1606734000_2020_11_30_13.10.2';id;'" '--backup=../1606734000_2020_11_30_13.10.2' '--backup=' \
    '--from-dir=relative' '--from-dir=/a;id' '--bucket=a' '--force=1'; do
    run on_host "$ROOT/scripts/server/restore-gitlab.sh" --backup "$ID" --from-dir "$BACKUPS" --yes "${case%%=*}" "${case#*=}"
    echo "$case: $output"
    [ "$status" -eq 2 ]
  done
  [ "$(data_of)" = "$BEFORE" ]
}
