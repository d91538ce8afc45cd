#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2086 # text for shells on the host; a command and its options
# scripts/ops reset-tokens, configure, register-runner and unregister-runner, to the hosts:
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
  touch "$REMOTE/prompt"
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
  # The hosts' AWS CLI keeps parameters where the played Systems Manager looks.
  mkdir "$STATE/parameters"
  ln -s "$STATE/parameters" "$REMOTE/parameters"
  stub aws '
    action=$2
    while [[ $1 != --name ]]; do shift; done
    file=$STATE/parameters$2
    case $action in
      put-parameter) mkdir -p "${file%/*}" && cat /dev/fd/0 >"$file" ;;
      get-parameter) cat "$file" ;;
      delete-parameter) rm "$file" ;;
    esac'
}

teardown() {
  stop_remote
  stop_host
}

tokens() { sql 'SELECT count(*) FROM projects WHERE runners_token IS NOT NULL OR runners_token_encrypted IS NOT NULL'; }

# parameters prints the values of all parameters.
parameters() { find "$STATE/parameters" -type f -exec cat {} +; }

# answers TEXT COMMAND ARGUMENT … runs a command of the operator on a terminal,
# where that is typed.
answers() {
  run python3 "$ROOT/test/scripts/fixtures/ops-terminal.py" 80 "$1" \
    env PATH="$PATH" "$REPO/scripts/ops" "$2" --env staging --profile account-a "${@:3}"
  echo "$output"
}

@test "S12: scripts/ops reset-tokens shows what there is, asks, and resets it; lost secrets are asked for twice" {
  answers $'y\nn' reset-tokens --lost-secrets
  [ "$status" -eq 1 ]
  [[ $output == *'3  registration tokens of projects (projects)'*"reset the tokens listed above in GitLab's database?"*'is deleted for good'*'not confirmed; nothing was done'* ]]
  [ "$(sent)" = reset-tokens ]
  [[ $(parameters_of reset-tokens) == *'"LostSecrets": ["yes"], "Check": ["yes"], "Yes": ["no"]}' ]]
  [ "$(tokens)" -eq 3 ]

  answers y reset-tokens
  [ "$status" -eq 0 ]
  [[ $output == *'"projects": {"before": 3, "after": 0}'* ]]
  [[ $output != *'is deleted for good'* ]]
  [ "$(tokens)" -eq 0 ]
  [ "$(sql 'SELECT count(*) FROM ci_variables')" -eq 2 ]
}

@test "S12: without a terminal the commands that ask want --yes, and --dry-run of all four prints the calls: nothing is sent" {
  local command
  for command in 'reset-tokens --lost-secrets' configure unregister-runner; do
    ops $command
    echo "$command: $stderr"
    [ "$status" -eq 2 ]
    [[ $stderr == *'no terminal to ask on'* ]]
  done
  # --dry-run needs no terminal.
  for command in reset-tokens configure register-runner unregister-runner; do
    ops $command --dry-run
    echo "$command: $output $stderr"
    [ "$status" -eq 0 ]
    [[ $output == *"send-command --document-name gitlab-codedeploy-staging-"* ]]
  done
  [ -z "$(sent)" ]
}

@test "S8: scripts/ops configure shows the difference, asks, and then applies it" {
  local ours=/etc/gitlab/gitlab-codedeploy.rb
  on_host bash -c '
    mkdir -p /opt/gitlab/{bin,embedded} /etc/gitlab/test /var/opt/gitlab/postgresql/data
    cp "$1/sign_in.py" /opt/gitlab/embedded/
    cp "$1/gitlab-ctl.py" /opt/gitlab/bin/gitlab-ctl
    chmod +x /opt/gitlab/bin/gitlab-ctl
    echo 12 >/var/opt/gitlab/postgresql/data/PG_VERSION
    echo a-seed >/var/opt/gitlab/seed
    echo "gitlab_rails['\''smtp_password'\''] = '\''hunter2'\''" >/etc/gitlab/gitlab.rb' _ "$FIXTURES"
  answers y configure
  [ "$status" -eq 0 ]
  [[ $output == *"+external_url 'https://gitlab.example.com'"*"+from_file '$ours'"*'write the difference shown above, if any, and reconfigure GitLab?'*'reconfiguring GitLab'*'"state": "applied"}'* ]]
  [[ $output != *hunter2* ]]
  [ "$(sent | paste -sd ' ')" = 'configure configure' ]
  on_host grep -qx "external_url 'https://gitlab.example.com'" $ours
  [[ $(parameters_of configure) == *'"ExternalUrl": ["https://gitlab.example.com"], "Check": ["no"], "Yes": ["yes"]}' ]]
}

@test "S13: scripts/ops register-runner brings the token from server to runner, and ends when GitLab hears from it" {
  sql "INSERT INTO ci_runners (id, description, contacted_at, runner_type) VALUES (7, '$NAME', now() AT TIME ZONE 'UTC', 1)"
  ops register-runner
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [[ $output == *'"online": true'* ]]
  [ "$(sent | paste -sd ' ')" = 'register-runner runner-token register-runner runner-token' ]
  [ -z "$(parameters)" ]
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

@test "S13 register-runner | the command is ended while the runner registers | the laptop removes the parameter, the runner goes on" {
  local status=0 ops
  echo registered >"$STATE/hang"
  "$REPO/scripts/ops" register-runner --env staging --profile account-a 2>"$BATS_TEST_TMPDIR/said" 3>&- &
  ops=$!
  wait_for_file "$STATE/hangs"
  [ -n "$(parameters)" ]
  kill -TERM "$ops"
  wait "$ops" || status=$?
  cat "$BATS_TEST_TMPDIR/said"
  [ "$status" -eq 143 ]
  [ -z "$(parameters)" ]
  grep -q 'interrupted; run .* go.* on' "$BATS_TEST_TMPDIR/said"
  grep -q 'runner-token still held the token: it is removed' "$BATS_TEST_TMPDIR/said"
  rm "$STATE/hang"
  on_host timeout 30 bash -c 'until grep -qs registered /var/lib/gitlab-codedeploy/runs/*/result; do sleep 0.05; done'
}

@test "S13 register-runner | all of the runner's unit is killed once the token is there | the laptop removes the parameter" {
  printf '#!/usr/bin/env bash\n[[ $2 != get-parameter ]] || exec pkill -KILL --session 0\nexec "%s" "$@"\n' "$STUBS/aws.real" >"$STUBS/aws.new"
  mv "$STUBS/aws" "$STUBS/aws.real"
  mv "$STUBS/aws.new" "$STUBS/aws"
  chmod +x "$STUBS/aws"
  ops register-runner
  echo "$output $stderr"
  [ "$status" -eq 1 ]
  [[ $stderr == *'of register-runner ended without a status: it was killed'*'/gitlab-codedeploy/staging/runner-token still held the token: it is removed'* ]]
  [ -z "$(parameters)" ]
  grep -q '^DeleteParameter ' "$REMOTE/requests"
}

@test "S13 register-runner | the runner's agent takes no more commands once the token is there | the laptop removes the parameter" {
  stub gitlab-rails 'cat >/dev/null; touch "$STATE/offline"; echo "gitlab-codedeploy token: $(cat "$STATE/gitlab/registration-token")"'
  ln -s "$STATE/offline" "$REMOTE/offline-$REMOTE_RUNNER"
  ops register-runner
  echo "$output $stderr"
  [ "$status" -eq 1 ]
  [[ $stderr == *'register-runner was not started: the agent on the instance did not take it'*'runner-token still held the token: it is removed'* ]]
  [ -z "$(parameters)" ]
}
