#!/usr/bin/env bash
#/ Usage: reset-tokens.sh [--lost-secrets yes] [--check yes] [--yes yes]
#/
#/ Resets what registers runners: the registration tokens of the instance, of
#/ groups and of projects, in one transaction. GitLab makes new ones when they
#/ are asked for. Runners that are registered stay so. Run it as root on the
#/ server, after a restore.
#/
#/ OPTIONS:
#/   --lost-secrets yes  When gitlab-secrets.json is lost: also everything else
#/                       that GitLab says to remove because nothing can decrypt
#/                       it any more: tokens of runners and jobs, the key of
#/                       CI_JOB_JWT, CI/CD variables, webhooks, integrations.
#/                       The names of the variables are kept in a file.
#/   --check yes         Only show what would be reset.
#/   --yes yes           Do not ask. Needed without a terminal.
#/   -h, --help          Show this message.
#/
#/ Progress and what is left to do are on stderr. The result on stdout is one
#/ line of JSON: {"reset": {"projects": {"before", "after"}, …}, "missing": […],
#/ "names"}; with --check there is no "after". names is the file of the names.
#/ Exit status: 0 done; 1 failed, and nothing was changed; 2 wrong use.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/host.sh"
# shellcheck source=scripts/lib/operation.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/operation.sh"
# shellcheck source=scripts/lib/database.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/database.sh"

# Where the names of deleted variables are written. For tests.
RESET_NAMES=${RESET_NAMES:-/var/lib/gitlab-codedeploy/variables}

# What is cleared: table, columns, and what that is. A line whose columns this
# version does not have is said to be missing.
REGISTRATION_TOKENS='
application_settings runners_registration_token,runners_registration_token_encrypted the registration token of the instance
namespaces runners_token,runners_token_encrypted registration tokens of groups
projects runners_token,runners_token_encrypted registration tokens of projects
'

# The page of 13.10 is doc/raketasks/backup_restore.md, later
# https://docs.gitlab.com/administration/backup_restore/troubleshooting_backup_gitlab/#when-the-secrets-file-is-lost
LOST_TOKENS='
ci_runners token,token_encrypted tokens of runners: each has to be registered again
ci_builds token,token_encrypted tokens of jobs: those that run fail
application_settings encrypted_ci_jwt_signing_key,encrypted_ci_jwt_signing_key_iv the key of CI_JOB_JWT
'

# Emptied. The page names the first two. The others are encrypted with the
# same key and break the page that shows them, or the schedule, in the same way.
LOST_VARIABLES='ci_variables ci_group_variables ci_instance_variables ci_pipeline_schedule_variables'

# Truncated. Until 14.0, which has "services" instead of "integrations" and
# does not encrypt it, the page names web_hooks alone.
LOST_HOOKS='web_hooks web_hook_logs'
LOST_INTEGRATIONS='integrations chat_names issue_tracker_data jira_tracker_data open_project_tracker_data slack_integrations zentao_tracker_data'

main() {
  refuse_trace
  parse_arguments "$@"
  check_host
  [[ -n $CHECK ]] || exclusive reset-tokens
  read_schema
  choose
  count_before
  if [[ -n $CHECK ]]; then
    print_result
    return
  fi
  confirm
  keep_names
  reset
  say_what_is_left
  print_result
}

