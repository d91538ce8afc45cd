# What is left of GitLab's background migrations, for the upgrade. Source it
# after common.sh and host.sh, do not run it. Keep it to bash 4.2, like common.sh.
#
# GitLab has two kinds: jobs of Sidekiq until 15.0, and from 13.11 on, by and by
# for all, batched ones, with a row each in the database. A stop may be left only
# when neither is pending, running or failed.
# https://docs.gitlab.com/update/background_migrations/
# shellcheck shell=bash disable=SC2034 # who sources it uses what it sets

# Seconds between two looks; each starts Rails until 15.0.
MIGRATIONS_POLL=${MIGRATIONS_POLL:-30}
# Seconds for one question.
MIGRATIONS_TIMEOUT=${MIGRATIONS_TIMEOUT:-900}

# Jobs that are known to stay "pending" though nothing is left to do for them.
# https://gitlab.com/gitlab-org/gitlab/-/blob/master/doc/update/versions/gitlab_14_changes.md
STUCK_JOBS="'PopulateTopicsTotalProjectsCountCache', 'UpdateVulnerabilityOccurrencesLocation',
 'PopulateTopicsNonPrivateProjectsCount', 'ResetDuplicateCiRunnersTokenValuesOnProjects'"

# ask_gitlab COMMAND… sets ANSWER to what it prints on stdout. It fails when the
# command does, with the reason in ANSWER.
ask_gitlab() {
  local status=0 errors
  errors=$(mktemp)
  ANSWER=$(timeout "$MIGRATIONS_TIMEOUT" "$@" 2>"$errors" 9>&- </dev/null) || status=$?
  case $status in
    0) ;;
    124) ANSWER="$1 takes longer than $MIGRATIONS_TIMEOUT s" ;;
    *) ANSWER="$1 ended with $status: $(tail -n 1 "$errors")" ;;
  esac
  rm -f "$errors"
  return "$status"
}

ask_database() { ask_gitlab gitlab-psql -X -t -A -F $'\t' -c "$1"; }

