#!/usr/bin/env bats
# shellcheck disable=SC2016 # the stubs expand it
# What is left of background migrations, asked of a real PostgreSQL with the
# tables of 13.10, 14.9 and 15.4.

load helper
load fixtures/postgresql

setup_file() { start_postgresql; }
teardown_file() { stop_postgresql; }

setup() {
  require_postgresql
  use_stubs
  stub gitlab-rails 'echo "${REMAINING-0}"'
  new_database migrations
  stub_gitlab_psql
}

jobs_table() {
  sql "CREATE TABLE background_migration_jobs (id bigserial PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(), status smallint NOT NULL DEFAULT 0, class_name text NOT NULL, arguments jsonb NOT NULL DEFAULT '[]')"
}

# As 14.0 has it; 13.11 the same without what is not asked for.
batched_table() {
  sql "CREATE TABLE batched_background_migrations (id bigserial PRIMARY KEY, min_value bigint NOT NULL DEFAULT 1, max_value bigint NOT NULL DEFAULT 1,
    batch_size integer NOT NULL DEFAULT 1, sub_batch_size integer NOT NULL DEFAULT 1, \"interval\" smallint NOT NULL DEFAULT 120,
    status smallint NOT NULL DEFAULT 0, job_class_name text NOT NULL, batch_class_name text NOT NULL DEFAULT 'x', table_name text NOT NULL,
    column_name text NOT NULL, job_arguments jsonb NOT NULL DEFAULT '\"[]\"')"
}

# 15.x: a job belongs to one of two schemas.
batched_table_15() {
  batched_table
  sql "ALTER TABLE batched_background_migrations ADD gitlab_schema text NOT NULL DEFAULT 'gitlab_main', ADD on_hold_until timestamptz"
}

batched() { sql "INSERT INTO batched_background_migrations (status, job_class_name, table_name, column_name, job_arguments) VALUES ($1, '$2', '$3', 'id', '$4')"; }

# left VERSION prints what that version has left: number, failed ones, text.
left() {
  run bash -c 'set -Eeuo pipefail
    cd "$ROOT"
    source scripts/lib/common.sh; source scripts/lib/host.sh; source scripts/lib/migrations.sh
    INSTALLED=$1
    status=0
    migrations_left || status=$?
    echo "$LEFT $FAILED $LEFT_TEXT"
    exit "$status"' _ "$1"
}

@test "S8: 13.10 without the batched table: only Sidekiq's are counted" {
  jobs_table
  REMAINING=0 left 13.10.2
  [ "$status $output" = '0 0 0 0 batched (0 failed), 0 in Sidekiq, 0 of MigrateMergeRequestDiffCommitUsers' ]
  REMAINING=5 left 13.10.2
  [[ $output == '5 0 '*'5 in Sidekiq'* ]]
}

@test "S8: 14.9: batched ones count unless finished or finalized, whatever else they are, and those of Sidekiq's table that have to be" {
  jobs_table
  batched_table
  batched 3 Done users '[]'
  batched 6 Finalized users '[]'
  left 14.9.5
  [[ $output == '0 0 '* ]]
  local state
  for state in 0 1 2 4 5; do
    batched "$state" "Class$state" public.events '["a", "b"]'
  done
  sql "INSERT INTO background_migration_jobs (status, class_name) VALUES (0, 'MigrateMergeRequestDiffCommitUsers'),
    (1, 'MigrateMergeRequestDiffCommitUsers'), (0, 'Other'), (0, 'StealMigrateMergeRequestDiffCommitUsers')"
  left 14.9.5
  [ "$status" -eq 0 ]
  [[ $output == '6 1 5 batched (1 failed), 0 in Sidekiq, 1 of MigrateMergeRequestDiffCommitUsers; Class0 on public.events (status 0),'* ]]
}

@test "S8: 15.4: Rails is not asked, and its extra columns do not matter" {
  jobs_table
  batched_table_15
  batched 1 Backfill projects '[null, "up"]'
  REMAINING='not a number' left 15.4.6
  [ "$status" -eq 0 ]
  [[ $output == '1 0 1 batched'* ]]
}

@test "S8: what cannot be is not finished: no table in 14.x, another table of that name, a database that is down" {
  jobs_table
  left 14.0.12
  [ "$status" -eq 1 ]
  [[ $output == 'unknown 0 the database has no table batched_background_migrations'* ]]
  sql 'CREATE TABLE batched_background_migrations (id int)'
  left 14.0.12
  [ "$status" -eq 1 ]
  [[ $output == 'unknown 0 gitlab-psql ended with 1: '* ]]
  stub gitlab-psql 'exec psql -h /nowhere "$@"'
  left 13.10.2
  [ "$status" -eq 1 ]
  [[ $output == 'unknown 0 gitlab-psql ended with 2: '* ]]
}
