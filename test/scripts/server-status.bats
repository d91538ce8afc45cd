#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2030,SC2031 # the stubs expand it; each test is a subshell
# The server's status, with commands of GitLab's that play their part and a real
# PostgreSQL. The operator's command around it is tested in cmd/ops.

load helper
load fixtures/host/systemd
load fixtures/postgresql

setup_file() { start_postgresql; }
teardown_file() { stop_postgresql; }

setup() {
  require_postgresql
  use_stubs
  STATE=$BATS_TEST_TMPDIR/state
  mkdir -p "$STATE"
  export STATE
}

# gitlab VERSION makes a GitLab whose parts all are well.
gitlab() {
  require_root
  start_systemd
  mkdir -p "$STATE/gitlab"
  echo "gitlab-ce $1" >"$STATE/gitlab/version-manifest.txt"
  stub gitlab-ctl 'echo "run: nginx: (pid 1) 10s; run: log: (pid 2) 10s"; echo "run: puma: (pid 3) 10s; run: log: (pid 4) 10s"'
  stub gitlab-rails 'echo 0'
  new_database status
  stub_gitlab_psql
  sql "CREATE TABLE background_migration_jobs (id bigserial PRIMARY KEY, status smallint NOT NULL DEFAULT 0, class_name text NOT NULL);
    CREATE TABLE ci_runners (id bigserial PRIMARY KEY, contacted_at timestamp without time zone);
    INSERT INTO ci_runners (contacted_at) VALUES ((now() AT TIME ZONE 'UTC') - interval '1 hour'), ((now() AT TIME ZONE 'UTC') - interval '1 day'), (NULL)"
  [[ $1 == 13.* ]] || sql "CREATE TABLE batched_background_migrations (id bigserial PRIMARY KEY, status smallint NOT NULL,
    job_class_name text NOT NULL, table_name text NOT NULL, column_name text NOT NULL, job_arguments jsonb NOT NULL DEFAULT '[]')"
  stub curl 'printf 200'
  stub df 'printf "Filesystem Size Used Avail Capacity Mounted on\n/dev/a 30G 10G 20G 34%% /\n/dev/b 200G 20G 180G 10%% /var/opt/gitlab\n"'
}

server_status() {
  STATUS_GITLAB=$STATE/gitlab OPERATION_RUNS=$STATE/runs OPERATION_LOCK=$STATE/lock \
    run --separate-stderr "$ROOT/scripts/server/server-status.sh"
}

part() { grep -P "^$1\t" <<<"$output"; }

@test "S8: the server's status: all is well" {
  gitlab 13.10.2
  server_status
  [ "$status" -eq 0 ]
  [[ $(part version) == version$'\t-\tgitlab-ce 13.10.2, '* ]]
  [ "$(part services)" = $'services\tok\tall 2 are up' ]
  [ "$(part sign-in)" = $'sign-in\tok\tthe page answers with 200' ]
  [[ $(part disk) == *$'disk\tok\t/var/opt/gitlab: 180G of 200G free'* ]]
  [ "$(part migrations)" = $'migrations\tok\tno background migration is left' ]
  [ "$(part runners)" = $'runners\tok\t1 of 3 were in contact within two hours' ]
  if grep -q 'FROM batched' "$CALLS"; then return 1; fi
  sql "UPDATE ci_runners SET contacted_at = NULL"
  server_status
  [ "$(part runners)" = $'runners\twrong\tnone of 3 was in contact within two hours' ]
}

@test "S8: what is asked of GitLab fits its version" {
  gitlab 14.9.5
  sql "INSERT INTO batched_background_migrations (status, job_class_name, table_name, column_name)
    VALUES (3, 'Done', 'users', 'id'), (1, 'Backfill', 'projects', 'id'), (4, 'Failed', 'events', 'id')"
  server_status
  [[ $(part migrations) == $'migrations\twrong\tno upgrade until they are finished: 2 batched (1 failed), 0 in Sidekiq, '*'Backfill on projects (status 1)'* ]]
  gitlab 15.4.6
  : >"$CALLS"
  server_status
  [ "$(part migrations)" = $'migrations\tok\tno background migration is left' ]
  if grep -q gitlab-rails "$CALLS"; then return 1; fi
}

@test "S8 status | a part of GitLab is broken, hangs or talks rubbish | that part says so, and the others are told" {
  gitlab 14.9.5
  stub gitlab-ctl 'echo "run: nginx: (pid 1) 10s"; echo "down: puma: 3s, normally up; run: log: (pid 4) 10s"; exit 3'
  stub gitlab-rails 'exec sleep 60'
  stub gitlab-psql 'echo "psql: could not connect to server" >&2; exit 2'
  stub curl 'printf 502'
  stub df 'printf "Filesystem Size Used Avail Capacity Mounted on\n/dev/a 30G 29G 1G 97%% /\n"'
  STATUS_TIMEOUT=1 server_status
  [ "$status" -eq 0 ]
  [ "$(part services)" = $'services\twrong\tdown: puma; 1 are up' ]
  [ "$(part sign-in)" = $'sign-in\twrong\tthe page does not answer with 200; the answer was HTTP 502' ]
  [ "$(part disk)" = $'disk\twrong\t/ is 97% full: 1G of 30G free' ]
  [[ $(part migrations) == *$'unknown\tgitlab-psql ended with 2: psql: could not connect to server' ]]
  [[ $(part runners) == *$'unknown\tgitlab-psql ended with 2: psql: could not connect to server' ]]
  stub_gitlab_psql
  STATUS_TIMEOUT=1 server_status
  [[ $(part migrations) == *$'unknown\tgitlab-rails takes longer than 1 s' ]]
  stub gitlab-rails 'echo "a deprecation"; echo 0'
  server_status
  [[ $(part migrations) == *$'unknown\tGitlab::BackgroundMigration.remaining: got '* ]]
  rm -r "$STATE/gitlab"
  server_status
  [ "$status" -eq 0 ]
  [[ $(part version) == *$'wrong\tGitLab is not installed'* ]]
  [[ $(part services) == *down* ]]
}

@test "S8: operations: the one that holds the lock, and the last ones" {
  gitlab 15.4.6
  local run=$STATE/runs/20261124T185436-0a1b2c3d
  mkdir -p "$run"
  echo upgrade >"$run/operation"
  echo 2026-11-24T18:54:36Z >"$run/started"
  echo 1 >"$run/status"
  echo 'backup (run 20261124T190000-00000001), since 2026-11-24T19:00:00Z,' >"$STATE/lock"
  flock "$STATE/lock" sleep 30 3>&- &
  local holder=$! tries=0
  while flock --nonblock "$STATE/lock" true; do
    ((tries++ < 500))
    sleep 0.01
  done
  server_status
  [[ $(part operation) == *"under way: backup (run 20261124T190000-00000001), since 2026-11-24T19:00:00Z"* ]]
  [[ $(part operation) == *"upgrade ended with 1, started 2026-11-24T18:54:36Z (run 20261124T185436-0a1b2c3d)"* ]]
  pkill --parent "$holder" || true
  wait "$holder" || true
}