# migrations_left looks at what INSTALLED has left: LEFT is their number, FAILED
# that of failed ones, LEFT_TEXT tells for people. It fails, with LEFT
# "unknown", when a command fails or answers anything unexpected.
migrations_left() {
  local table queued='' jobs='' batched=''
  LEFT=unknown FAILED=0 LEFT_TEXT='' BATCHED='' DIFF_JOBS=0 QUEUED=0
  for table in batched_background_migrations background_migration_jobs; do
    ask_number "the table $table" "SELECT count(to_regclass('public.$table'))" || return
    ((ANSWER == 0)) || case $table in
      batched*) batched=1 ;;
      *) jobs=1 ;;
    esac
  done
  # All versions from 14.0 on have both: their absence is another database's.
  if version_at_least "$INSTALLED" 14.0.0 && [[ -z $batched ]]; then
    LEFT_TEXT="the database has no table batched_background_migrations, and GitLab $INSTALLED has one"
    return 1
  fi
  [[ -z $batched ]] || read_batched || return
  if [[ -n $jobs ]] && version_at_least "$INSTALLED" 14.3.0 && ! version_at_least "$INSTALLED" 15.1.0; then
    # 14.5 and later run what is left of these in the foreground, for hours.
    ask_number "MigrateMergeRequestDiffCommitUsers" \
      "SELECT count(*) FROM background_migration_jobs WHERE status = 0 AND class_name ~ '(^|::)MigrateMergeRequestDiffCommitUsers\$'" || return
    DIFF_JOBS=$((10#$ANSWER))
  fi
  if ! version_at_least "$INSTALLED" 15.1.0; then
    ask_gitlab gitlab-rails runner -e production 'puts Gitlab::BackgroundMigration.remaining' || {
      LEFT_TEXT=$ANSWER
      return 1
    }
    is_number "Gitlab::BackgroundMigration.remaining" || return
    QUEUED=$((10#$ANSWER))
  fi
  local rows=0
  [[ -z $BATCHED ]] || rows=$(wc -l <<<"$BATCHED")
  LEFT=$((rows + DIFF_JOBS + QUEUED))
  LEFT_TEXT="$rows batched ($FAILED failed), $QUEUED in Sidekiq, $DIFF_JOBS of MigrateMergeRequestDiffCommitUsers"
  [[ -z $BATCHED ]] || LEFT_TEXT+="; $(awk -F '\t' '{ print $3 " on " $4 " (status " $2 ")" }' <<<"$BATCHED" | head -n 3 | paste -s -d ',' -)"
}

is_number() {
  [[ $ANSWER =~ ^[0-9]{1,9}$ ]] && return
  LEFT_TEXT="$1: got '${ANSWER:0:100}', want a number"
  return 1
}

# ask_number WHAT QUERY sets ANSWER to the number that the query gives.
ask_number() {
  ask_database "$2" || {
    LEFT_TEXT=$ANSWER
    return 1
  }
  is_number "$1"
}

# read_batched sets BATCHED to a line for each that is not finished (3) or
# finalized (6): id, status, class, table, column, arguments. 4 is failed.
read_batched() {
  local line form=$'^[0-9]+\t[0-9]+\t[A-Za-z0-9_:]+\t[a-z0-9_.]+\t[a-z0-9_]+\t\\[.*\\]$'
  ask_database "SELECT id, status, job_class_name, table_name, column_name, job_arguments FROM batched_background_migrations WHERE status NOT IN (3, 6) ORDER BY id" || {
    LEFT_TEXT=$ANSWER
    return 1
  }
  [[ -n $ANSWER ]] || return 0
  while IFS= read -r line; do
    [[ $line =~ $form ]] || {
      LEFT_TEXT="batched_background_migrations: '${line:0:100}' is no row of it"
      return 1
    }
  done <<<"$ANSWER"
  BATCHED=$ANSWER
  FAILED=$(awk -F '\t' '$2 == 4' <<<"$BATCHED" | wc -l)
}

# is_stuck is true when what is left does not get less by itself.
is_stuck() { ((FAILED > 0 || DIFF_JOBS > 0 && QUEUED == 0)); }

# remedies tells what GitLab's documentation does about failed ones.
remedies() { printf 'For each: gitlab-rake "gitlab:background_migrations:finalize[<class>,<table>,<column>,<arguments>]"'; }

# fix_known_jobs applies the documented remedies, and nothing else: it finishes
# failed batched migrations, and runs and clears jobs that Sidekiq has lost.
# https://docs.gitlab.com/update/background_migrations/#finish-a-failed-migration-manually
fix_known_jobs() {
  local id status class table column arguments
  while IFS=$'\t' read -r id status class table column arguments; do
    [[ $status == 4 ]] || continue
    log "finishing the batched migration $id: $class on $table.$column $arguments"
    # Rake divides arguments by commas.
    logged timeout "$(seconds_left)" gitlab-rake \
      "gitlab:background_migrations:finalize[$class,$table,$column,${arguments//,/\\,}]" || log "that failed: $(last_logged)"
  done <<<"$BATCHED"
  ((DIFF_JOBS > 0 && QUEUED == 0)) || return 0
  log "running $DIFF_JOBS jobs of MigrateMergeRequestDiffCommitUsers that Sidekiq does not have any more"
  logged timeout "$(seconds_left)" gitlab-rails runner -e production "$(rerun_diff_jobs)" || log "that failed: $(last_logged)"
  logged timeout "$(seconds_left)" gitlab-rails runner -e production "$(clear_stuck_jobs)" || log "that failed: $(last_logged)"
}

# rerun_diff_jobs prints Ruby that runs the pending jobs one after the other;
# each marks itself as done.
rerun_diff_jobs() {
  cat <<'END_OF_RUBY'
jobs = Gitlab::Database::BackgroundMigrationJob.for_migration_class('MigrateMergeRequestDiffCommitUsers').pending
jobs.find_each do |job|
  Gitlab::BackgroundMigration.perform('MigrateMergeRequestDiffCommitUsers', job.arguments)
  puts "job #{job.id} is done"
end
END_OF_RUBY
}

clear_stuck_jobs() {
  printf 'Gitlab::Database::BackgroundMigrationJob.pending.where(class_name: [%s]).find_each { |job| job.class.mark_all_as_succeeded(job.class_name, job.arguments) }\n' \
    "$(tr -d '\n' <<<"$STUCK_JOBS")"
}
