#!/usr/bin/env bats
# shellcheck disable=SC2016 # text for shells on the host
# scripts/ops reset-tokens and register-runner from the laptop to the hosts:
# the real documents, the real AWS CLI against a played Systems Manager, a
# stand-in host that is server and runner at once, and a real PostgreSQL.

load helper
load fixtures/host/host
load fixtures/host/systemd
load fixtures/ops-remote
load fixtures/postgresql

NAME=gitlab-codedeploy-staging

setup_file() {
  require_host
  start_postgresql
  make_host_package
}

teardown_file() { stop_postgresql; }

setup() {
  require_host
  start_host
  start_systemd
  start_remote Url=https://gitlab.example.com BackupBucketName=example-backups \
    RunnerTokenKeyArn=arn:aws:kms:ap-northeast-1:111111111111:key/12345678-1234-1234-1234-123456789012
  run_on_host server INSTALL_POLL=0.05
  run_on_host runner INSTALL_POLL=0.05
  stub go 'echo "{\"Environment\": \"staging\", \"Region\": \"ap-northeast-1\", \"Deploy\": {\"Account\": \"222222222222\"},
    \"GitLab\": {\"Account\": \"111111111111\", \"Runner\": {\"ConcurrentJobs\": 3, \"JobImage\": \"debian:12-slim\", \"Tags\": null}}}"'
  share_postgresql
  new_database gitlab "$ROOT/test/scripts/fixtures/database/gitlab-13.10.sql"
  stub_gitlab_psql
  mkdir -p "$STATE/gitlab/runners"
  echo GR1348941abcDEF_123-xyz >"$STATE/gitlab/registration-token"
  on_host bash -c 'mkdir -p /opt/gitlab; echo "gitlab-ce 13.10.2" >/opt/gitlab/version-manifest.txt'
  stub gitlab-rails 'cat >/dev/null; echo "gitlab-codedeploy token: $(cat "$STATE/gitlab/registration-token")"'
  cp "$FIXTURES/gitlab-runner.py" "$STUBS/gitlab-runner"
  stub aws 'case $2 in
      put-parameter) cat /dev/fd/0 >"$STATE/parameter" ;;
      get-parameter) cat "$STATE/parameter" ;;
      delete-parameter) rm "$STATE/parameter" ;;
    esac'
}

teardown() {
  stop_remote
  stop_host
}

tokens() { sql 'SELECT count(*) FROM projects WHERE runners_token IS NOT NULL OR runners_token_encrypted IS NOT NULL'; }

@test "S12: scripts/ops reset-tokens shows what there is, then resets it" {
  ops reset-tokens --check
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [[ $output == *'"projects": {"before": 3}'* ]]
  [ "$(tokens)" -eq 3 ]
  ops reset-tokens --yes
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [[ $output == *'"projects": {"before": 3, "after": 0}'* ]]
  [ "$(tokens)" -eq 0 ]
  [ "$(sql 'SELECT count(*) FROM ci_variables')" -eq 2 ]
}

@test "S12: without a terminal scripts/ops reset-tokens wants --yes, before anything is sent" {
  ops reset-tokens --lost-secrets
  [ "$status" -eq 2 ]
  [[ $stderr == *'no terminal to ask on'* ]]
  [ -z "$(sent)" ]
}

@test "S13: scripts/ops register-runner brings the token from server to runner, and ends when GitLab hears from it" {
  sql "INSERT INTO ci_runners (id, description, contacted_at, runner_type) VALUES (7, '$NAME', now() AT TIME ZONE 'UTC', 1)"
  ops register-runner
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [[ $output == *'"online": true'* ]]
  [ "$(sent | paste -sd ' ')" = 'register-runner runner-token register-runner runner-token' ]
  [ ! -e "$STATE/parameter" ]
  on_host grep -qx 'concurrent = 3' /etc/gitlab-runner/config.toml
  on_host grep -qx '    image = "debian:12-slim"' /etc/gitlab-runner/config.toml
  [ ! -e "$STATE/seen-in-arguments" ]
  # Nor does the laptop, Systems Manager or a run's folder have it.
  if grep -rF abcDEF_123 "$REMOTE" <<<"$output $stderr"; then return 1; fi
  run ! on_host grep -rF abcDEF_123 /var/lib/gitlab-codedeploy /var/log/gitlab-codedeploy-install.log

  # Again: nothing is handed over.
  : >"$REMOTE/requests"
  ops register-runner
  [ "$status" -eq 0 ]
  [ "$(sent | paste -sd ' ')" = 'register-runner runner-token' ]
  [[ $stderr == *'is registered and alive: it stays as it is'* ]]

  ops unregister-runner --yes
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [[ $output == *'"state": "unregistered"'* ]]
}

@test "S13: --dry-run of each command prints the calls and sends nothing" {
  local command
  for command in reset-tokens configure register-runner unregister-runner; do
    ops "$command" --dry-run
    echo "$command: $output $stderr"
    [ "$status" -eq 0 ]
    [[ $output == *"send-command --document-name gitlab-codedeploy-staging-"* ]]
  done
  [ -z "$(sent)" ]
}

@test "S13 register-runner | the server cannot read a token | it ends with 1, and nothing is registered" {
  stub gitlab-rails 'cat >/dev/null; echo "PG::ConnectionBad" >&2; exit 1'
  ops register-runner
  echo "$output $stderr"
  [ "$status" -eq 1 ]
  [[ $stderr == *'gitlab-rails runner failed'* ]]
  [ "$(sent | paste -sd ' ')" = 'register-runner runner-token' ]
  [ ! -e "$STATE/parameter" ]
}
