#!/usr/bin/env bash
#/ Usage: configure-gitlab.sh --external-url <https://host> [--check yes] [--yes yes]
#/
#/ Brings our settings of GitLab (/etc/gitlab/gitlab-codedeploy.rb) up to date:
#/ shows the difference, asks, writes, reconfigures, and waits for the sign-in
#/ page. When that fails the old settings come back. gitlab.rb is kept; when it
#/ does not include our file yet, one line is added at its end. A run that was
#/ killed is undone by the next one. Run it as root.
#/
#/ OPTIONS:
#/   --external-url <https://host>  The address that users see.
#/   --check yes                    Only show the difference.
#/   --yes yes                      Do not ask. Needed without a terminal.
#/   -h, --help                     Show this message.
#/
#/ ENVIRONMENT (seconds; for tests and by hand):
#/   INSTALL_TIMEOUT        The whole run. Default: 3300.
#/   INSTALL_READY_TIMEOUT  The sign-in page, each time. Default: 900.
#/   INSTALL_POLL           Between two looks. Default: 5.
#/
#/ The difference and what is done are on stderr. The result on stdout is one
#/ line of JSON: {"settings", "state"}; state is unchanged, differs (--check) or
#/ applied. Exit status: 0 done; 1 failed, and the old settings are back unless
#/ it says otherwise; 2 wrong use.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/host.sh"
# shellcheck source=scripts/lib/operation.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/operation.sh"
# shellcheck source=scripts/lib/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/settings.sh"

INSTALL_READY_TIMEOUT=${INSTALL_READY_TIMEOUT:-900}

# Holds both files as they were, from before the first change until GitLab has
# answered with the new ones. A file that was not there has no copy in it.
JOURNAL=/var/lib/gitlab-codedeploy/configuring

main() {
  refuse_trace
  parse_arguments "$@"
  check_host
  UNFINISHED=
  if [[ -n $CHECK ]]; then
    check_only
    return
  fi
  exclusive configure
  rm -rf "$JOURNAL.new" "$JOURNAL.done" # of runs that were killed
  [[ ! -e $JOURNAL ]] || undo_unfinished
  if ! show_difference && [[ -z $UNFINISHED ]]; then
    log "nothing to do: the settings are as they should be"
    result unchanged
    return
  fi
  confirm
  apply
  result applied
}