parse_arguments() {
  LOST='' CHECK='' YES=''
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      --lost-secrets) LOST=$(yes_or_no --lost-secrets "${2-}") ;;
      --check) CHECK=$(yes_or_no --check "${2-}") ;;
      --yes) YES=$(yes_or_no --yes "${2-}") ;;
      *) bad_usage "unknown argument '$1'" ;;
    esac
    shift $(($# > 1 ? 2 : 1))
  done
  [[ -n $YES || -n $CHECK || -t 0 ]] || bad_usage "there is no terminal to ask on: look with --check yes, then pass --yes yes"
}

check_host() {
  ((EUID == 0)) || die "run this as root"
  need awk flock gitlab-psql grep timeout
}

# choose sets TARGETS to what this version has of the above, a line each:
# how, table, columns (with commas), meaning; and MISSING to what it has not.
choose() {
  TARGETS='' MISSING=''
  choose_columns "$REGISTRATION_TOKENS"
  [[ -n $LOST ]] || return 0
  choose_columns "$LOST_TOKENS"
  choose_tables delete 'CI/CD variables, with their values' "$LOST_VARIABLES"
  if has_table integrations; then LOST_HOOKS+=" $LOST_INTEGRATIONS"; fi
  choose_tables truncate 'webhooks and integrations, with their settings' "$LOST_HOOKS"
  check_references
}

choose_columns() {
  local table columns meaning column there
  while read -r table columns meaning; do
    [[ -n $table ]] || continue
    there=
    for column in ${columns//,/ }; do
      if has_column "$table" "$column"; then
        there+=,$column
      else
        note_missing "$table.$column"
      fi
    done
    [[ -z $there ]] || TARGETS+="clear $table ${there#,} $meaning"$'\n'
  done <<<"$1"
}

choose_tables() {
  local how=$1 meaning=$2 table
  for table in $3; do
    if has_table "$table"; then
      TARGETS+="$how $table - $meaning"$'\n'
    else
      note_missing "$table"
    fi
  done
}

note_missing() {
  MISSING+=" $1"
  log "this version has no $1: there is nothing to reset"
}

# check_references refuses to truncate what a table refers to that is not
# truncated itself. The page says CASCADE, which would empty that table, too,
# whatever it is.
check_references() {
  local others
  others=$(
    database <<END_OF_SQL
SELECT DISTINCT c.relname FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_class t ON t.oid = k.confrelid
WHERE k.contype = 'f' AND NOT c.relispartition AND t.relnamespace = current_schema()::regnamespace
AND t.relname IN ($(quoted truncate)) AND c.relname NOT IN ($(quoted truncate)) ORDER BY 1;
END_OF_SQL
  ) || die "cannot look at what refers to the webhooks and integrations: nothing was changed"
  [[ -z $others ]] ||
    die "$(tr '\n' ' ' <<<"$others")refers to tables that would be emptied, and GitLab's page does not name it: nothing was changed"
}

# quoted HOW prints the tables of that kind as a list of SQL.
quoted() { awk -v how="$1" '$1 == how { list = list sep "'\''" $2 "'\''"; sep = ", " } END { print (list ? list : "NULL") }' <<<"$TARGETS"; }

# rows TABLE COLUMNS prints the condition of rows that hold something.
rows() {
  local column condition=
  [[ $2 != - ]] || {
    echo true
    return
  }
  for column in ${2//,/ }; do condition+=" OR $column IS NOT NULL"; done
  printf '%s\n' "${condition# OR }"
}

# count_statements WHEN prints a statement for each target.
count_statements() {
  local how table columns meaning
  while read -r how table columns meaning; do
    [[ -z $how ]] || printf "SELECT '%s', '%s', '%s', count(*) FROM %s WHERE %s;\n" "$1" "$table" "$columns" "$table" "$(rows "$table" "$columns")"
  done <<<"$TARGETS"
}

count_before() {
  local how table columns meaning
  COUNTS=$(count_statements before | database) || die "cannot count what would be reset: nothing was changed"
  log "what is reset${LOST:+, and lost}:"
  while read -r how table columns meaning; do
    [[ -z $how ]] || printf '  %8s  %s (%s)\n' "$(count before "$table" "$columns")" "$meaning" "$table" >&2
  done <<<"$TARGETS"
}

# count WHEN TABLE COLUMNS looks it up.
count() { awk -F '\t' -v when="$1" -v table="$2" -v columns="$3" '$1 == when && $2 == table && $3 == columns { print $4 }' <<<"$COUNTS"; }

confirm() {
  [[ -z $YES ]] || return 0
  ask "Reset them on $(uname -n)? Whoever registers runners needs the new tokens."
  [[ -z $LOST ]] || ask "This cannot be undone, and is wrong as long as the right gitlab-secrets.json can be found. Is there a backup, and is the file lost for good?"
}

ask() {
  local answer=
  printf '%s [y/N] ' "$1" >&2
  read -r answer || true
  [[ $answer == [yY]* ]] || die "not confirmed: nothing was changed"
}

# keep_names writes which variables there were, for whoever sets them anew:
# kind, owner, key and scope, as PostgreSQL's COPY writes text.
keep_names() {
  local table
  NAMES=
  [[ -n $LOST ]] || return 0
  NAMES=$RESET_NAMES/$(date -u +%Y%m%dT%H%M%S)-$$.tsv
  for table in $LOST_VARIABLES; do
    ! has_table "$table" || names_statement "$table"
  done | database | write_file "$NAMES" 600 || die "cannot write the names of the variables to $NAMES: nothing was changed"
  chmod 700 "$RESET_NAMES"
  log "the names of the variables, without values, are in $NAMES"
}

names_statement() {
  local owner="''" scope="''" column type=Project
  for column in project_id group_id pipeline_schedule_id; do
    if has_column "$1" "$column"; then
      owner="'$column=' || v.$column"
      break
    fi
  done
  [[ $column != group_id ]] || type=Namespace
  if has_column routes source_type && [[ $column != pipeline_schedule_id ]] && [[ $owner != "''" ]]; then
    owner="coalesce((SELECT max(r.path) FROM routes r WHERE r.source_type = '$type' AND r.source_id = v.$column), $owner)"
  fi
  ! has_column "$1" environment_scope || scope=v.environment_scope
  printf "COPY (SELECT '%s', %s, v.key, %s FROM %s v ORDER BY v.id) TO STDOUT;\n" "$1" "$owner" "$scope" "$1"
}

# reset is the one transaction. Rows without a token are not touched: there
# may be millions of jobs.
reset() {
  local counts
  counts=$({
    # Rather fail than stand in the way of everybody else.
    echo "SET LOCAL lock_timeout = '30s';"
    change_statements
    count_statements after
  } | database) || die "the database refused (see above), and undid all of it: nothing was changed"
  COUNTS+=$'\n'$counts
}

change_statements() {
  local how table columns meaning column set
  while read -r how table columns meaning; do
    case $how in
      clear)
        set=
        for column in ${columns//,/ }; do set+=", $column = NULL"; done
        printf 'UPDATE %s SET %s WHERE %s;\n' "$table" "${set#, }" "$(rows "$table" "$columns")"
        ;;
      delete)
        # The ones whose names were kept, and no others.
        printf 'LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE;\n' "$table"
        # shellcheck disable=SC2016 # PL/pgSQL
        printf 'DO $$ BEGIN IF (SELECT count(*) FROM %s) <> %s THEN RAISE EXCEPTION '\''%s changed since its names were written: run this again'\''; END IF; END $$;\n' \
          "$table" "$(count before "$table" -)" "$table"
        printf 'DELETE FROM %s;\n' "$table"
        ;;
    esac
  done <<<"$TARGETS"
  # In one statement: they refer to each other.
  awk '$1 == "truncate" { list = list sep $2; sep = ", " } END { if (list) print "TRUNCATE " list ";" }' <<<"$TARGETS"
}

say_what_is_left() {
  # GitLab keeps its settings in each process's memory, for a minute.
  # https://gitlab.com/gitlab-org/gitlab/-/blob/master/app/models/application_setting.rb (cache_backend)
  log "done. GitLab's processes may take the old registration token for another minute; nothing has to be restarted for it"
  [[ -n $LOST ]] || return 0
  log "left to do: gitlab-ctl restart; gitlab-rake gitlab:doctor:secrets must find nothing;" \
    "gitlab-rake gitlab:two_factor:disable_for_all_users if nobody gets past the second factor; register the runners again;" \
    "set the variables in $NAMES, the webhooks and the integrations anew." \
    "CI_JOB_JWT stays empty until the key is made anew: https://gitlab.com/gitlab-org/gitlab/-/issues/325965"
}

print_result() {
  local how table columns meaning name after separator='' missing=''
  printf '{"reset": {'
  while read -r how table columns meaning; do
    [[ -n $how ]] || continue
    name=$table
    [[ $columns != encrypted_ci_jwt* ]] || name+=.ci_jwt_signing_key
    after=$(count after "$table" "$columns")
    printf '%s"%s": {"before": %s%s}' "$separator" "$name" "$(count before "$table" "$columns")" "${after:+, \"after\": $after}"
    separator=', '
  done <<<"$TARGETS"
  for name in $MISSING; do missing+=", \"$name\""; done
  printf '}, "missing": [%s], "names": "%s"}\n' "${missing#, }" "${NAMES-}"
}

operate reset-tokens main "$@"
