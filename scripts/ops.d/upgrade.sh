#!/usr/bin/env bash
#/ Usage: scripts/ops upgrade --env NAME [--profile PROFILE] [OPTIONS]
#/
#/ Upgrades GitLab stop by stop, or shows the stops, or checks what is in the way.
#/
#/ No stop is left out, none is left before its migrations are finished, and a
#/ complete backup is made before each hop. A hop takes from ten minutes to days.
#/ Whatever ends a run, start it again: it goes on where GitLab is.
#/
#/ OPTIONS:
#/   --env NAME                 Environment: config/NAME.yaml. Not needed for --plan
#/                              with --from.
#/   --profile PROFILE          AWS profile of GitLab's account (gitlab.account). Default:
#/                              the credentials that the AWS CLI finds by itself.
#/   --plan                     Print the stops, and do nothing. With --from it asks
#/                              neither AWS nor the server.
#/   --preflight                Make all checks on the server, and change nothing.
#/   --from VERSION             With --plan: where to start. Default: what the server
#/                              has. Otherwise: go on only when it has that, or later.
#/   --to VERSION               The last stop. Default: 15.4.6.
#/   --backup-each-hop yes|no   no: upgrade without a way back. Default: yes.
#/   --fix-known-jobs           Apply GitLab's documented remedies to migrations that
#/                              are known to get stuck.
#/   --follow [RUN]             Start nothing: follow the newest upgrade, or that run.
#/   --timeout SECONDS          How long to follow it. Default: 86400. It goes on.
#/   --dry-run                  Print the commands, and call nothing in AWS.
#/   --yes                      Do not ask.
#/   -h, --help                 Show this message.
#/
#/ Prints one line of JSON, {"from", "to", "edition"}; with --plan a line a stop.
#/ Exit status: 0 done; 1 failed, or something is in the way; 2 wrong use,
#/ configuration or credentials.

# Runs on operators' laptops, macOS too: keep it to bash 3.2.
set -Eeuo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$ROOT/scripts/lib/common.sh"
# shellcheck source=scripts/lib/children.sh
source "$ROOT/scripts/lib/children.sh"
# shellcheck source=scripts/lib/operator.sh
source "$ROOT/scripts/lib/operator.sh"
# shellcheck source=scripts/lib/remote.sh
source "$ROOT/scripts/lib/remote.sh"

MODE=run FROM='' TO=15.4.6 BACKUPS=yes FIX=no

take_option() {
  TAKEN=1
  case $1 in
    --plan | --preflight) MODE=${1#--} ;;
    --fix-known-jobs) FIX=yes ;;
    --from) FROM=$2 TAKEN=2 ;;
    --to) TO=$2 TAKEN=2 ;;
    --backup-each-hop) BACKUPS=$2 TAKEN=2 ;;
    *) return 1 ;;
  esac
}

main() {
  local bucket url status=0
  plan "$@"
  parse_options "$@"
  check_options
  open_account
  bucket=$(need_output BackupBucketName '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]')
  url=$(node -p 'JSON.parse(require("fs").readFileSync(0)).GitLab.Server.PackageRepositoryURL' <"$WORK/config.json")
  [[ $MODE != run ]] || confirm "upgrade GitLab of $ENVIRONMENT to $TO, $(backups_in_words)? Users are locked out during each hop."
  run_operation server upgrade "Mode=$MODE" "From=$FROM" "To=$TO" "Bucket=$bucket" "Region=$REGION" \
    "BackupEachHop=$BACKUPS" "FixKnownJobs=$FIX" "RepositoryUrl=$url" || status=$?
  print_result
  exit "$status"
}

# plan prints the stops and ends the script, when they and the version to start
# at are given: the server's script knows them, and needs no server for it.
plan() {
  local words=" $* "
  [[ $words == *' --plan '* && $words == *' --from '* && $words != *' --help '* && $words != *' -h '* ]] || return 0
  # What the other modes need is no mistake here.
  parse_options --env plan "$@"
  check_options
  exec "$BASH" "$ROOT/scripts/server/upgrade-gitlab.sh" --plan --from "$FROM" --to "$TO"
}

check_options() {
  local version='^[1-9][0-9]?\.[0-9]{1,2}\.[0-9]{1,2}$'
  [[ -z $FROM || $FROM =~ $version ]] || bad_usage "--from: got '$FROM', want an exact version such as 13.10.2"
  [[ $TO =~ $version ]] || bad_usage "--to: got '$TO', want an exact version such as 15.4.6"
  [[ $BACKUPS == yes || $BACKUPS == no ]] || bad_usage "--backup-each-hop: got '$BACKUPS', want yes or no"
}

backups_in_words() {
  if [[ $BACKUPS == yes ]]; then echo "with a backup before each hop"; else echo "WITHOUT BACKUPS, so that there is no way back"; fi
}

main "$@"
