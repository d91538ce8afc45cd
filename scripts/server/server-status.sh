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
# shellcheck source=scripts/lib/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/settings.sh"
# shellcheck source=scripts/lib/migrations.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/migrations.sh"
# shellcheck source=scripts/lib/operation.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/operation.sh"

STATUS_TIMEOUT=${STATUS_TIMEOUT:-300}
MIGRATIONS_TIMEOUT=$STATUS_TIMEOUT

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
  local part
  for part in version services page disk migrations runners operations; do
    log "looking at: $part"
    "show_$part"
  done
}

# row PART STATE TEXT prints a line of the result.
row() { printf '%s\t%s\t%s\n' "$1" "$2" "$(tr '\t\n' '  ' <<<"$3" | sed 's/  *$//')"; }

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
  ANSWER=$(timeout "$STATUS_TIMEOUT" gitlab-ctl status 2>&1 </dev/null) || true
  up=$(grep -c '^run: ' <<<"$ANSWER") || true
  down=$(sed -n 's/^\(down\|fail\|warning\): \([^:]*\):.*/\2/p' <<<"$ANSWER" | paste -s -d ' ' -)
  if [[ -n $down ]]; then
    row services wrong "down: $down; $up are up"
  elif ((up > 0)); then
    row services ok "all $up are up"
  else
    row services unknown "gitlab-ctl status names none: ${ANSWER##*$'\n'}"
  fi
}

show_page() {
  if answers_sign_in "$(address_in_use)"; then
    row sign-in ok "the page answers with 200"
  else
    row sign-in wrong "the page does not answer with 200; the answer was HTTP $ANSWER"
  fi
}

show_disk() {
  local line used place
  if ! ask_gitlab df -P -h / /var/opt/gitlab; then
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

# show_migrations tells what the upgrade would say of them.
show_migrations() {
  INSTALLED=${VERSION%%-*}
  if [[ ! $INSTALLED =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]]; then
    row migrations unknown "GitLab's version is not known"
  elif ! migrations_left; then
    row migrations unknown "$LEFT_TEXT"
  elif [[ $LEFT == 0 ]]; then
    row migrations ok "no background migration is left"
  else
    row migrations wrong "no upgrade until they are finished: $LEFT_TEXT"
  fi
}

# show_runners goes by the last contact, which GitLab writes down once an hour.
show_runners() {
  local online all
  if ! ask_database "SELECT count(*) FILTER (WHERE contacted_at > (now() AT TIME ZONE 'UTC') - interval '2 hours'), count(*) FROM ci_runners"; then
    row runners unknown "$ANSWER"
    return
  fi
  online=${ANSWER%%$'\t'*} all=${ANSWER#*$'\t'}
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
