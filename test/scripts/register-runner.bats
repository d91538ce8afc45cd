#!/usr/bin/env bats
# shellcheck disable=SC2016 # text for shells on the host
# The server's end of a runner's registration, on a stand-in host
# (fixtures/host/host.bash): with gitlab-rails played, the AWS CLI and PostgreSQL
# real where it is about them. The runner's end is internal/runner.

load helper
load fixtures/host/host
load fixtures/postgresql

NAME=gitlab-codedeploy-staging
PARAMETER=/gitlab-codedeploy/staging/runner-token
KEY=arn:aws:kms:ap-northeast-1:111111111111:key/12345678-1234-1234-1234-123456789012
REGISTRATION=GR1348941abcDEF_123-xyz
AUTHENTICATION=glrt-abcDEF_123-xyz456

setup_file() {
  require_host
  start_postgresql
  make_host_package
}

teardown_file() { stop_postgresql; }

setup() {
  require_host
  start_host
  mkdir -p "$STATE/gitlab/runners"
  echo $REGISTRATION >"$STATE/gitlab/registration-token"
  : >"$STATE/gitlab/authentication-tokens"
  on_host mkdir -p /opt/gitlab
  gitlab_version 13.10.2
  stub gitlab-rails 'cat >"$STATE/ruby"
    echo "/opt/gitlab/embedded/lib/ruby/gems: warning: already initialized constant"
    [[ ! -e $STATE/rails-fails ]] || { echo "PG::ConnectionBad" >&2; exit 1; }
    if grep -q runners_registration_token "$STATE/ruby"; then
      echo "gitlab-codedeploy token: $(cat "$STATE/gitlab/registration-token")"
    elif grep -q " 15\." /opt/gitlab/version-manifest.txt; then
      # app/services/ci/runners/create_runner_service.rb of v15.10.0
      echo "GitLab refuses to make a runner: Insufficient permissions" >&2
      exit 1
    else
      echo '$AUTHENTICATION' >>"$STATE/gitlab/authentication-tokens"
      echo "gitlab-codedeploy token: '$AUTHENTICATION'"
    fi'
  # Parameters in a folder. The value is taken as the real CLI takes it.
  stub aws 'set -e
    [[ ! -e $STATE/aws-fails-$2 ]] || { echo "An error occurred (AccessDeniedException) when calling the operation" >&2; exit 254; }
    words="$*"
    name=${words#*--name }
    name=${name%% *}
    file=$STATE/parameter-${name//\//_}
    case $2 in
      put-parameter)
        [[ $words == *" --value file:///dev/fd/0"* && $words == *" --type SecureString --key-id arn:aws:kms:"* ]]
        cat /dev/fd/0 >"$file"
        ;;
      get-parameter)
        [[ -e $file ]] || { echo "An error occurred (ParameterNotFound)" >&2; exit 254; }
        cat "$file"
        ;;
      delete-parameter)
        [[ -e $file ]] || { echo "An error occurred (ParameterNotFound)" >&2; exit 254; }
        rm "$file"
        ;;
    esac'
}

teardown() { stop_host; }

gitlab_version() { echo "gitlab-ce $1" | on_host bash -c 'cat >/opt/gitlab/version-manifest.txt'; }

issue() {
  run --separate-stderr on_host "$ROOT/scripts/server/issue-runner-token.sh" --action issue --name "$NAME" --parameter "$PARAMETER" \
    --key "$KEY" --region ap-northeast-1 "$@"
}

result() { python3 -c 'import json, sys; print(json.loads(sys.argv[1])[sys.argv[2]])' "$output" "$1"; }

no_parameter() { [[ -z $(find "$STATE" -name 'parameter-*') ]]; }

# nowhere TOKEN… fails when a token is left on the host or was shown.
nowhere() {
  local token
  [ ! -e "$STATE/seen-in-arguments" ]
  for token; do
    if grep -F "$token" "$CALLS" <<<"$output $stderr"; then return 1; fi
    if grep -qF "$token" "$CALLS"; then return 1; fi
    # But for a runner's own token, which gitlab-runner keeps.
    if nsenter --target "$HOST_PID" --mount grep -rFl "$token" "$HOST/upper" "$HOST/root/run" | grep -v /etc/gitlab-runner/config.toml; then
      return 1
    fi
  done
}

@test "S13: until 15.11 the registration token is handed over" {
  issue
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [ "$(result token)" = registration ]
  nowhere $REGISTRATION
}

@test "S13: from 16.0 on a runner is made for it, with its tags" {
  local version
  for version in 16.0.0 16.11.10 18.2.1-ee.0; do
    gitlab_version $version
    issue --tags deploy,linux
    echo "$version: $output $stderr"
    [ "$status" -eq 0 ]
    [ "$(result token)" = authentication ]
    [ "$(result version)" = "${version%%-*}" ]
    grep -qx "tags = \['deploy', 'linux'\]" "$STATE/ruby"
    grep -qx "name = '$NAME'" "$STATE/ruby"
    nowhere $AUTHENTICATION
  done
}

