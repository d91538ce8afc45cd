#!/usr/bin/env bats
# shellcheck disable=SC2016 # text for stubs
# The reset of tokens, on a real PostgreSQL with tables shaped as in 13.10,
# 14.9 and 15.4 (fixtures/database).

load helper
load fixtures/postgresql

VERSIONS='13.10 14.9 15.4'

setup_file() { start_postgresql; }
teardown_file() { stop_postgresql; }

setup() {
  require_tool psql
  require_root
  use_stubs
  export OPERATION_LOCK=$BATS_TEST_TMPDIR/lock RESET_NAMES=$BATS_TEST_TMPDIR/names
  unset RUN_ID
}

# gitlab VERSION makes a database as that version has it.
gitlab() {
  new_database gitlab "$ROOT/test/scripts/fixtures/database/gitlab-$1.sql"
  stub_gitlab_psql
  rm -rf "$RESET_NAMES"
}

reset() { run --separate-stderr "$ROOT/scripts/server/reset-tokens.sh" "$@"; }

# everything prints all rows of all tables.
everything() { "$PG_BIN/pg_dump" --data-only --no-owner | sed '/^--/d; /^\\/d'; }

# counts prints what the result says of a table: before and after.
counts() { python3 -c 'import json, sys; c = json.loads(sys.argv[1])["reset"][sys.argv[2]]; print(c["before"], c.get("after", "-"))' "$output" "$1"; }

