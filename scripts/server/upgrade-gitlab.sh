#!/usr/bin/env bash
#/ Usage: upgrade-gitlab.sh [--plan | --preflight] [--from <x.y.z>] [--to <x.y.z>]
#/            [--bucket <name> --region <region>] [--backup-each-hop yes|no]
#/            [--fix-known-jobs yes|no] [--repository-url <url>]
#/
#/ Upgrades GitLab stop by stop. No stop is left out, and none is left before
#/ its migrations are finished. A run that was stopped, or died, goes on where
#/ GitLab is: start it again. Run it as root.
#/
#/ OPTIONS:
#/   --plan                     Print the stops, and do nothing. Works anywhere.
#/   --preflight                Make every check for the next stop, and change nothing.
#/   --from <x.y.z>             With --plan: the version to start at. Default: the
#/                              installed one. Otherwise: refuse to start from another.
#/   --to <x.y.z>               The last stop. Default: 15.4.6.
#/   --bucket <name>     Where complete backups are.
#/   --region <region>          AWS region of that bucket.
#/   --backup-each-hop yes|no   no: upgrade without a backup of before. Default: yes.
#/   --fix-known-jobs yes|no    yes: apply GitLab's documented remedies to migrations
#/                              that are known to get stuck. Default: no.
#/   --repository-url <url>     Where the repositories gitlab-ce and gitlab-ee are.
#/                              Default: https://packages.gitlab.com/gitlab.
#/   -h, --help                 Show this message.
#/
#/ ENVIRONMENT (seconds; for tests and by hand):
#/   UPGRADE_TIMEOUT             The whole run. Default: 172800.
#/   UPGRADE_MIGRATIONS_TIMEOUT  One stop's background migrations. Default: 86400.
#/   UPGRADE_READY_TIMEOUT       Services and sign-in page. Default: 1800.
#/   UPGRADE_FREE_MIB            Room that a package needs, in MiB. Default: 6144.
#/
#/ Prints one line of JSON at the end of a run; with --plan a line for each stop:
#/ version, patch, packages, PostgreSQL, reason, risks, divided by tabs.
#/ Exit status: 0 done, 1 failed, 2 wrong use.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
INSTALL_TIMEOUT=${UPGRADE_TIMEOUT:-172800}
# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/host.sh"
# shellcheck source=scripts/lib/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/settings.sh"
# shellcheck source=scripts/lib/operation.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/operation.sh"
# shellcheck source=scripts/lib/backup.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/backup.sh"
# shellcheck source=scripts/lib/migrations.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/migrations.sh"

# The stops, a line each; comments say what the columns are.
# inlined data=internal/gitlab/upgrade-path.tsv
STOPS=$(cat "$(dirname "${BASH_SOURCE[0]}")/../../internal/gitlab/upgrade-path.tsv")

UPGRADE_MIGRATIONS_TIMEOUT=${UPGRADE_MIGRATIONS_TIMEOUT:-86400}
UPGRADE_READY_TIMEOUT=${UPGRADE_READY_TIMEOUT:-1800}
UPGRADE_FREE_MIB=${UPGRADE_FREE_MIB:-6144}

REPOSITORY=gitlab-codedeploy
VERSION_FORM='[1-9][0-9]?\.[0-9]{1,2}\.[0-9]{1,2}'
# "from to backup", from just before the package of a hop until the stop is
# reached: what tells a package that was installed half from one that was not.
HOP=/var/lib/gitlab-codedeploy/upgrading
JOURNAL=/var/lib/gitlab-codedeploy/upgrades
# No complete backup may be older, in seconds.
BACKUP_LIMIT=3600

