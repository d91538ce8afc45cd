#!/usr/bin/env bash
#/ Usage: server-status.sh
#/
#/ Shows how GitLab on this server is: versions, services, sign-in page, disk,
#/ migrations, runners, operations. It changes nothing. What cannot be read says
#/ so, and does not hide the rest. Run it as root.
#/
#/ Prints a line a part on stdout, its columns divided by tabs: part, state (ok,
#/ wrong, unknown, or - for what is only told), and what was found.
#/
#/ OPTIONS:
#/   -h, --help  Show this message.
#/
#/ ENVIRONMENT (for tests and by hand):
#/   STATUS_TIMEOUT  Longest time for one question to GitLab, in seconds. Default: 300.
#/   STATUS_GITLAB   Where GitLab is installed. Default: /opt/gitlab.
#/
#/ Exit status: 0 shown, whatever was found; 1 failed; 2 wrong use.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/host.sh"
# shellcheck source=scripts/lib/operation.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/operation.sh"

STATUS_TIMEOUT=${STATUS_TIMEOUT:-300}

# Percent of a filesystem from which on it is too full for a backup or an upgrade.
FULL=85

main() {
  case ${1-} in
    '') ;;
    -h | --help)
      usage
      return
      ;;
    *) bad_usage "unknown argument '$1'" ;;
  esac
  ((EUID == 0)) || die "run this as root"
  WORK=$(mktemp -d)
  trap 'rm -rf "$WORK"' EXIT
  local part
  for part in version services page disk migrations runners operations; do
    log "looking at: $part"
    "show_$part"
  done
}

# row PART STATE TEXT prints a line of the result.
row() { printf '%s\t%s\t%s\n' "$1" "$2" "$(tr '\t\n' '  ' <<<"$3" | sed 's/  *$//')"; }

# ask COMMAND… sets ANSWER to what the command prints and fails when it fails,
# with the reason in ANSWER.
ask() {
  local status=0
  timeout "$STATUS_TIMEOUT" "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || status=$?
  ANSWER=$(<"$WORK/out")
  ((status == 0)) && return
  ANSWER="$1 failed with $status: $(tail -n 1 "$WORK/err")"
  [[ $status != 124 ]] || ANSWER="$1 takes longer than $STATUS_TIMEOUT s"
  return 1
}

# sql QUERY asks GitLab's database.
sql() { ask gitlab-psql -t -A -c "$1"; }