# docs.gitlab.com/ci/runners/runners_scope/: introduced in 15.10 behind the flag
# create_runner_workflow_for_admin, enabled by default in 16.0.
@test "S13 register-runner | GitLab is 15.10 or 15.11, which makes no runners as long as nobody switches that on | the registration token is used" {
  local version
  for version in 15.9.8 15.10.8 15.11.13; do
    gitlab_version $version
    issue --tags deploy,linux
    echo "$version: $output $stderr"
    [ "$status" -eq 0 ]
    [ "$(result token)" = registration ]
  done
}

@test "S13: the Ruby for GitLab has no syntax error" {
  require_tool ruby
  local version
  for version in 13.10.2 16.11.10; do
    gitlab_version $version
    issue --tags a,b
    ruby -c "$STATE/ruby"
  done
}

@test "S13 register-runner | Rails fails on the server, or prints no token | nothing is put" {
  touch "$STATE/rails-fails"
  issue
  [ "$status" -eq 1 ]
  [[ $stderr == *'PG::ConnectionBad'*'gitlab-rails runner failed'* ]]
  no_parameter
  rm "$STATE/rails-fails"
  : >"$STATE/gitlab/registration-token"
  issue
  [ "$status" -eq 1 ]
  [[ $stderr == *'printed no token'* ]]
  no_parameter
}

@test "S13 register-runner | Systems Manager refuses the parameter | it fails, and the token is not shown" {
  touch "$STATE/aws-fails-put-parameter"
  issue
  [ "$status" -eq 1 ]
  [[ $stderr == *'AccessDeniedException'*"cannot put the token into $PARAMETER"* ]]
  nowhere $REGISTRATION
}

@test "S13: GitLab's database says whether the runner is online, on each version" {
  local version
  share_postgresql
  online() { run --separate-stderr on_host "$ROOT/scripts/server/issue-runner-token.sh" --action online --name "$NAME"; }
  for version in 13.10 14.9 15.4; do
    new_database gitlab "$ROOT/test/scripts/fixtures/database/gitlab-$version.sql"
    stub_gitlab_psql
    online
    [ "$status" -eq 1 ]
    [ "$(result contactedSecondsAgo)" = None ]
    sql "INSERT INTO ci_runners (id, description, contacted_at, runner_type) VALUES (7, '$NAME', (now() AT TIME ZONE 'UTC') - interval '2 hours', 1)"
    online
    [ "$status" -eq 1 ]
    [ "$(result online)" = False ]
    # A dead registration of the same name does not count.
    sql "INSERT INTO ci_runners (id, description, contacted_at, runner_type) VALUES (8, '$NAME', (now() AT TIME ZONE 'UTC') - interval '20 seconds', 1)"
    online
    echo "$version: $output $stderr"
    [ "$status" -eq 0 ]
    [ "$(result online)" = True ]
  done
}

@test "S13: the real AWS CLI puts the token as a SecureString without a file or an argument" {
  PATH=$ROOT/.venv/bin:$PATH require_tool aws moto_server
  local port=5999 deadline=$((SECONDS + 60)) key
  nsenter --target "$HOST_PID" --net "$ROOT/.venv/bin/moto_server" -H 127.0.0.1 -p $port >"$BATS_TEST_TMPDIR/moto.log" 2>&1 3>&- &
  MOTO=$!
  until grep -q 'Running on' "$BATS_TEST_TMPDIR/moto.log"; do
    ((SECONDS < deadline))
    sleep 0.1
  done
  real_aws() {
    on_host env AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_ENDPOINT_URL=http://localhost:$port AWS_DEFAULT_REGION=ap-northeast-1 \
      "$ROOT/.venv/bin/aws" "$@"
  }
  key=$(real_aws kms create-key --query KeyMetadata.Arn --output text)
  stub aws "export AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b AWS_ENDPOINT_URL=http://localhost:$port
    for file in /proc/[0-9]*/cmdline; do
      if tr '\\0' ' ' <\"\$file\" 2>/dev/null | grep -F $REGISTRATION; then touch \"\$STATE/seen-in-arguments\"; fi
    done
    exec '$ROOT/.venv/bin/aws' \"\$@\""
  issue --key "$key"
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [ "$(real_aws ssm get-parameter --name $PARAMETER --query Parameter.Type --output text)" = SecureString ]
  [ "$(real_aws ssm get-parameter --name $PARAMETER --with-decryption --query Parameter.Value --output text)" = $REGISTRATION ]
  [ "$(real_aws ssm describe-parameters --query 'Parameters[0].KeyId' --output text)" = "$key" ]
  # Over an older one, too.
  issue --key "$key"
  [ "$status" -eq 0 ]
  nowhere $REGISTRATION
  kill "$MOTO"
}

@test "S13: arguments are checked by pattern before anything is done, and tracing is refused" {
  local case flag value
  for case in "--name=a'b" '--name=$(id)' '--parameter=name' '--key=alias/a' '--region=tokyo' "--tags=a,'b'" '--tags=a,,b' '--action=steal'; do
    flag=${case%%=*} value=${case#*=}
    issue "$flag" "$value"
    echo "$case: $stderr"
    [ "$status" -eq 2 ]
    [[ $stderr == *"$flag: got '"*"want "* ]]
  done
  run on_host bash -x "$ROOT/scripts/server/issue-runner-token.sh" --action issue
  [ "$status" -eq 1 ]
  [[ $output == *'tracing (set -x) is on'* ]]
  run ! grep -E '^(aws|gitlab-)' "$CALLS"
}