main() {
  parse_arguments "$@"
  if [[ $MODE == plan ]]; then
    [[ -n $FROM ]] || FROM=$(installed_version)
    find_path
    print_path
    return
  fi
  check_host
  if [[ $MODE == preflight ]]; then
    preflight
    return
  fi
  exclusive upgrade
  mend_packages
  read_installed
  FIRST=$INSTALLED
  find_path
  mend_files
  settle
  find_path
  while [[ -n $NEXT_STOP ]]; do
    hop "$NEXT_STOP"
    find_path
  done
  printf '{"from":"%s","to":"%s","edition":"%s"}\n' "$FIRST" "$INSTALLED" "$EDITION"
}

parse_arguments() {
  MODE=run FROM='' TO=15.4.6 BUCKET='' BACKUPS=yes FIX=no
  local url=https://packages.gitlab.com/gitlab
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      --plan | --preflight)
        MODE=${1#--}
        shift
        continue
        ;;
      --mode) MODE=${2-} ;; # documents have no options without a value
      --from) FROM=${2-} ;;
      --to) TO=${2-} ;;
      --bucket) BUCKET=${2-} ;;
      --region) BACKUP_REGION=${2-} ;;
      --backup-each-hop) BACKUPS=${2-} ;;
      --fix-known-jobs) FIX=${2-} ;;
      --repository-url) url=${2-} ;;
      *) bad_usage "unknown argument '$1'" ;;
    esac
    shift $(($# > 1 ? 2 : 1))
  done
  check_argument --mode "$MODE" 'plan|preflight|run' 'plan, preflight or run'
  check_argument --from "$FROM" "|$VERSION_FORM" 'an exact version such as 13.10.2'
  check_argument --to "$TO" "$VERSION_FORM" 'an exact version such as 15.4.6'
  check_argument --backup-each-hop "$BACKUPS" 'yes|no' 'yes or no'
  check_argument --fix-known-jobs "$FIX" 'yes|no' 'yes or no'
  check_repository_url "$url"
  REPOSITORY_BASE=${url%/}
  [[ -n $(stop "$TO") ]] || bad_usage "--to: $TO is no stop; the stops are $(stop_versions)"
  [[ $MODE != plan ]] || return 0
  check_argument --bucket "$BUCKET" '|[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]' 'the name of a bucket'
  check_argument --region "${BACKUP_REGION-}" '|[a-z]{2}(-[a-z]+)+-[0-9]' 'a region such as ap-northeast-1'
  [[ $BACKUPS == no || -n $BUCKET ]] ||
    bad_usage "missing: --bucket; or --backup-each-hop no, to upgrade without a way back"
}

# The path.

stops() { sed '/^#/d; /^$/d' <<<"$STOPS"; }
stop_versions() { stops | cut -f 1 | tr '\n' ' ' | sed 's/ $//'; }

# stop VERSION [COLUMN] prints the stop's line, or one of its fields.
stop() {
  # The letter keeps awk from comparing numbers.
  stops | awk -F '\t' -v version="v$1" -v column="${2:-0}" '"v" $1 == version { print column ? $column : $0 }'
}

# number VERSION makes versions comparable; "sort -V" is not on every laptop.
number() {
  local IFS=. part
  # shellcheck disable=SC2086 # it is to be split
  set -- $1
  part=$((10#$1 * 10000 + 10#$2 * 100 + 10#$3))
  printf '%s\n' "$part"
}

# find_path sets PATH_STOPS, the versions from after FROM (or what is installed)
# up to TO, and NEXT_STOP, the first of them or nothing.
find_path() {
  local version from=${INSTALLED:-$FROM}
  # GitLab's stops before 13.12 are not in the table; the last one is 13.8.
  (($(number "$from") >= 130800)) || die "GitLab $from is older than 13.8, where this path begins"
  (($(number "$from") <= $(number "$TO"))) || die "GitLab $from is newer than $TO: there is no way back but a restore"
  PATH_STOPS=
  for version in $(stop_versions); do
    if (($(number "$version") > $(number "$from") && $(number "$version") <= $(number "$TO"))); then
      PATH_STOPS+="$version "
    fi
  done
  NEXT_STOP=${PATH_STOPS%% *}
}

print_path() {
  local version
  printf 'version\tpatch\tpackages\tpostgresql\treason\trisks\n'
  for version in $PATH_STOPS; do
    stop "$version"
  done
}

# What is there.

check_host() {
  ((EUID == 0)) || die "run this as root"
  need awk curl df flock gitlab-ctl gitlab-psql gitlab-rails gitlab-rake rpm systemctl timeout yum
  FAMILY=amazon/$(amazon_linux)
  [[ $FAMILY == amazon/2 || $FAMILY == amazon/2023 ]] ||
    die "this is not Amazon Linux 2 or 2023: $(sed -n 's/^PRETTY_NAME=//p' /etc/os-release)"
  export HOME=${HOME:-/root}
}

installed_version() {
  command -v rpm >/dev/null || bad_usage "there is no GitLab here: pass --from"
  local found
  found=$(installed_package gitlab-ce gitlab-ee | sed -nE "s/^gitlab-[ce]e-($VERSION_FORM)-.*/\1/p")
  [[ $found =~ ^$VERSION_FORM$ ]] || bad_usage "there is no GitLab here, or more than one: pass --from"
  printf '%s\n' "$found"
}

# read_installed sets INSTALLED, NAME and EDITION: what rpm has.
read_installed() {
  local found
  found=$(installed_package gitlab-ce gitlab-ee)
  [[ -n $found ]] || die "GitLab is not installed"
  [[ $found =~ ^(gitlab-(ce|ee))-($VERSION_FORM)-[a-z]+\.[0-9]+\.[a-z0-9]+$ ]] ||
    die "rpm has '$(tr '\n' ' ' <<<"$found")', and that is not one package of GitLab"
  NAME=${BASH_REMATCH[1]} EDITION=${BASH_REMATCH[2]} INSTALLED=${BASH_REMATCH[3]}
  [[ -z $FROM || $FROM == "$INSTALLED" || $MODE == plan || -e $HOP || $INSTALLED == "$TO" ]] ||
    (($(number "$FROM") < $(number "$INSTALLED"))) ||
    die "GitLab $INSTALLED is installed, and --from says $FROM"
}

# mend_packages brings rpm's database into order after a package that was
# killed. What it cannot mend it names.
mend_packages() {
  local found new old
  # A killed rpm of Amazon Linux 2 leaves locks in its database.
  if ! timeout 120 rpm -q rpm >/dev/null 2>&1 && ! timeout 120 rpm -qa >/dev/null 2>&1; then
    ! pgrep -x 'yum|rpm|dnf' >/dev/null || die "another yum or rpm is at work: wait for it"
    log "rpm's database does not answer: removing its locks and building it again"
    rm -f /var/lib/rpm/__db.*
    timeout 900 rpm --rebuilddb || die "rpm's database is damaged: see rpm --rebuilddb"
  fi
  found=$(installed_package gitlab-ce gitlab-ee | sort -V)
  [[ $(wc -l <<<"$found") -eq 2 ]] || return 0
  # rpm enters the new package when its files are there, and takes the old one
  # out after that: it was killed in between.
  old=$(head -n 1 <<<"$found") new=$(tail -n 1 <<<"$found")
  [[ ${old%%-[0-9]*} == "${new%%-[0-9]*}" ]] ||
    die "$old and $new are installed at once: remove one by hand (rpm -e --nodeps --noscripts …)"
  log "$old is left beside $new by an installation that was killed: taking it out"
  logged rpm -e --nodeps --noscripts --notriggers "$old" ||
    die "cannot take it out: rpm -e --nodeps --noscripts --notriggers $old says $(last_logged)"
}

# mend_files goes on with a hop whose package was killed while it wrote its
# files: such a mixture answers no question, and all checks for that package
# had passed. (The old one installed again would be a way back, and could be
# killed, too: rpm then has it twice, and takes out none of them.)
mend_files() {
  local from to backup changed
  [[ -e $HOP ]] || return 0
  read -r from to backup <"$HOP"
  log "an upgrade from $from to $to (backup: $backup) did not finish: going on with it"
  [[ $from == "$INSTALLED" ]] || return 0
  changed=$(rpm -V --nodeps --noscripts --nofiledigest "$NAME" | grep -vE '^[^ ]+ +[cdg] ' | head -n 1) || true
  if [[ -z $changed ]]; then
    rm -f "$HOP"
    return
  fi
  log "files of GitLab $from are in part those of $to ($changed)"
  find_package "$to"
  add_repository "$to"
  run_installation
  CONFIGURED=
  read_installed
}

# Checks for a hop. Each one adds to PROBLEMS what is in the way.

problem() { PROBLEMS+="$*"$'\n'; }

check_hop() {
  local target=$1
  check_skip_files
  check_postgresql "$target"
  check_settings "$target"
  check_storage "$target"
  check_room
  find_package "$target"
}

# check_skip_files: with these the package does not do its work, or not its checks.
# https://docs.gitlab.com/update/package/
check_skip_files() {
  local file
  for file in skip-auto-reconfigure skip-auto-migrations skip-unmigrated-data-check skip-fips-check; do
    [[ ! -e /etc/gitlab/$file ]] || problem "/etc/gitlab/$file is there, so that the package skips what it should do: rm /etc/gitlab/$file"
  done
}

check_postgresql() {
  local have need file=/etc/gitlab/disable-postgresql-upgrade
  need=$(stop "$1" 4)
  # The package makes no checks at all when it does not answer.
  if ! ask_database "SHOW server_version_num" || [[ ! $ANSWER =~ ^[0-9]{5,6}$ ]]; then
    problem "PostgreSQL does not say its version ($ANSWER): it has to run during the upgrade, gitlab-ctl start postgresql"
    return
  fi
  have=$((ANSWER / 10000))
  ((have < need)) || return 0
  if [[ -e $file ]]; then
    problem "PostgreSQL is $have, GitLab $1 needs $need, and $file opted out of it: rm $file, then gitlab-ctl pg-upgrade"
  else
    problem "PostgreSQL is $have, and GitLab $1 needs $need: gitlab-ctl pg-upgrade (GitLab is down meanwhile; it needs the size of the database on the disk)"
  fi
}

check_settings() {
  local output status=0
  output=$(timeout 600 gitlab-ctl check-config --version="$1" 2>&1 9>&- </dev/null) || status=$?
  ((status == 0)) || problem "gitlab.rb has settings that GitLab $1 does not take (gitlab-ctl check-config --version=$1): $(grep '[^[:space:]]' <<<"$output" | tail -n 3 | tr '\n' ' ')"
  # check-config of 13.x does not know this one.
  if (($(number "$1") >= 140000)) && grep -Eq "^[[:space:]]*unicorn\[" "$MAIN_SETTINGS" 2>/dev/null; then
    problem "$MAIN_SETTINGS has unicorn settings, which 14.0 refuses: replace them by those of puma"
  fi
}

# check_storage: 14.0 knows hashed storage only.
# https://docs.gitlab.com/administration/raketasks/storage/
check_storage() {
  local kind output count
  (($(number "$1") >= 140000 && $(number "$INSTALLED") < 140000)) || return 0
  for kind in projects attachments; do
    if ! output=$(timeout 900 gitlab-rake "gitlab:storage:legacy_$kind" 2>&1 9>&- </dev/null); then
      problem "legacy storage of $kind cannot be told: $(tail -n 1 <<<"$output")"
      continue
    fi
    count=$(sed -nE 's/.*Found ([0-9]+) (projects|attachments) using Legacy Storage.*/\1/p' <<<"$output")
    [[ $count == 0 ]] || problem "${count:-an unknown number of} $kind are in legacy storage: gitlab-rake gitlab:storage:migrate_to_hashed, and wait for its jobs"
  done
}

check_room() {
  local folder free
  for folder in /opt /var/cache; do
    free=$(df -P -k "$folder" | awk 'NR == 2 { print int($4 / 1024) }')
    [[ $free =~ ^[0-9]+$ && $free -ge $UPGRADE_FREE_MIB ]] || problem "$folder has ${free:-unknown} MiB free, and a package needs $UPGRADE_FREE_MIB"
  done
}

# find_package VERSION sets PACKAGE, RELEASE and REPOSITORY_URL.
find_package() {
  local families family=$FAMILY architecture
  families=$(stop "$1" 3)
  architecture=$(uname -m)
  if [[ ,$families, != *",$FAMILY,"* ]]; then
    # The package of EL 7 is for Amazon Linux 2 what there is before 14.9.
    [[ $FAMILY == amazon/2 && $families == el/7 && $architecture == x86_64 ]] || {
      problem "there is no GitLab $1 for Amazon Linux ${FAMILY#*/} on $architecture: $families"
      return 0
    }
    family=el/7
  fi
  RELEASE=$1-$EDITION.0.$(tr -d / <<<"$family")
  PACKAGE=$NAME-$RELEASE
  REPOSITORY_URL=$REPOSITORY_BASE/$NAME/$family/$architecture
}

# add_repository VERSION is for PACKAGE; see find_package.
add_repository() {
  local keys=("$REPOSITORY_BASE/$NAME/gpgkey/gitlab-$NAME-3D645A26AB9FBD22.pub.gpg")
  # https://docs.gitlab.com/omnibus/update/package_signatures/
  (($(number "$1") < 170700)) || keys+=("$REPOSITORY_BASE/$NAME/gpgkey/gitlab-$NAME-CB947AD886C8E8FD.pub.gpg")
  write_repository "$REPOSITORY" "$REPOSITORY_URL"
  require_available "$REPOSITORY" "$REPOSITORY_URL" "$NAME" "$RELEASE"
  import_keys "${keys[@]}"
}

# preflight makes every check, tells all that is in the way, and changes nothing.
preflight() {
  local bad=0 line
  PROBLEMS=
  [[ ! -e $HOP ]] || problem "an upgrade to $(cut -d ' ' -f 2 "$HOP") did not finish: start it again without --preflight"
  read_installed
  find_path
  log "GitLab $INSTALLED, on the way to $TO: ${PATH_STOPS:-nothing to do}"
  service_problem || problem "$SERVICE_PROBLEM"
  migrations_left || true
  [[ $LEFT == 0 ]] || problem "migrations of $INSTALLED are not finished: $LEFT_TEXT"
  if [[ -n $NEXT_STOP ]]; then
    check_hop "$NEXT_STOP"
    # With a repository of its own, in a folder of its own: nothing is written to the host.
    [[ -z ${RELEASE-} ]] || has_package || problem "$PACKAGE is not to be had in $REPOSITORY_URL"
    [[ $BACKUPS == no ]] || newest_backup "$BUCKET" || log "there is no complete backup in $BUCKET: the run makes one"
  fi
  while IFS= read -r line; do
    [[ -z $line ]] || {
      log "in the way: $line"
      bad=1
    }
  done <<<"$PROBLEMS"
  ((bad == 0)) || die "preflight found something in the way of GitLab ${NEXT_STOP:-$INSTALLED}: see above; nothing was changed"
  printf '{"from":"%s","next":"%s","to":"%s","ready":true}\n' "$INSTALLED" "$NEXT_STOP" "$TO"
}

has_package() {
  local list
  list=$(timeout 300 yum -q --disablerepo='*' --repofrompath="preflight,$REPOSITORY_URL" --enablerepo=preflight \
    --showduplicates list available "$NAME" 2>/dev/null) || return
  tr -s ' \t' '\n' <<<"$list" | grep -Fxq -e "$RELEASE" -e "0:$RELEASE"
}

# The way.

# hop VERSION takes GitLab to the next stop.
hop() {
  local target=$1
  PROBLEMS=
  log "from $INSTALLED to $target: $(stop "$target" 5)"
  log "risks: $(stop "$target" 6)"
  check_hop "$target"
  [[ -z $PROBLEMS ]] || die "in the way of $target: $(tr '\n' ';' <<<"$PROBLEMS" | sed 's/;*$//')"
  add_repository "$target"
  require_backup
  printf '%s %s %s\n' "$INSTALLED" "$target" "${BACKUP_ID:-none}" | write_file "$HOP" 600
  install_package
  read_installed
  [[ $INSTALLED == "$target" ]] || die "yum reports success, and $NAME $INSTALLED is installed, not $target: $(last_logged)"
  settle
}

# require_backup leaves a complete backup of what is installed, not older than
# an hour. Of another version it would be no way back.
require_backup() {
  if [[ $BACKUPS == no ]]; then
    log "WARNING: no backup before this hop (--backup-each-hop no): if it fails there is no way back"
    BACKUP_ID=
    return
  fi
  if newest_backup "$BUCKET" && [[ $BACKUP_VERSION == "$INSTALLED" && $BACKUP_EDITION == "$EDITION" ]] &&
    ((BACKUP_AGE >= 0 && BACKUP_AGE <= BACKUP_LIMIT)); then
    log "backup $BACKUP_ID is $((BACKUP_AGE / 60)) minutes old: good"
    return
  fi
  log "making a backup of GitLab $INSTALLED"
  make_backup "$BUCKET"
  [[ -n ${BACKUP_ID-} ]] || die "the backup has no id"
}

# install_package installs PACKAGE, whose last scriptlet reconfigures GitLab.
# rpm only warns when that fails.
install_package() {
  ask_database "SELECT 1" || die "PostgreSQL does not answer right before the package, which then makes no checks: $ANSWER"
  run_installation
}

run_installation() {
  local before=0 status=0
  [[ ! -e $INSTALL_LOG ]] || before=$(wc -c <"$INSTALL_LOG")
  log "installing $PACKAGE; its migrations take minutes to hours"
  logged timeout "$(seconds_left)" yum -y --enablerepo="$REPOSITORY" install "$PACKAGE" || status=$?
  ((status == 0)) || die "yum could not install $PACKAGE ($status): $(last_logged). Start the upgrade again when that is mended"
  CONFIGURED=yes
  ! tail -c "+$((before + 1))" "$INSTALL_LOG" | grep -Eq 'scriptlet failed|error in POSTTRANS' || CONFIGURED=
}

# settle leaves the installed version configured, running, and with all its
# migrations finished. Only then is a stop reached.
settle() {
  local from to backup
  if [[ -e $HOP && -z ${CONFIGURED-} ]] || ! is_configured; then
    reconfigure
  fi
  CONFIGURED=
  wait_until_ready
  wait_for_migrations
  [[ $(running_version) == "$INSTALLED" ]] || die "GitLab says it is $(running_version), and $INSTALLED is installed"
  [[ -e $HOP ]] || return 0
  read -r from to backup <"$HOP"
  [[ $(tail -n 1 "$JOURNAL" 2>/dev/null | cut -d ' ' -f 2-) == "$from $to $backup" ]] ||
    printf '%s %s %s %s\n' "$(date -u +%FT%TZ)" "$from" "$to" "$backup" >>"$JOURNAL"
  rm -f "$HOP"
  log "GitLab is $INSTALLED"
}

# is_configured is true when the last reconfigure was this version's and no
# schema migration is left.
is_configured() {
  [[ $(running_version) == "$INSTALLED" ]] || return 1
  timeout 900 gitlab-rake db:abort_if_pending_migrations >/dev/null 2>&1 9>&- </dev/null
}

# running_version is what the last reconfigure has noted for the services.
running_version() { sed -nE "1s/^($VERSION_FORM)(-ee)?$/\1/p" /var/opt/gitlab/gitlab-rails/VERSION 2>/dev/null || true; }

reconfigure() {
  local before=0
  log "configuring GitLab $INSTALLED; its migrations take minutes to hours"
  [[ ! -e $INSTALL_LOG ]] || before=$(wc -c <"$INSTALL_LOG")
  ! logged timeout "$(seconds_left)" gitlab-ctl reconfigure || return 0
  # Chef ends migrations after an hour. Outside of it they take the time they need.
  # https://docs.gitlab.com/update/package/package_troubleshooting/
  if tail -c "+$((before + 1))" "$INSTALL_LOG" | grep -q 'timed out after 3600s'; then
    log "migrations take longer than Chef's hour: running them by themselves"
    logged timeout "$(seconds_left)" gitlab-rake db:migrate || die "gitlab-rake db:migrate failed: $(last_logged)"
    ! logged timeout "$(seconds_left)" gitlab-ctl reconfigure || return 0
  fi
  die "gitlab-ctl reconfigure of GitLab $INSTALLED failed: $(last_logged). All of it is in $INSTALL_LOG; mend it and start the upgrade again"
}

wait_until_ready() {
  log "waiting for services and sign-in page"
  wait_for "$UPGRADE_READY_TIMEOUT" is_ready "$(address_in_use)" && return
  die "GitLab $INSTALLED does not get ready: ${SERVICE_PROBLEM:-the sign-in page answers with HTTP $ANSWER}. See gitlab-ctl status, gitlab-ctl tail"
}

is_ready() { service_problem && answers_sign_in "$1"; }

# service_problem is true when all services run; if not, SERVICE_PROBLEM tells.
service_problem() {
  local output
  output=$(timeout 120 gitlab-ctl status 2>&1 9>&- </dev/null) || true
  SERVICE_PROBLEM=$(grep -v '^run: ' <<<"$output" | head -n 3 | tr '\n' ' ') || true
  [[ -z ${SERVICE_PROBLEM// /} ]] || SERVICE_PROBLEM="services are down: $SERVICE_PROBLEM"
  [[ -n $output ]] || SERVICE_PROBLEM="gitlab-ctl status names no service"
  [[ -z ${SERVICE_PROBLEM// /} ]]
}

# wait_for_migrations ends when nothing is left, or ends the script.
wait_for_migrations() {
  local deadline=$((SECONDS + UPGRADE_MIGRATIONS_TIMEOUT)) said='' told=-600 strange=0 fixed=''
  while :; do
    if migrations_left; then
      strange=0
      [[ $LEFT != 0 ]] || return 0
      if [[ $FAILED != 0 && $FIX == no ]]; then
        die "migrations of $INSTALLED have failed: $LEFT_TEXT. $(remedies). Or start again with --fix-known-jobs yes"
      fi
      if [[ $FIX == yes && -z $fixed ]] && is_stuck; then
        fix_known_jobs
        fixed=1
        continue
      fi
      [[ $FAILED == 0 ]] || die "migrations of $INSTALLED have failed, the documented remedies included: $LEFT_TEXT"
    else
      # Not known is not finished.
      strange=$((strange + 1))
      ((strange < 5)) || die "whether the migrations of $INSTALLED are finished cannot be told: $LEFT_TEXT"
    fi
    if [[ $LEFT_TEXT != "$said" ]] || ((SECONDS - told >= 600)); then
      log "waiting for migrations: $LEFT_TEXT"
      said=$LEFT_TEXT told=$SECONDS
    fi
    ((SECONDS < deadline)) ||
      die "migrations of $INSTALLED are not finished after $UPGRADE_MIGRATIONS_TIMEOUT s: $LEFT_TEXT. Look at gitlab-ctl tail sidekiq, start the upgrade again to go on waiting, or with --fix-known-jobs yes"
    sleep "$MIGRATIONS_POLL"
  done
}

operate upgrade main "$@"
