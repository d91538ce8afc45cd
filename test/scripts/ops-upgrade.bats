#!/usr/bin/env bats
# shellcheck disable=SC2016 # text for other shells
# scripts/ops upgrade and upgrade-runner: the real AWS CLI against a played
# Systems Manager, which runs the real documents' scripts. The upgrade itself is
# tested in upgrade-gitlab.bats.

load helper
load fixtures/host/systemd
load fixtures/ops-remote

setup() {
  require_root
  start_remote BackupBucketName=example-backups
  start_systemd
  run_on_folder server
  stub go 'echo "{\"Region\": \"ap-northeast-1\", \"GitLab\": {\"Account\": \"111111111111\",
    \"Server\": {\"PackageRepositoryURL\": \"https://mirror.example.com/gitlab\"}, \"Runner\": {\"PackageRepositoryURL\": \"https://mirror.example.com/runner\"}}}"'
  stub rpm 'echo gitlab-ce-14.9.5-ce.0.amazon2'
}

teardown() { stop_remote; }

@test "S8: a plan without --from starts at what the server has" {
  ops upgrade --plan
  echo "$stderr"
  [ "$status" -eq 0 ]
  [ "$(tail -n +2 <<<"$output" | cut -f 1 | paste -s -d ' ')" = '14.10.5 15.0.5 15.4.6' ]
}

@test "S8: upgrade --dry-run prints what would be sent, and sends nothing" {
  ops upgrade --dry-run --to 15.0.5 --fix-known-jobs --backup-each-hop no
  [ "$status" -eq 0 ]
  local word
  for word in gitlab-codedeploy-staging-upgrade '"Mode":["run"]' '"To":["15.0.5"]' '"FixKnownJobs":["yes"]' '"BackupEachHop":["no"]' \
    'https://mirror.example.com/gitlab'; do
    [[ $output == *"$word"* ]]
  done
  [ ! -s "$REMOTE/requests" ]
  ops upgrade-runner --dry-run --version 15.4
  [ "$status" -eq 0 ]
  [[ $output == *'"Version":["15.4"]'*'https://mirror.example.com/runner'* || $output == *'https://mirror.example.com/runner'*'"Version":["15.4"]'* ]]
}

@test "S8 upgrade | nobody says yes, or an option is wrong | exit 2, and nothing is sent" {
  ops upgrade </dev/null
  [ "$status" -eq 2 ]
  [[ $stderr == *'pass --yes to go on without the question: upgrade GitLab of staging to 15.4.6, with a backup before each hop?'* ]]
  local wrong
  for wrong in '--to 15.4' '--to $(id)' '--from x' '--backup-each-hop maybe' '--to' '--what'; do
    # shellcheck disable=SC2086
    ops upgrade --yes $wrong
    [ "$status" -eq 2 ]
  done
  ops upgrade-runner --yes
  [ "$status" -eq 2 ]
  ops upgrade-runner --yes --version '15.4;id'
  [ "$status" -eq 2 ]
  run ! grep -i sendcommand "$REMOTE/requests"
}