show_version() {
  local manifest=${STATUS_GITLAB:-/opt/gitlab}/version-manifest.txt
  VERSION=
  if [[ ! -r $manifest ]]; then
    row version wrong "GitLab is not installed: there is no $manifest"
    return
  fi
  # "gitlab-ce 13.10.2" is its first line.
  VERSION=$(head -n 1 "$manifest")
  row version - "$VERSION, $(sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\).*/\1/p' /etc/os-release)"
  VERSION=${VERSION#* }
}

show_services() {
  local up down
  # It fails when a service is down; that is told below.
  ask gitlab-ctl status || ANSWER=$(<"$WORK/out")
  up=$(grep -c '^run: ' <<<"$ANSWER") || true
  down=$(sed -n 's/^\(down\|fail\|warning\): \([^:]*\):.*/\2/p' <<<"$ANSWER" | paste -s -d ' ' -)
  if [[ -n $down ]]; then
    row services wrong "down: $down; $up are up"
  elif ((up > 0)); then
    row services ok "all $up are up"
  else
    row services unknown "gitlab-ctl status names none: $(tail -n 1 "$WORK/err")"
  fi
}

# show_page asks as the load balancer does; see install-gitlab.sh.
show_page() {
  local host
  host=$(sed -n "s/^external_url ['\"]https\{0,1\}:\/\/\([A-Za-z0-9.-]*\).*/\1/p" /etc/gitlab/gitlab-codedeploy.rb /etc/gitlab/gitlab.rb 2>/dev/null | head -n 1) || true
  if ask curl --silent --output /dev/null --max-time 60 --write-out '%{http_code}' \
    --header "Host: ${host:-localhost}" --header 'X-Forwarded-Proto: https' http://localhost/users/sign_in && [[ $ANSWER == 200 ]]; then
    row sign-in ok "the page answers with 200"
  else
    row sign-in wrong "the page does not answer with 200: ${ANSWER:-no answer}"
  fi
}

show_disk() {
  local line used place
  if ! ask df -P -h / /var/opt/gitlab; then
    row disk unknown "$ANSWER"
    return
  fi
  # One filesystem twice is told once.
  while read -r line; do
    read -r used place <<<"$(awk '{ print $5, $6 }' <<<"$line")"
    if ((${used%\%} >= FULL)); then
      row disk wrong "$place is $used full: $(awk '{ print $4 " of " $2 " free" }' <<<"$line")"
    else
      row disk ok "$place: $(awk '{ print $4 " of " $2 " free" }' <<<"$line")"
    fi
  done < <(tail -n +2 <<<"$ANSWER" | sort -u)
}

show_migrations() {
  local batched
  # Until 15.0 there are those of Sidekiq, too; it takes Rails a minute to start.
  if [[ -n $VERSION ]] && ! version_at_least "$VERSION" 15.1.0; then
    if ! ask gitlab-rails runner -e production 'puts Gitlab::BackgroundMigration.remaining'; then
      row migrations unknown "$ANSWER"
    elif [[ ! $ANSWER =~ ^[0-9]+$ ]]; then
      row migrations unknown "gitlab-rails said '${ANSWER:0:200}', and that is no number"
    elif ((ANSWER > 0)); then
      row migrations wrong "$ANSWER background migrations are not finished: no upgrade until they are"
    else
      row migrations ok "no background migration is left"
    fi
  fi
  # 13.x has no such table.
  if ! sql "SELECT to_regclass('public.batched_background_migrations')"; then
    row migrations unknown "$ANSWER"
    return
  fi
  [[ -n $ANSWER ]] || return 0
  # 3 is finished, 6 is finalized.
  if ! sql "SELECT count(*) FROM batched_background_migrations WHERE status NOT IN (3, 6)"; then
    row migrations unknown "$ANSWER"
    return
  fi
  batched=$ANSWER
  if [[ $batched == 0 ]]; then
    row migrations ok "no batched background migration is left"
  else
    row migrations wrong "$batched batched background migrations are not finished, or failed: no upgrade until they are"
  fi
}

# show_runners goes by the last contact, which GitLab writes down once an hour.
show_runners() {
  local online all
  if ! sql "SELECT count(*) FILTER (WHERE contacted_at > (now() AT TIME ZONE 'UTC') - interval '2 hours'), count(*) FROM ci_runners"; then
    row runners unknown "$ANSWER"
    return
  fi
  online=${ANSWER%%|*} all=${ANSWER#*|}
  if [[ ! $online =~ ^[0-9]+$ || ! $all =~ ^[0-9]+$ ]]; then
    row runners unknown "gitlab-psql said '${ANSWER:0:200}'"
  elif ((online > 0)); then
    row runners ok "$online of $all were in contact within two hours"
  else
    row runners wrong "none of $all was in contact within two hours"
  fi
}

show_operations() {
  local run folder state count=0
  if [[ -e $OPERATION_LOCK ]] && ! flock --nonblock "$OPERATION_LOCK" true; then
    row operation - "under way: $(head -n 1 "$OPERATION_LOCK" | sed 's/,$//')"
  fi
  for run in $(runs_by_age); do
    folder=$OPERATION_RUNS/$run
    [[ $run != "${OPERATION_RUN-}" && $(<"$folder/operation") != status ]] || continue
    if [[ -e $folder/status ]]; then
      state="ended with $(<"$folder/status")"
    elif is_active "$folder"; then
      state="is under way"
    else
      state="was lost"
    fi
    row operation - "$(<"$folder/operation") $state, started $(<"$folder/started") (run $run)"
    ((++count < 3)) || break
  done
}

operate status main "$@"
