#!/usr/bin/env bats
# shellcheck disable=SC2016 # text for shells on the host
# The upgrade of GitLab Runner on a stand-in host: real dnf and rpm, and a
# service that ends its jobs first when it is asked to quit.

load helper
load fixtures/host/host

setup_file() {
  require_host
  make_key
  make_host_package
  local spec=$BATS_TEST_DIRNAME/fixtures/host/runner.spec version family
  for version in 13.10.0 13.12.0 15.4.0 15.4.2 15.5.0; do
    family=amazon/2
    [[ $version != 13.* ]] || family=el/7
    make_package gitlab-runner "$version" 1 "$spec" "runner/gitlab-runner/$family/x86_64"
  done
  make_repository runner/gitlab-runner/el/7/x86_64
  make_repository runner/gitlab-runner/amazon/2/x86_64
  mkdir "$BATS_FILE_TMPDIR/www/base"
  make_repository base
  publish_key runner/gitlab-runner/gpgkey/runner-gitlab-runner-{4C80FB51394521E9,49F16C5CC3A0F81F}.pub.gpg
}

setup() {
  require_host
  start_host
  accept_runner_key
  on_host rpm --force-debian --install --nosignature "$BATS_FILE_TMPDIR/www/runner/gitlab-runner/el/7/x86_64/gitlab-runner-13.10.0-1.rpm"
  # $STATE/active: it runs; it ends on QUIT, unless $STATE/busy.
  touch "$STATE/active"
  stub systemctl 'case $1 in
      is-active) [[ -e $STATE/active ]] ;;
      kill) [[ $* == *--signal=QUIT* ]] || exit 1; [[ -e $STATE/busy ]] || rm -f "$STATE/active" ;;
      start) touch "$STATE/active" ;;
    esac'
}

teardown() { stop_host; }

upgrade_runner() { on_host "$ROOT/scripts/runner/upgrade-runner.sh" --repository-url "$HOST_URL/runner" "$@"; }

installed() { on_host rpm -q --queryformat '%{VERSION}' gitlab-runner; }

@test "S8: the runner comes to a minor's newest patch when its jobs have ended, and once more nothing is done" {
  run --separate-stderr upgrade_runner --version 15.4
  echo "$stderr"
  [ "$status" -eq 0 ]
  [ "$output" = '{"from":"13.10.0","to":"15.4.2"}' ]
  [ "$(installed)" = 15.4.2 ]
  [ -e "$STATE/active" ]
  # First the jobs, then the package.
  [ "$(grep -nE '^systemctl kill|^yum .* install' "$CALLS" | cut -d: -f2 | cut -d' ' -f1 | paste -s -d ' ')" = 'systemctl yum' ]
  run ! on_host test -e /run/systemd/system/gitlab-runner.service.d/upgrade.conf

  : >"$CALLS"
  run --separate-stderr upgrade_runner --version 15.4.2
  [ "$output" = '{"from":"15.4.2","to":"15.4.2"}' ]
  run ! grep -E 'systemctl kill| install ' "$CALLS"
}

@test "S8 upgrade-runner | jobs run for longer than the wait | the runner keeps its version and comes back after them" {
  touch "$STATE/busy"
  run upgrade_runner --version 15.4.2 --jobs-timeout 1
  [ "$status" -eq 1 ]
  [[ $output == *'jobs are still running after 1 s: the runner keeps its version'* ]]
  [ "$(installed)" = 13.10.0 ]
  run ! on_host test -e /run/systemd/system/gitlab-runner.service.d/upgrade.conf
}

@test "S8 upgrade-runner | a version that is not there, an older one, shell characters | nothing is done, and no job is kept waiting" {
  run upgrade_runner --version 15.9
  [ "$status" -eq 1 ]
  [[ $output == *'there is no gitlab-runner 15.9 in'* ]]
  run upgrade_runner --version 15.4.9
  [ "$status" -eq 1 ]
  [[ $output == *'gitlab-runner 15.4.9-1 is not in'* ]]
  run upgrade_runner --version 13.9.0
  [ "$status" -eq 1 ]
  [[ $output == *'GitLab Runner 13.10.0 is newer than 13.9.0'* ]]
  run upgrade_runner --version '15.4;id'
  [ "$status" -eq 2 ]
  [ "$(installed)" = 13.10.0 ]
  run ! grep 'systemctl kill' "$CALLS"
}

@test "S8 upgrade-runner | killed with the new package beside the old one | the next run takes the old one out and ends well" {
  on_host rpm --force-debian --install --nosignature --force "$BATS_FILE_TMPDIR/www/runner/gitlab-runner/amazon/2/x86_64/gitlab-runner-15.4.2-1.rpm"
  rm "$STATE/active"
  run --separate-stderr upgrade_runner --version 15.4.2
  echo "$stderr"
  [ "$status" -eq 0 ]
  [ "$(installed)" = 15.4.2 ]
  [ -e "$STATE/active" ]
}