@test "S12: the registration tokens of instance, groups and projects are reset, and nothing else, on each version" {
  local version rest
  for version in $VERSIONS; do
    gitlab "$version"
    rest=$(sql "UPDATE projects SET runners_token = NULL, runners_token_encrypted = NULL; UPDATE namespaces SET runners_token = NULL, runners_token_encrypted = NULL;
      UPDATE application_settings SET runners_registration_token_encrypted = NULL" && everything | sort)
    gitlab "$version"
    reset --yes yes
    echo "$version: $output $stderr"
    [ "$status" -eq 0 ]
    [ "$(counts application_settings)" = '1 0' ]
    [ "$(counts namespaces)" = '2 0' ]
    [ "$(counts projects)" = '3 0' ]
    [ "$(everything | sort)" = "$rest" ]
    [[ $stderr == *'may take the old registration token for another minute'* ]]
  done
}

@test "S12: a second run finds nothing left and succeeds" {
  gitlab 14.9
  reset --yes yes
  reset --yes yes
  [ "$status" -eq 0 ]
  [ "$(counts projects)" = '0 0' ]
}

@test "S12: --check shows the numbers and changes nothing" {
  local version before
  for version in $VERSIONS; do
    gitlab "$version"
    before=$(everything)
    reset --check yes --lost-secrets yes
    echo "$version: $output $stderr"
    [ "$status" -eq 0 ]
    [ "$(counts projects)" = '3 -' ]
    [ "$(counts ci_variables)" = '2 -' ]
    [[ $stderr == *'3  registration tokens of projects (projects)'* ]]
    [ "$(everything)" = "$before" ]
    [ ! -e "$RESET_NAMES" ]
  done
}

@test "S12: --lost-secrets removes all that GitLab's page of the version lists, and keeps the names of variables" {
  local version table names
  for version in $VERSIONS; do
    gitlab "$version"
    reset --yes yes --lost-secrets yes
    echo "$version: $output $stderr"
    [ "$status" -eq 0 ]
    [ "$(counts ci_runners)" = '2 0' ]
    [ "$(counts ci_builds)" = '2 0' ]
    [ "$(counts application_settings.ci_jwt_signing_key)" = '1 0' ]
    for table in ci_variables ci_group_variables ci_instance_variables ci_pipeline_schedule_variables web_hooks web_hook_logs; do
      [ "$(sql "SELECT count(*) FROM $table")" -eq 0 ]
    done
    # Until 14.0 the page leaves these alone: they are not encrypted.
    if [[ $version == 13.10 ]]; then
      [ "$(sql 'SELECT count(*) FROM services')" -eq 1 ]
      [ "$(sql 'SELECT count(*) FROM jira_tracker_data')" -eq 1 ]
    else
      [ "$(sql 'SELECT count(*) FROM integrations')" -eq 0 ]
      [ "$(sql 'SELECT count(*) FROM open_project_tracker_data')" -eq 0 ]
    fi
    # And the rows that held tokens are all still there.
    [ "$(sql 'SELECT count(*) FROM projects')" -eq 4 ]
    [ "$(sql 'SELECT count(*) FROM ci_builds')" -eq 3 ]
    [ "$(sql 'SELECT count(*) FROM ci_runners')" -eq 2 ]

    names=$(find "$RESET_NAMES" -type f)
    [ "$(stat -c %a "$names")" = 600 ]
    [ "$(stat -c %a "$RESET_NAMES")" = 700 ]
    [[ $output == *"\"names\": \"$names\""* ]]
    grep -qx $'ci_variables\tteam/web\tAWS_KEY\t\\*' "$names"
    # COPY writes a tab and a line end of the data as \t and \n.
    grep -qxF $'ci_variables\tproject_id=4\tPASSWORD\treview/\\t$(id)\'\\n' "$names"
    grep -q $'^ci_group_variables\tteam\tGROUP_KEY\t' "$names"
    grep -q $'^ci_instance_variables\t\tINSTANCE_KEY\t' "$names"
    grep -q $'^ci_pipeline_schedule_variables\tpipeline_schedule_id=7\tNIGHTLY\t' "$names"
    [ "$(wc -l <"$names")" -eq 5 ]
    run ! grep -r secret-value "$RESET_NAMES"
  done
}

@test "S12: what a version does not have is said, and the rest is reset" {
  gitlab 15.4
  sql 'ALTER TABLE projects DROP COLUMN runners_token; ALTER TABLE namespaces DROP COLUMN runners_token, DROP COLUMN runners_token_encrypted; DROP TABLE slack_integrations'
  reset --yes yes --lost-secrets yes
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [ "$(counts projects)" = '2 0' ]
  for missing in projects.runners_token namespaces.runners_token namespaces.runners_token_encrypted ci_builds.token slack_integrations; do
    [[ $stderr == *"this version has no $missing: there is nothing to reset"* ]]
    [[ $output == *"\"$missing\""* ]]
  done
  run ! counts namespaces
}

@test "S12 reset-tokens | the database refuses one of the changes | all of it is undone" {
  local version before table
  for version in $VERSIONS; do
    gitlab "$version"
    sql 'CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '\''refused'\''; END $$'
    before=$(everything)
    for table in application_settings projects ci_builds web_hooks; do
      sql "CREATE TRIGGER refuse BEFORE $([[ $table == web_hooks ]] && echo TRUNCATE || echo UPDATE) ON $table EXECUTE FUNCTION refuse()"
      reset --yes yes --lost-secrets yes
      echo "$version $table: $output $stderr"
      [ "$status" -eq 1 ]
      [[ $stderr == *'refused'*'undid all of it: nothing was changed'* ]]
      [ -z "$output" ]
      [ "$(everything)" = "$before" ]
      sql "DROP TRIGGER refuse ON $table"
    done
  done
}

@test "S12 reset-tokens | killed in the middle of the transaction | all of it is undone, and the next run does it" {
  gitlab 14.9
  local before pid deadline=$((SECONDS + 30))
  before=$(everything)
  # The update of the jobs comes late and waits for this session.
  psql --quiet --no-psqlrc --command 'BEGIN; LOCK TABLE ci_builds IN SHARE MODE; SELECT pg_sleep(60)' >/dev/null 2>&1 3>&- &
  local holder=$!
  until [ "$(sql "SELECT count(*) FROM pg_locks WHERE relation = 'ci_builds'::regclass AND mode = 'ShareLock' AND granted")" -eq 1 ]; do
    ((SECONDS < deadline))
    sleep 0.05
  done
  setsid "$ROOT/scripts/server/reset-tokens.sh" --yes yes --lost-secrets yes >/dev/null 2>&1 3>&- &
  pid=$!
  until [ "$(sql "SELECT count(*) FROM pg_locks WHERE NOT granted")" -ge 1 ]; do
    ((SECONDS < deadline))
    sleep 0.05
  done
  pkill -KILL --session "$pid"
  wait "$pid" || true
  sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()" >/dev/null
  wait "$holder" || true
  # PostgreSQL notices the dead client when it goes on.
  until [ "$(sql "SELECT count(*) FROM pg_stat_activity WHERE datname = 'gitlab' AND pid <> pg_backend_pid()")" -eq 0 ]; do
    ((SECONDS < deadline))
    sleep 0.05
  done
  [ "$(everything)" = "$before" ]
  flock --timeout 10 "$OPERATION_LOCK" true
  reset --yes yes --lost-secrets yes
  [ "$status" -eq 0 ]
  [ "$(counts ci_builds)" = '2 0' ]
}

@test "S12 reset-tokens | a variable is added after its names were written | all of it is undone, and it says to run again" {
  gitlab 14.9
  stub gitlab-psql "statements=\$(cat)
    [[ \$statements != *'DELETE FROM ci_variables'* ]] ||
      psql -h '$PGHOST' -U '$PGUSER' -d gitlab -qc \"INSERT INTO ci_variables (id, key, project_id) VALUES (9, 'LATE', 1)\"
    exec psql -h '$PGHOST' -U '$PGUSER' -d gitlab \"\$@\" <<<\"\$statements\""
  reset --yes yes --lost-secrets yes
  echo "$stderr"
  [ "$status" -eq 1 ]
  [[ $stderr == *'ci_variables changed since its names were written: run this again'* ]]
  [ "$(sql 'SELECT count(*) FROM ci_variables')" -eq 3 ]
  [ "$(sql 'SELECT count(*) FROM projects WHERE runners_token_encrypted IS NOT NULL')" -eq 2 ]
}

@test "S12 reset-tokens | an unknown table refers to the webhooks | refused before anything is changed" {
  gitlab 14.9
  sql 'CREATE TABLE precious (id integer PRIMARY KEY, web_hook_id integer REFERENCES web_hooks)'
  local before
  before=$(everything)
  reset --yes yes --lost-secrets yes
  [ "$status" -eq 1 ]
  [[ $stderr == *"precious refers to tables that would be emptied, and GitLab's page does not name it: nothing was changed"* ]]
  [ "$(everything)" = "$before" ]
  # The tokens alone have nothing to do with it.
  reset --yes yes
  [ "$status" -eq 0 ]
}

@test "S12 reset-tokens | PostgreSQL is down, or another database | it says so, and nothing was changed" {
  gitlab 14.9
  stub gitlab-psql 'echo "psql: error: could not connect to server" >&2; exit 2'
  reset --yes yes
  [ "$status" -eq 1 ]
  [[ $stderr == *"GitLab's database does not answer: is PostgreSQL up"* ]]

  new_database empty
  stub_gitlab_psql
  reset --yes yes
  [ "$status" -eq 1 ]
  [[ $stderr == *"has no application_settings, so it is not GitLab's"* ]]
}

@test "S12 reset-tokens | the names of variables cannot be written | nothing was changed" {
  gitlab 15.4
  local before
  before=$(everything)
  : >"$RESET_NAMES" # a file where the folder should be
  reset --yes yes --lost-secrets yes
  [ "$status" -eq 1 ]
  [[ $stderr == *'nothing was changed'* ]]
  [ "$(everything)" = "$before" ]
}

@test "S12 reset-tokens | another operation is under way | it ends at once, and says which" {
  gitlab 14.9
  echo 'upgrade (run 20261124T185436-0a1b2c3d), since 2026-11-24T18:54:36Z,' >"$OPERATION_LOCK"
  exec 8>>"$OPERATION_LOCK"
  flock 8
  reset --yes yes
  exec 8>&-
  [ "$status" -eq 1 ]
  [[ $stderr == *'upgrade (run 20261124T185436-0a1b2c3d)'* ]]
  [ "$(sql 'SELECT count(*) FROM projects WHERE runners_token_encrypted IS NOT NULL')" -eq 2 ]
}

@test "S12: it asks once, and twice for lost secrets; without a terminal it wants --yes" {
  gitlab 14.9
  reset </dev/null
  [ "$status" -eq 2 ]
  [[ $stderr == *'no terminal to ask on'* ]]
  local before terminal=$ROOT/test/scripts/fixtures/ops-terminal.py
  before=$(everything)
  run python3 "$terminal" 80 $'n\n' env PATH="$PATH" "$ROOT/scripts/server/reset-tokens.sh"
  [ "$status" -eq 1 ]
  run python3 "$terminal" 80 $'y\nn\n' env PATH="$PATH" "$ROOT/scripts/server/reset-tokens.sh" --lost-secrets yes
  echo "$output"
  [ "$status" -eq 1 ]
  [[ $output == *'This cannot be undone'* ]]
  [ "$(everything)" = "$before" ]
  run python3 "$terminal" 80 $'y\n' env PATH="$PATH" "$ROOT/scripts/server/reset-tokens.sh"
  [ "$status" -eq 0 ]
  [ "$(everything)" != "$before" ]
}

@test "S12: wrong arguments and tracing are refused" {
  reset --lost-secrets maybe --yes yes
  [ "$status" -eq 2 ]
  [[ $stderr == *"--lost-secrets: got 'maybe', want yes or no"* ]]
  reset --force
  [ "$status" -eq 2 ]
  run bash -x "$ROOT/scripts/server/reset-tokens.sh" --yes yes
  [ "$status" -eq 1 ]
  [[ $output == *'tracing (set -x) is on'* ]]
}
