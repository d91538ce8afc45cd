#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2119,SC2120 # text for shells on the host; optional arguments
# The installation of Docker and GitLab Runner, on a stand-in host
# (fixtures/host/host.bash): real dnf and rpm with signatures.

load helper
load fixtures/host/host

setup_file() {
  require_host
  make_key
  make_host_package
  local spec=$BATS_TEST_DIRNAME/fixtures/host/runner.spec version folder
  make_package gitlab-runner 13.10.0 1 "$spec" runner/gitlab-runner/el/7/x86_64
  make_package gitlab-runner 13.12.0 1 "$spec" runner/gitlab-runner/el/7/x86_64
  make_package gitlab-runner 15.4.2 1 "$spec" runner/gitlab-runner/amazon/2/x86_64
  for version in 17.8.0 17.8.1; do
    {
      printf 'Requires: gitlab-runner-helper-images\n'
      cat "$spec"
    } >"$BATS_FILE_TMPDIR/runner.spec"
    for folder in runner/gitlab-runner/amazon/{2,2023}/x86_64; do
      make_package gitlab-runner "$version" 1 "$BATS_FILE_TMPDIR/runner.spec" "$folder"
      make_package gitlab-runner-helper-images "$version" 1 "$BATS_TEST_DIRNAME/fixtures/host/helper-images.spec" "$folder"
    done
  done
  make_package gitlab-runner 13.10.0 1 "$spec" unsigned/gitlab-runner/el/7/x86_64 unsigned
  make_package docker 25.0.6 1 "$BATS_TEST_DIRNAME/fixtures/host/docker.spec" amazon unsigned
  # Amazon Linux 2023 goes on.
  for version in 24.0.5 25.0.6 29.1.0 30.0.1; do
    make_package docker "$version" 1 "$BATS_TEST_DIRNAME/fixtures/host/docker.spec" amazon2023 unsigned
  done
  make_package docker 25.0.14 1 "$BATS_TEST_DIRNAME/fixtures/host/docker.spec" amazon2023-later unsigned
  make_package docker 31.0.0 1 "$BATS_TEST_DIRNAME/fixtures/host/docker.spec" amazon2023-later unsigned
  for folder in {runner,unsigned}/gitlab-runner/el/7/x86_64 runner/gitlab-runner/amazon/{2,2023}/x86_64 amazon amazon2023{,-later}; do
    make_repository "$folder"
  done
  publish_key {runner,unsigned}/gitlab-runner/gpgkey/runner-gitlab-runner-{366915F31B487241,4C80FB51394521E9,49F16C5CC3A0F81F}.pub.gpg
  # An older key that the host of the packages has no longer.
  rm "$BATS_FILE_TMPDIR/www/runner/gitlab-runner/gpgkey/runner-gitlab-runner-4C80FB51394521E9.pub.gpg"
}

setup() {
  require_host
  start_host
  runner_host
}

teardown() { stop_host; }

