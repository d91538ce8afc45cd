#!/usr/bin/env bash
#/ Usage: upgrade-runner.sh --version <x.y[.z]> --repository-url <url> [--jobs-timeout <seconds>]
#/
#/ Brings GitLab Runner to that version. It takes no new jobs first and
#/ lets the running ones end. A run that died is continued by the next one; an
#/ older version is never installed over a newer one. Run it as root.
#/
#/ OPTIONS:
#/   --version <x.y[.z]>       GitLab Runner version, such as 15.4.2, or 15.4 for its
#/                             newest patch. Its minor is to be the server's.
#/   --repository-url <url>    Where the repository gitlab-runner is, such as
#/                             https://packages.gitlab.com/runner.
#/   --jobs-timeout <seconds>  Longest wait for running jobs; nothing is changed when
#/                             they take longer. Default: 7200.
#/   -h, --help                Show this message.
#/
#/ Prints one line of JSON: {"from", "to"}.
#/ Exit status: 0 the runner has that version and runs, 1 failed, 2 wrong use.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
INSTALL_TIMEOUT=${UPGRADE_TIMEOUT:-90000}
# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/host.sh"
# shellcheck source=scripts/lib/runner-packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/runner-packages.sh"
# shellcheck source=scripts/lib/operation.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/operation.sh"

REPOSITORY=gitlab-runner-codedeploy

main() {
  local found
  parse_arguments "$@"
  check_host
  exclusive upgrade-runner
  find_version
  found=$(runner_version)
  log "GitLab Runner is $found"
  version_at_least "$VERSION" "$found" || die "GitLab Runner $found is newer than $VERSION: there is no way back"
  if [[ $found != "$VERSION" ]]; then
    find_package
    finish_jobs
    install_runner
  fi
  start_runner
  verify
  printf '{"from":"%s","to":"%s"}\n' "$found" "$VERSION"
}

parse_arguments() {
  local url=''
  VERSION='' JOBS_TIMEOUT=7200
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      --version) VERSION=${2-} ;;
      --repository-url) url=${2-} ;;
      --jobs-timeout) JOBS_TIMEOUT=${2-} ;;
      *) bad_usage "unknown argument '$1'" ;;
    esac
    shift $(($# > 1 ? 2 : 1))
  done
  check_argument --version "$VERSION" '[1-9][0-9]?\.[0-9]{1,2}(\.[0-9]{1,2})?' 'a version such as 15.4.2 or 15.4'
  check_argument --jobs-timeout "$JOBS_TIMEOUT" '[0-9]{1,6}' 'seconds'
  check_repository_url "$url"
  REPOSITORY_BASE=${url%/}/gitlab-runner
}

check_host() {
  ((EUID == 0)) || die "run this as root"
  need awk curl flock rpm systemctl timeout yum
  [[ $(amazon_linux) == 2 || $(amazon_linux) == 2023 ]] ||
    die "this is not Amazon Linux 2 or 2023: $(sed -n 's/^PRETTY_NAME=//p' /etc/os-release)"
}

# runner_version prints the newest that rpm has; a killed upgrade leaves two.
runner_version() {
  local found
  found=$(installed_package gitlab-runner | sed -nE 's/^gitlab-runner-([0-9]+\.[0-9]+\.[0-9]+)-1$/\1/p' | sort -V)
  [[ -n $found ]] || die "GitLab Runner is not installed"
  if [[ $(wc -l <<<"$found") -gt 1 ]]; then
    log "an installation was killed: taking out $(head -n 1 <<<"$found")"
    logged rpm -e --nodeps --noscripts "gitlab-runner-$(head -n 1 <<<"$found")-1" || die "cannot take it out: $(last_logged)"
  fi
  tail -n 1 <<<"$found"
}

# find_version writes the repository's file, and makes the newest patch of a
# minor.
find_version() {
  local list
  REPOSITORY_URL=$REPOSITORY_BASE/$(runner_repository "$VERSION")/$(uname -m)
  write_repository "$REPOSITORY" "$REPOSITORY_URL"
  [[ ! $VERSION =~ ^[0-9]+\.[0-9]+$ ]] || {
    list=$(timeout 600 yum -q --disablerepo='*' --enablerepo="$REPOSITORY" --showduplicates list gitlab-runner) ||
      die "cannot list gitlab-runner in $REPOSITORY_URL: unreachable, or not a repository with that package"
    list=$(tr -s ' \t' '\n' <<<"$list" | sed -nE "s/^(0:)?(${VERSION/./\\.}\.[0-9]+)-1$/\2/p" | sort -V | tail -n 1)
    [[ -n $list ]] || die "there is no gitlab-runner $VERSION in $REPOSITORY_URL"
    VERSION=$list
  }
}

# find_package looks for the package before any job is kept waiting.
find_package() {
  PACKAGES=("gitlab-runner-$VERSION-1")
  ! version_at_least "$VERSION" 17.7.0 || PACKAGES+=("gitlab-runner-helper-images-$VERSION-1")
  require_available "$REPOSITORY" "$REPOSITORY_URL" gitlab-runner "$VERSION-1"
  import_runner_keys "$REPOSITORY_BASE" "$VERSION"
}

# finish_jobs asks the runner to take no more jobs and waits for its end: on
# SIGQUIT it lets the running ones finish.
# https://docs.gitlab.com/runner/commands/#signals
finish_jobs() {
  local unit=/run/systemd/system/gitlab-runner.service.d/upgrade.conf
  systemctl is-active --quiet gitlab-runner || return 0
  # Its unit restarts it when it ends, and systemd 219 has no switch for one time.
  printf '[Service]\nRestart=no\n' | write_file "$unit" 644
  systemctl daemon-reload
  log "waiting for running jobs, $JOBS_TIMEOUT s at most"
  systemctl kill --kill-who=main --signal=QUIT gitlab-runner || die "cannot reach gitlab-runner"
  if ! wait_for "$JOBS_TIMEOUT" is_stopped; then
    rm -f "$unit"
    systemctl daemon-reload
    # It ends when its jobs have, and comes back then.
    die "jobs are still running after $JOBS_TIMEOUT s: the runner keeps its version, and takes jobs again when these have ended"
  fi
}

is_stopped() { ! systemctl is-active --quiet gitlab-runner; }

install_runner() {
  log "installing ${PACKAGES[*]}"
  GITLAB_RUNNER_DISABLE_SKEL=true logged timeout 3600 yum -y --enablerepo="$REPOSITORY" install "${PACKAGES[@]}" || {
    start_runner
    die "yum could not install ${PACKAGES[*]}: $(last_logged)"
  }
}

start_runner() {
  rm -f /run/systemd/system/gitlab-runner.service.d/upgrade.conf
  systemctl daemon-reload
  systemctl start gitlab-runner 9>&- || die "cannot start gitlab-runner: see journalctl --unit gitlab-runner"
}

verify() {
  local version
  version=$(timeout 60 gitlab-runner --version) || die "gitlab-runner does not run"
  version=$(awk '$1 == "Version:" { print $2 }' <<<"$version")
  [[ $version == "$VERSION" ]] || die "gitlab-runner says that it is version '$version', and $VERSION was installed"
  systemctl is-active --quiet gitlab-runner || die "the service gitlab-runner is not running: see journalctl --unit gitlab-runner"
  log "GitLab Runner $version runs"
}

operate upgrade-runner main "$@"