parse_arguments() {
  EXTERNAL_URL='' CHECK='' YES=''
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      --external-url) EXTERNAL_URL=${2-} ;;
      --check) CHECK=$(yes_or_no --check "${2-}") ;;
      --yes) YES=$(yes_or_no --yes "${2-}") ;;
      *) bad_usage "unknown argument '$1'" ;;
    esac
    shift $(($# > 1 ? 2 : 1))
  done
  check_external_url "$EXTERNAL_URL"
  [[ -n $YES || -n $CHECK || -t 0 ]] || bad_usage "there is no terminal to ask on: look with --check yes, then pass --yes yes"
}

check_host() {
  ((EUID == 0)) || die "run this as root"
  need awk curl diff flock timeout
  [[ -x /opt/gitlab/bin/gitlab-ctl ]] || die "there is no GitLab on this host: the installation writes its settings itself"
  [[ -e $MAIN_SETTINGS ]] || die "$MAIN_SETTINGS is missing: GitLab has no settings at all"
  # The agent starts scripts without it, and Chef wants one.
  export HOME=${HOME:-/root}
}

check_only() {
  if [[ -e $JOURNAL ]]; then
    log "an earlier run did not finish: the next one, without --check, begins with undoing it"
  fi
  if show_difference; then
    result differs
  else
    log "the settings are as they should be"
    result unchanged
  fi
}

result() { printf '{"settings": "%s", "state": "%s"}\n' "$SETTINGS" "$1"; }

# show_difference tells what would change; it fails when nothing would.
show_difference() {
  local differs=1 old=$SETTINGS
  [[ -e $old ]] || old=/dev/null
  if ! settings_text "$EXTERNAL_URL" | cmp -s - "$old"; then
    log "$SETTINGS would change:"
    settings_text "$EXTERNAL_URL" | diff -u --label "$SETTINGS (now)" --label "$SETTINGS (new)" "$old" - | without_secrets >&2 || true
    differs=0
  fi
  if ! includes_settings "$MAIN_SETTINGS"; then
    # No diff of this one: it would show what stands around the line.
    log "$MAIN_SETTINGS does not include it. One line would be added at its end, and the rest is kept:"
    printf '+%s\n' "$INCLUDE_LINE" >&2
    differs=0
  elif settings_follow; then
    log "note: settings follow after the line that includes ours in $MAIN_SETTINGS, and win over ours"
  fi
  return "$differs"
}

# without_secrets hides what somebody may have written into our file by hand.
without_secrets() {
  sed 's/^\([-+ ].*\(password\|passwd\|secret\|token\|key\|salt\)[^=]*=\).*/\1 ********/I'
}

# settings_follow is true when something else than comments comes after the
# line that includes ours.
settings_follow() {
  awk -v file="$SETTINGS" '
    /^[[:space:]]*from_file/ && index($0, file) { seen = 1; after = 0; next }
    seen && !/^[[:space:]]*(#|$)/ { after = 1 }
    END { exit !after }' "$MAIN_SETTINGS"
}

confirm() {
  local answer=
  [[ -z $YES ]] || return 0
  printf 'Write this and reconfigure GitLab on %s? It restarts what the settings concern. [y/N] ' "$(uname -n)" >&2
  read -r answer || true
  [[ $answer == [yY]* ]] || die "not confirmed: nothing was changed"
}

# apply writes and reconfigures, and takes both back when GitLab does not come
# up with it.
apply() {
  local reason=''
  keep_old
  trap 'log "the change is not finished: run this again, which undoes it first"' EXIT
  write_new
  log "reconfiguring GitLab; this takes some minutes"
  if ! reconfigure; then
    reason="gitlab-ctl reconfigure failed: $(last_logged)"
  elif ! ready; then
    reason="after the change $(not_ready)"
  else
    forget_old
    trap - EXIT
    log "GitLab runs with the new settings and answers at $EXTERNAL_URL"
    return
  fi
  log "$reason"
  take_back
  trap - EXIT
  die "$reason; the old settings are back, and GitLab answers with them"
}

# keep_old makes the journal in one step: it is there in full or not at all.
# That of a run that was undone is as good.
keep_old() {
  local file
  [[ ! -e $JOURNAL ]] || return 0
  (umask 077 && mkdir -p "$JOURNAL.new")
  for file in "$SETTINGS" "$MAIN_SETTINGS"; do
    [[ ! -e $file ]] || cp -p "$file" "$JOURNAL.new/"
  done
  sync
  mv -T "$JOURNAL.new" "$JOURNAL"
}

forget_old() {
  mv -T "$JOURNAL" "$JOURNAL.done"
  rm -rf "$JOURNAL.done"
}

write_new() {
  settings_text "$EXTERNAL_URL" | write_file "$SETTINGS" 600
  includes_settings "$MAIN_SETTINGS" || {
    awk 1 "$MAIN_SETTINGS" # also ends a last line that is open
    printf '\n%s\n' "$INCLUDE_LINE"
  } | write_like "$MAIN_SETTINGS"
}

# write_like FILE replaces it, keeping its owner and mode.
write_like() {
  local mode owner
  mode=$(stat -c %a "$1")
  owner=$(stat -c %u:%g "$1")
  write_file "$1" "$mode"
  chown "$owner" "$1"
}

# put_old_back leaves both files as they are in the journal.
put_old_back() {
  local file copy
  for file in "$SETTINGS" "$MAIN_SETTINGS"; do
    copy=$JOURNAL/${file##*/}
    if [[ -e $copy ]]; then
      cp -p "$copy" "$file.new"
      mv "$file.new" "$file"
    else
      rm -f "$file"
    fi
  done
}

# take_back ends the script when the old settings do not work either.
take_back() {
  log "putting the old settings back"
  put_old_back
  reconfigure || die "the old settings are back, but gitlab-ctl reconfigure fails with them, too: $(last_logged)"
  EXTERNAL_URL=$(address_in_use) ready ||
    die "the old settings are back and reconfigured, but $(not_ready)"
  forget_old
}

# undo_unfinished brings back the files of a run that was killed. What GitLab
# runs with is then unknown: the journal stays until it was reconfigured.
undo_unfinished() {
  log "an earlier run did not finish: its old settings come back first"
  put_old_back
  UNFINISHED=1
}

reconfigure() { logged timeout "$(seconds_left)" /opt/gitlab/bin/gitlab-ctl reconfigure; }

ready() {
  log "waiting for the sign-in page at $EXTERNAL_URL"
  wait_for "$INSTALL_READY_TIMEOUT" answers_sign_in "$EXTERNAL_URL"
}

not_ready() { printf '/users/sign_in does not answer with 200; the last answer was HTTP %s' "$ANSWER"; }

operate configure main "$@"