# runner_host [RELEASE] gives the host Amazon's own repository, on Amazon Linux 2
# "extras", and a systemctl that remembers what it started.
runner_host() {
  local folder=amazon enabled=0
  [[ ${1:-2} != 2023 ]] || folder=amazon2023 enabled=1
  amazon_repository "$folder" "$enabled"
  accept_runner_key
  [[ ${1:-2} == 2023 ]] || stub amazon-linux-extras '[[ "$1 $2" == "install -y" ]] && exec yum -y --enablerepo=amazon install "$3"'
  stub systemctl 'case $1 in
    start) touch "/run/started-$2" ;;
    is-active) [[ -e /run/started-${!#} ]] ;;
  esac'
}

amazon_repository() {
  on_host bash -c 'printf "[amazon]\nname=amazon\nbaseurl=%s/%s\ngpgcheck=0\nenabled=%s\nmetadata_expire=1\n" "$@" >/etc/yum.repos.d/amazon.repo' \
    _ "$HOST_URL" "$@"
}

# host_2023 makes the host of this test one of Amazon Linux 2023.
host_2023() {
  stop_host
  start_host 2023
  runner_host 2023
  rm -f "$STUBS/amazon-linux-extras"
}

install_runner() {
  on_host "$ROOT/scripts/runner/install-runner.sh" --version 13.10.0 --repository-url "$HOST_URL/runner" \
    --signal-url "$HOST_URL/wait%3Acondition?Signature=a%2Bb&Expires=1" "$@"
}

failed() {
  [ "$status" -eq "${2:-1}" ]
  [ "$(signals)" -eq 1 ]
  [ "$(signal 1 Status)" = FAILURE ]
  [[ $(signal 1 Reason) == *"$1"* ]]
}

@test "S11: a blank host ends with Docker and exactly that GitLab Runner, both started now and at boot" {
  run install_runner
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$(on_host rpm -q docker gitlab-runner)" = $'docker-25.0.6-1.noarch\ngitlab-runner-13.10.0-1.noarch' ]
  for unit in docker gitlab-runner docker-clean-up.timer; do
    grep -qx "systemctl enable $unit" "$CALLS"
    grep -qx "systemctl start $unit" "$CALLS"
  done
  grep -qx 'amazon-linux-extras install -y docker' "$CALLS"
  [ "$(on_host cat /var/tmp/gitlab-runner-installed)" = 'skel disabled: true' ]
  [ "$(signal 1 Status)" = SUCCESS ]
  [[ $(signal 1 Data) == *'Docker and GitLab Runner 13.10.0 work'* ]]
}

@test "S11: on Amazon Linux 2023, which has no extras, Docker is 25.0, though newer ones are there" {
  host_2023
  run install_runner
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$(on_host rpm -q docker gitlab-runner)" = $'docker-25.0.6-1.noarch\ngitlab-runner-13.10.0-1.noarch' ]
  # Of its own packages GitLab has some for it, from some version on.
  on_host rpm -e gitlab-runner
  run install_runner --version 15.4.2
  [ "$status" -eq 0 ]
  on_host grep -qx "baseurl=$HOST_URL/runner/gitlab-runner/amazon/2/x86_64" /etc/yum.repos.d/gitlab-runner-codedeploy.repo
  on_host rpm -e gitlab-runner
  run install_runner --version 17.8.0
  [ "$status" -eq 0 ]
  on_host grep -qx "baseurl=$HOST_URL/runner/gitlab-runner/amazon/2023/x86_64" /etc/yum.repos.d/gitlab-runner-codedeploy.repo
}

@test "S11: on Amazon Linux 2023 every update leaves Docker at 25.0 with its patches, and the runner as it is" {
  host_2023
  install_runner
  amazon_repository amazon2023-later 1
  on_host yum -y update
  [ "$(on_host rpm -q docker gitlab-runner)" = $'docker-25.0.14-1.noarch\ngitlab-runner-13.10.0-1.noarch' ]
  run ! on_host yum -y install docker-31.0.0
  [ "$(on_host rpm -q docker)" = docker-25.0.14-1.noarch ]
  # Once is enough, and without it the newest comes.
  install_runner
  [ "$(on_host grep -c 'docker-2' /etc/dnf/dnf.conf)" -eq 1 ]
  on_host sed -i /docker-2/d /etc/dnf/dnf.conf
  on_host yum -y update
  [ "$(on_host rpm -q docker)" = docker-31.0.0-1.noarch ]
}

@test "S11: on Amazon Linux 2023 what an operator excludes stays excluded, and a strange dnf.conf is left as it is" {
  host_2023
  on_host bash -c 'printf "[main]\ngpgcheck=1\nexcludepkgs=kernel*\nbest=0\n" >/etc/dnf/dnf.conf'
  install_runner
  [ "$(on_host grep -n excludepkgs /etc/dnf/dnf.conf)" = '3:excludepkgs=kernel*,docker-2[6-9].*,docker-[3-9][0-9].*' ]

  host_2023
  on_host bash -c 'echo "# nothing" >/etc/dnf/dnf.conf'
  rm -f "$SIGNALS"/*
  run install_runner
  failed 'cannot exclude Docker after 25.0 in /etc/dnf/dnf.conf: it has no section [main]'
}

@test "S11: without Docker 25.0 in Amazon's repository the run fails and says so" {
  host_2023
  mkdir -p "$BATS_FILE_TMPDIR/www/empty"
  make_repository empty
  amazon_repository empty 1
  run install_runner
  failed 'yum could not install docker 25.0: '
}

@test "S11: containers' logs are cut and left-overs cleared, before Docker starts" {
  stub systemctl '[[ $* != "start docker" ]] || cp /etc/docker/daemon.json "$STATE/at-start"; [[ $1 != start ]] || touch "/run/started-$2"'
  install_runner
  python3 -c 'import json, sys; assert json.load(open(sys.argv[1]))["log-opts"] == {"max-size": "50m", "max-file": "2"}' "$STATE/at-start"
  on_host grep -q '^ExecStart=/usr/bin/docker system prune --force' /etc/systemd/system/docker-clean-up.service
  run ! on_host grep -r -e --volumes /etc/systemd/system/docker-clean-up.service
  on_host grep -qx 'OnCalendar=\*-\*-\* 03:20:00' /etc/systemd/system/docker-clean-up.timer
}

@test "S11: the second run keeps every version and an operator's daemon.json, and reports success" {
  install_runner
  on_host bash -c 'echo "{\"debug\": true}" >/etc/docker/daemon.json'
  local before
  before=$(on_host bash -c 'rpm -qa | sort; find /etc /usr/bin /var/lib -xdev -newer /etc/docker/daemon.json; sha256sum /etc/docker/* /etc/yum.repos.d/* /etc/systemd/system/docker-clean-up.*')
  run install_runner --version 13.12.0
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *'gitlab-runner-13.10.0-1 is installed already and keeps its version'* ]]
  [ "$(on_host bash -c 'rpm -qa | sort; sha256sum /etc/docker/* /etc/yum.repos.d/* /etc/systemd/system/docker-clean-up.*')" = "$before" ]
  [ "$(signal 2 Status)" = SUCCESS ]
}

@test "S11: a run killed at any step is continued by the next one" {
  local step
  for step in 'amazon-linux-extras docker' 'systemctl docker' 'yum list' 'rpm --import' 'yum gitlab-runner-13.10.0-1'; do
    case $step in
      amazon*) kill_after amazon-linux-extras docker 'dnf -y --enablerepo=amazon install docker #' ;;
      systemctl*) kill_after systemctl docker : ;;
      yum*) kill_after yum "${step#* }" dnf ;;
      *) kill_after "${step/ */}" "${step#* }" ;;
    esac
    run on_host setsid --wait "$ROOT/scripts/runner/install-runner.sh" --version 13.10.0 --repository-url "$HOST_URL/runner"
    echo "$step: $status: $output"
    [ "$status" -eq 137 ]
    [ ! -e "$STUBS/${step/ */}" ]
    runner_host
    stub yum 'exec dnf "$@"'
  done
  run install_runner
  [ "$status" -eq 0 ]
  [ "$(on_host rpm -q docker gitlab-runner)" = $'docker-25.0.6-1.noarch\ngitlab-runner-13.10.0-1.noarch' ]
}

@test "S11: from 15.0 on the repository is Amazon Linux's own, and from 17.7 on the helper images have the runner's version" {
  run install_runner --version 15.4.2
  [ "$status" -eq 0 ]
  on_host rpm -e gitlab-runner
  run install_runner --version 17.8.0
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$(on_host rpm -q gitlab-runner-helper-images)" = gitlab-runner-helper-images-17.8.0-1.noarch ]
}

@test "S11: a missing older key is passed over, an unsigned package is not" {
  run install_runner
  [ "$status" -eq 0 ]
  [[ $output == *"no package key at $HOST_URL/runner/gitlab-runner/gpgkey/runner-gitlab-runner-4C80FB51394521E9.pub.gpg"* ]]
  on_host rpm -e gitlab-runner
  rm "$SIGNALS"/*
  run install_runner --repository-url "$HOST_URL/unsigned"
  failed 'yum could not install gitlab-runner-13.10.0-1'
}

@test "S11: a package key is taken by its whole fingerprint, from the old address or the new one, and no other" {
  local key=366915F31B487241
  # The new address.
  publish_key gpgkey/runner/$key.pub.gpg
  run install_runner --repository-url "$HOST_URL/moved"
  failed "cannot list gitlab-runner in $HOST_URL/moved"
  rm "$SIGNALS"/*
  cp -r "$BATS_FILE_TMPDIR/www/runner" "$BATS_FILE_TMPDIR/www/moved"
  rm -r "$BATS_FILE_TMPDIR/www/moved/gitlab-runner/gpgkey"
  run install_runner --repository-url "$HOST_URL/moved"
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *"no package key at $HOST_URL/moved/gitlab-runner/gpgkey/runner-gitlab-runner-$key.pub.gpg"* ]]
  on_host rpm -e gitlab-runner
  on_host bash -c 'rpm -e --allmatches gpg-pubkey'
  rm "$SIGNALS"/*

  # The same key, and nobody says that it is GitLab's.
  rm "$STUBS/gpg"
  run install_runner
  failed "none of the package keys could be had: from $HOST_URL/runner/gitlab-runner/gpgkey and $HOST_URL/gpgkey/runner"
  [[ $output == *"the package key at $HOST_URL/runner/gitlab-runner/gpgkey/runner-gitlab-runner-$key.pub.gpg is not 30183AC2C4E23A409EFBE7059CE45ABC880721D4, but "*': it is left out'* ]]
  [ "$(on_host rpm -q gpg-pubkey)" = 'package gpg-pubkey is not installed' ]
  rm "$SIGNALS"/*

  # GitLab's, with another one behind it.
  accept_runner_key
  cat "$BATS_FILE_TMPDIR/key.gpg" "$BATS_FILE_TMPDIR/key.gpg" >"$BATS_FILE_TMPDIR/www/moved/two"
  mkdir -p "$BATS_FILE_TMPDIR/www/moved/gitlab-runner/gpgkey"
  for file in moved/gitlab-runner/gpgkey/runner-gitlab-runner-$key.pub.gpg gpgkey/runner/$key.pub.gpg; do
    cp "$BATS_FILE_TMPDIR/www/moved/two" "$BATS_FILE_TMPDIR/www/$file"
  done
  run install_runner --repository-url "$HOST_URL/moved"
  failed 'none of the package keys could be had'
  rm -r "$BATS_FILE_TMPDIR/www/moved" "$BATS_FILE_TMPDIR/www/gpgkey"
}

@test "S11: each failing step fails the run with its reason" {
  run install_runner --version 13.10.99
  failed "gitlab-runner 13.10.99-1 is not in $HOST_URL/runner/gitlab-runner/el/7/x86_64"
  rm "$SIGNALS"/*

  run install_runner --repository-url http://localhost:1/runner
  failed 'cannot list gitlab-runner in http://localhost:1/runner/gitlab-runner/el/7/x86_64'
  rm "$SIGNALS"/*

  stub systemctl '[[ $* != "start docker" ]]'
  run install_runner
  failed 'cannot start docker: see journalctl --unit docker'
  rm "$SIGNALS"/*

  runner_host
  stub gitlab-runner 'echo "Version:      12.0.0"'
  run install_runner
  failed "gitlab-runner says that it is version '12.0.0', and gitlab-runner-13.10.0-1 is installed"
  rm "$SIGNALS"/* "$STUBS/gitlab-runner"

  # All is installed by now: what the budget ends is the wait.
  stub systemctl
  on_host rm -f /run/started-docker
  INSTALL_TIMEOUT=5 run install_runner
  failed 'Docker does not answer: Cannot connect to the Docker daemon'
  rm "$SIGNALS"/*
  on_host touch /run/started-docker

  stub systemctl '[[ $1 != is-active ]]'
  run install_runner
  failed 'the service gitlab-runner is not running'
  rm "$SIGNALS"/*

  on_host rpm -e docker
  stub amazon-linux-extras 'echo "Topic docker is not found" >&2; exit 1'
  run install_runner
  failed 'amazon-linux-extras could not install docker: Topic docker is not found'
  rm "$SIGNALS"/*

  stub amazon-linux-extras 'echo "Nothing to do"'
  run install_runner
  failed 'Docker is not installed, though its installation reports success: Nothing to do'
}

@test "S11: another Linux and wrong arguments are refused before anything is done" {
  local case
  for case in '--version=13.10' '--version=v13.10.0' '--version=13.10.0;id' '--repository-url=http://example.com/runner' '--repository-url='; do
    rm -f "$SIGNALS"/*
    run install_runner "${case%%=*}" "${case#*=}"
    failed "${case%%=*}: got '${case#*=}', want " 2
  done
  rm -f "$SIGNALS"/*
  run install_runner --token secret
  failed "unknown argument '--token'" 2
  rm -f "$SIGNALS"/*
  on_host bash -c 'printf "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=Debian\n" >/etc/os-release'
  run install_runner
  failed 'this is not Amazon Linux 2 or 2023: Debian'
  [ ! -s "$CALLS" ]
}

@test "S11: each version is looked for where internal/gitlab/packages.tsv has its package" {
  local product system repository first last rows=0 version found
  # shellcheck source=scripts/lib/host.sh
  source "$ROOT/scripts/lib/host.sh"
  # shellcheck source=scripts/lib/runner-packages.sh
  source "$ROOT/scripts/lib/runner-packages.sh"
  amazon_linux() { echo "${system#amazon-linux-}"; }
  while IFS=$'\t' read -r product system repository _ first last _; do
    [[ $product == gitlab-runner ]] || continue
    for version in "$first" ${last#-}; do
      found=$(runner_repository "$version")
      [[ $found == "$repository" ]] || {
        echo "$version on $system: got $found, want $repository"
        return 1
      }
      rows=$((rows + 1))
    done
  done <"$ROOT/internal/gitlab/packages.tsv"
  [ "$rows" -eq 12 ]
}

@test "S11: --help shows every argument" {
  run "$ROOT/scripts/runner/install-runner.sh" --help
  [ "$status" -eq 0 ]
  for flag in --version --repository-url --signal-url; do
    [[ $output == *"$flag"* ]]
  done
}
