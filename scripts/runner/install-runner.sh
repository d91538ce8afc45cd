#!/usr/bin/env bash
#/ Usage: install-runner.sh --version <x.y.z> --repository-url <url> [--signal-url <url>]
#/
#/ Installs Docker and exactly that version of GitLab Runner on an Amazon Linux
#/ 2 or 2023 host, starts both, and clears what jobs leave behind every night.
#/ On Amazon Linux 2023 Docker is 25.0 and stays it, for the sake of older
#/ runners. What is installed already keeps its version. It registers no runner.
#/ Run it as root.
#/
#/ OPTIONS:
#/   --version <x.y.z>       Exact GitLab Runner version, such as 13.10.0.
#/   --repository-url <url>  Where the repository gitlab-runner is, such as
#/                           https://packages.gitlab.com/runner.
#/   --signal-url <url>      Wait condition to tell the outcome. Optional.
#/   -h, --help              Show this message.
#/
#/ ENVIRONMENT (seconds; for tests and by hand):
#/   INSTALL_TIMEOUT  The whole run. Default: 3300.
#/   INSTALL_POLL     Between two looks. Default: 5.
#/
#/ Exit status: 0 Docker and GitLab Runner work, 1 failed, 2 wrong use. What the
#/ packages say is in /var/log/gitlab-codedeploy-install.log.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=scripts/lib/signal.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/signal.sh"
# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/host.sh"
# shellcheck source=scripts/lib/runner-packages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/runner-packages.sh"

REPOSITORY=gitlab-runner-codedeploy

main() {
  parse_arguments "$@"
  check_host
  only_one_run gitlab-codedeploy-install
  install_docker
  install_runner
  verify
}

parse_arguments() {
  local version='' repository_url='' signal_url='' unknown=''
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      --version) version=${2-} ;;
      --repository-url) repository_url=${2-} ;;
      --signal-url) signal_url=${2-} ;;
      *)
        unknown=${unknown:-$1}
        shift
        continue
        ;;
    esac
    shift $(($# > 1 ? 2 : 1))
  done

  # Before the other checks, so that a deploy hears of a mistake in them.
  report_outcome "$signal_url" runner
  [[ -z $unknown ]] || bad_usage "unknown argument '$unknown'"
  check_argument --version "$version" '[0-9]+\.[0-9]+\.[0-9]+' 'an exact version such as 13.10.0'
  check_repository_url "$repository_url"
  VERSION=$version
  REPOSITORY_BASE=${repository_url%/}/gitlab-runner
}

check_host() {
  ((EUID == 0)) || die "run this as root"
  need awk curl flock rpm systemctl timeout yum
  [[ $(amazon_linux) == 2 || $(amazon_linux) == 2023 ]] ||
    die "this is not Amazon Linux 2 or 2023: $(sed -n 's/^PRETTY_NAME=//p' /etc/os-release)"
}

install_docker() {
  keep_docker
  if [[ -z $(installed_package docker) ]]; then
    log "installing Docker"
    if [[ $(amazon_linux) == 2 ]]; then
      # There Docker is one of the "extras", which yum alone does not see.
      # https://docs.aws.amazon.com/linux/al2/ug/al2-extras.html
      logged timeout "$(seconds_left)" amazon-linux-extras install -y docker ||
        die "amazon-linux-extras could not install docker: $(last_logged)"
    else
      logged timeout "$(seconds_left)" yum -y install "docker-$DOCKER.*" ||
        die "yum could not install docker $DOCKER: $(last_logged)"
    fi
    [[ -n $(installed_package docker) ]] ||
      die "Docker is not installed, though its installation reports success: $(last_logged)"
  fi
  limit_container_logs
  clear_left_overs
  start docker
}

# limit_container_logs keeps one talkative job from filling the disk: by
# default Docker never cuts a container's log.
# https://docs.docker.com/engine/logging/drivers/json-file/
limit_container_logs() {
  [[ ! -e /etc/docker/daemon.json ]] || return 0
  write_file /etc/docker/daemon.json 644 <<'END'
{"log-driver": "json-file", "log-opts": {"max-size": "50m", "max-file": "2"}}
END
}

# clear_left_overs adds a nightly clean-up of stopped containers and of images
# that no container uses and that are a week old. Volumes, the caches of jobs
# among them, stay.
clear_left_overs() {
  write_file /etc/systemd/system/docker-clean-up.service 644 <<'END'
# Written by gitlab-codedeploy.
[Unit]
Description=Remove what CI jobs left in Docker
Requires=docker.service
After=docker.service

[Service]
Type=oneshot
ExecStart=/usr/bin/docker system prune --force --all --filter until=168h
END
  write_file /etc/systemd/system/docker-clean-up.timer 644 <<'END'
# Written by gitlab-codedeploy.
[Unit]
Description=Remove what CI jobs left in Docker, every night

[Timer]
OnCalendar=*-*-* 03:20:00
Persistent=true

[Install]
WantedBy=timers.target
END
  systemctl daemon-reload
  start docker-clean-up.timer
}

install_runner() {
  local found url packages=("gitlab-runner-$VERSION-1")
  found=$(installed_package gitlab-runner)
  if [[ -n $found ]]; then
    log "$found is installed already and keeps its version"
    start gitlab-runner
    return
  fi
  url=$REPOSITORY_BASE/$(runner_repository "$VERSION")/$(uname -m)
  # From then on the helper images are a package of their own, of which yum
  # would take the newest.
  # https://docs.gitlab.com/runner/install/linux-repository/
  if version_at_least "$VERSION" 17.7.0; then
    packages+=("gitlab-runner-helper-images-$VERSION-1")
  fi

  log "looking for gitlab-runner $VERSION in $url"
  write_repository "$REPOSITORY" "$url"
  require_available "$REPOSITORY" "$url" gitlab-runner "$VERSION-1"
  import_runner_keys "$REPOSITORY_BASE" "$VERSION"
  log "installing ${packages[*]}"
  # Before 14.0 the package copies /etc/skel into the home of its user, where
  # shell start-up files make jobs fail.
  GITLAB_RUNNER_DISABLE_SKEL=true logged timeout "$(seconds_left)" \
    yum -y --enablerepo="$REPOSITORY" install "${packages[@]}" ||
    die "yum could not install ${packages[*]}: $(last_logged)"
  [[ $(installed_package gitlab-runner) == "gitlab-runner-$VERSION-1" ]] ||
    die "yum reports success, and gitlab-runner-$VERSION-1 is not installed: $(last_logged)"
  start gitlab-runner
}

# start lets a unit run now and after each boot. (Systemd 219 has no "enable --now".)
start() {
  systemctl enable "$1" 9>&- || die "cannot enable $1"
  systemctl start "$1" 9>&- || die "cannot start $1: see journalctl --unit $1"
}

verify() {
  local version
  wait_for 120 docker_answers || die "Docker does not answer: $(docker info 2>&1 | tail -n 1)"
  version=$(gitlab-runner --version) || die "gitlab-runner does not run"
  version=$(awk '$1 == "Version:" { print $2 }' <<<"$version")
  [[ $(installed_package gitlab-runner) == "gitlab-runner-$version-"* ]] ||
    die "gitlab-runner says that it is version '$version', and $(installed_package gitlab-runner) is installed"
  systemctl is-active --quiet gitlab-runner || die "the service gitlab-runner is not running: see journalctl --unit gitlab-runner"
  log "Docker and GitLab Runner $version work"
}

docker_answers() { timeout 30 docker info >/dev/null 2>&1; }

main "$@"
