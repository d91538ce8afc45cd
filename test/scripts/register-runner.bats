#!/usr/bin/env bats
# shellcheck disable=SC2016 # text for shells on the host
# A runner's registration, both ends of it, on a stand-in host
# (fixtures/host/host.bash): with gitlab-runner and gitlab-rails played, the
# AWS CLI and PostgreSQL real where it is about them.

load helper
load fixtures/host/host
load fixtures/postgresql

NAME=gitlab-codedeploy-staging
PARAMETER=/gitlab-codedeploy/staging/runner-token
KEY=arn:aws:kms:ap-northeast-1:111111111111:key/12345678-1234-1234-1234-123456789012
CONFIG=/etc/gitlab-runner/config.toml
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
  cp "$FIXTURES/gitlab-runner.py" "$STUBS/gitlab-runner"
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
  stub systemctl 'case $1 in
    is-active) [[ ! -e $STATE/service-down ]] ;;
    start) rm -f "$STATE/service-down" ;;
  esac'
}

teardown() { stop_host; }

gitlab_version() { echo "gitlab-ce $1" | on_host bash -c 'cat >/opt/gitlab/version-manifest.txt'; }

issue() {
  run --separate-stderr on_host "$ROOT/scripts/server/issue-runner-token.sh" --action issue --name "$NAME" --parameter "$PARAMETER" \
    --key "$KEY" --region ap-northeast-1 "$@"
}

register() { run --separate-stderr on_host env REGISTER_TIMEOUT="${REGISTER_TIMEOUT:-5}" "${REGISTER[@]}" "$@"; }
REGISTER=("$ROOT/scripts/runner/register-runner.sh" --action register --name "$NAME" --url https://gitlab.example.com
  --parameter "$PARAMETER" --region ap-northeast-1 --concurrency 3)

unregister() { run --separate-stderr on_host "$ROOT/scripts/runner/unregister-runner.sh" --name "$NAME"; }

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

@test "S13: until 15.11 the runner is registered with the registration token and its flags, and is alive" {
  issue
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [ "$(result token)" = registration ]
  nowhere $REGISTRATION
  register --tags deploy,linux
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [ "$(result state)" = registered ]
  nowhere $REGISTRATION
  no_parameter
  grep -q -- '--locked=false --non-interactive=True --run-untagged=false --tag-list=deploy,linux\|--locked=false' "$STATE/registered-with"
  grep -q -- '--tag-list=deploy,linux' "$STATE/registered-with"
  grep -q -- '--run-untagged=false' "$STATE/registered-with"
  on_host grep -qx 'concurrent = 3' $CONFIG
  on_host grep -qx '    image = "alpine:3.20"' $CONFIG
  on_host grep -qxF '    volumes = ["/opt/gitlab-codedeploy/bin:/opt/gitlab-codedeploy/bin:ro", "/cache"]' $CONFIG
  on_host grep -qx '  executor = "docker"' $CONFIG
  [ "$(on_host stat -c %a $CONFIG)" = 600 ]
}

@test "S13: without tags it takes untagged jobs" {
  issue
  register
  [ "$status" -eq 0 ]
  grep -q -- '--run-untagged=true' "$STATE/registered-with"
  run ! grep -q -- --tag-list "$STATE/registered-with"
}

@test "S13: from 16.0 on a runner is made for it, and neither tags nor lock are sent with its token" {
  local version
  for version in 16.0.0 16.11.10 18.2.1-ee.0; do
    rm -f "$STATE/registered-with" "$STATE"/gitlab/runners/*
    on_host rm -f $CONFIG
    gitlab_version $version
    issue --tags deploy,linux
    echo "$version: $output $stderr"
    [ "$status" -eq 0 ]
    [ "$(result token)" = authentication ]
    [ "$(result version)" = "${version%%-*}" ]
    grep -qx "tags = \['deploy', 'linux'\]" "$STATE/ruby"
    grep -qx "name = '$NAME'" "$STATE/ruby"
    register --tags deploy,linux
    echo "$version: $output $stderr"
    [ "$status" -eq 0 ]
    run ! grep -qE -- '--(locked|tag-list|run-untagged)' "$STATE/registered-with"
    nowhere $AUTHENTICATION
    no_parameter
  done
}

# docs.gitlab.com/ci/runners/runners_scope/: introduced in 15.10 behind the flag
# create_runner_workflow_for_admin, enabled by default in 16.0.
@test "S13 register-runner | GitLab is 15.10 or 15.11, which makes no runners as long as nobody switches that on | the registration token is used" {
  local version
  for version in 15.9.8 15.10.8 15.11.13; do
    rm -f "$STATE"/gitlab/runners/*
    on_host rm -f $CONFIG
    gitlab_version $version
    issue --tags deploy,linux
    echo "$version: $output $stderr"
    [ "$status" -eq 0 ]
    [ "$(result token)" = registration ]
    register --tags deploy,linux
    [ "$(result state)" = registered ]
    grep -q -- '--tag-list=deploy,linux' "$STATE/registered-with"
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

@test "S13: a runner that is registered and alive stays as it is, and the parameter goes" {
  issue
  register
  local before
  before=$(on_host sha256sum $CONFIG)
  issue
  : >"$CALLS"
  register
  echo "$stderr"
  [ "$status" -eq 0 ]
  [ "$(result state)" = kept ]
  [ "$(on_host sha256sum $CONFIG)" = "$before" ]
  [ "$(find "$STATE/gitlab/runners" -type f | wc -l)" -eq 1 ]
  no_parameter
  run ! grep '^gitlab-runner register' "$CALLS"
  run --separate-stderr on_host "$ROOT/scripts/runner/register-runner.sh" --action check --name "$NAME"
  [ "$(result state)" = alive ]
}

@test "S13: a runner that GitLab does not know any more is registered anew, and others on the host are kept" {
  issue
  register
  on_host bash -c "printf '[[runners]]\n  name = \"by hand\"\n  url = \"https://gitlab.example.com\"\n  token = \"0123\"\n' >>$CONFIG"
  rm "$STATE"/gitlab/runners/*
  run --separate-stderr on_host "$ROOT/scripts/runner/register-runner.sh" --action check --name "$NAME"
  [ "$(result state)" = removed ]
  issue
  register
  echo "$stderr"
  [ "$status" -eq 0 ]
  [ "$(result state)" = registered ]
  [ "$(on_host grep -c "^  name = \"$NAME\"$" $CONFIG)" -eq 1 ]
  on_host grep -qx '  name = "by hand"' $CONFIG
}

@test "S13: a settings file of an earlier runner keeps all but the number of jobs" {
  on_host bash -c "mkdir -p /etc/gitlab-runner && printf 'concurrent = 1\ncheck_interval = 5\nlog_level = \"warning\"\n\n' >$CONFIG"
  issue
  register
  [ "$status" -eq 0 ]
  on_host grep -qx 'concurrent = 3' $CONFIG
  on_host grep -qx 'log_level = "warning"' $CONFIG
  [ "$(on_host grep -c '^concurrent' $CONFIG)" -eq 1 ]
}

@test "S13: a token that GitLab's processes do not know yet is tried again" {
  issue
  echo another-token >"$STATE/gitlab/registration-token"
  REGISTER_TIMEOUT=60 register >/dev/null 2>&1 3>&- &
  local deadline=$((SECONDS + 30))
  until on_host grep -q forbidden /var/log/gitlab-codedeploy-install.log; do
    ((SECONDS < deadline))
    sleep 0.05
  done
  echo $REGISTRATION >"$STATE/gitlab/registration-token"
  wait $!
  on_host grep -q "^  name = \"$NAME\"$" $CONFIG
}

@test "S13 register-runner | GitLab refuses the token | it fails, the parameter is gone, the token is not shown" {
  issue
  echo another-token >"$STATE/gitlab/registration-token"
  REGISTER_TIMEOUT=1 register
  echo "$stderr"
  [ "$status" -eq 1 ]
  [[ $stderr == *'gitlab-runner register failed:'* ]]
  no_parameter
  # Nor its beginning, by which gitlab-runner names it.
  nowhere ${REGISTRATION:0:8}
}

@test "S13 register-runner | gitlab-runner crashes and prints the token | the token is not shown, and the parameter is gone" {
  issue
  touch "$STATE/runner-fails"
  REGISTER_TIMEOUT=0 register
  echo "$stderr"
  [ "$status" -eq 1 ]
  [[ $stderr == *'Failed to register the runner with ********'* ]]
  no_parameter
  nowhere $REGISTRATION
}

@test "S13 register-runner | GitLab does not answer about a registered runner | it fails and registers nothing" {
  issue
  register
  touch "$STATE/gitlab/down"
  issue
  register
  echo "$stderr"
  [ "$status" -eq 1 ]
  [[ $stderr == *'GitLab cannot be asked about the runner:'*'502 Bad Gateway'* ]]
  no_parameter
  [ "$(on_host grep -c "^  name = \"$NAME\"$" $CONFIG)" -eq 1 ]
}

@test "S13 register-runner | there is no token to take | it fails and says so" {
  register
  [ "$status" -eq 1 ]
  [[ $stderr == *"cannot read the token in $PARAMETER"* ]]
  run ! on_host test -e $CONFIG
}

@test "S13 register-runner | the parameter cannot be removed | the runner is registered, with a warning" {
  issue
  touch "$STATE/aws-fails-delete-parameter"
  register
  [ "$status" -eq 0 ]
  [[ $stderr == *"warning: $PARAMETER could not be removed and still holds a token"* ]]
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

@test "S13 register-runner | the service is not running | it is started" {
  issue
  touch "$STATE/service-down"
  register
  echo "$stderr"
  [ "$status" -eq 0 ]
  [ ! -e "$STATE/service-down" ]
  grep -qx 'systemctl start gitlab-runner' "$CALLS"
}

@test "S13 register-runner | killed at any step | the next run ends with one living runner and no parameter" {
  local step
  for step in read registered saved verified; do
    on_host rm -rf /etc/gitlab-runner
    rm -f "$STATE"/gitlab/runners/*
    issue
    case $step in
      read)
        cp "$STUBS/aws" "$STATE/aws"
        kill_after aws get-parameter "$STATE/aws"
        run killed_register
        [ "$status" -eq 137 ]
        cp "$STATE/aws" "$STUBS/aws"
        ;;
      verified)
        # At the very end, before the parameter is removed.
        cp "$STUBS/systemctl" "$STATE/systemctl"
        kill_after systemctl is-active "$STATE/systemctl"
        run killed_register
        [ "$status" -eq 137 ]
        cp "$STATE/systemctl" "$STUBS/systemctl"
        ;;
      *) killed_while "$step" killed_register register-runner.sh ;;
    esac
    killed_is_gone
    issue
    register
    echo "$step: $output $stderr"
    [ "$status" -eq 0 ]
    no_parameter
    nowhere $REGISTRATION
    [ "$(on_host grep -c "^  name = \"$NAME\"$" $CONFIG)" -eq 1 ]
    [ -e "$STATE/gitlab/runners/$(on_host sed -n 's/^  token = "\(.*\)"/\1/p' $CONFIG)" ]
  done
}

killed_register() { on_host setsid --wait env REGISTER_TIMEOUT=5 "${REGISTER[@]}"; }

# killed_while WHERE FUNCTION SCRIPT kills the script and all below it where
# the stand-in for gitlab-runner waits.
killed_while() {
  local deadline=$((SECONDS + 30))
  rm -f "$STATE/hangs"
  echo "$1" >"$STATE/hang"
  "$2" >/dev/null 2>&1 3>&- &
  until [ -e "$STATE/hangs" ]; do
    ((SECONDS < deadline))
    sleep 0.05
  done
  on_host pkill -KILL -f "$3|gitlab-runner "
  wait $! || true
  rm "$STATE/hang"
}

@test "S13: a runner is unregistered, once; a dead one leaves the configuration" {
  issue
  register
  unregister
  echo "$stderr"
  [ "$status" -eq 0 ]
  [ "$(result state)" = unregistered ]
  [ -z "$(ls "$STATE/gitlab/runners")" ]
  run ! on_host grep -q "$NAME" $CONFIG
  unregister
  [ "$status" -eq 0 ]
  [ "$(result state)" = none ]

  issue
  register
  rm "$STATE"/gitlab/runners/*
  unregister
  [ "$status" -eq 0 ]
  [ "$(result state)" = unregistered ]
  run ! on_host grep -q "$NAME" $CONFIG
}

@test "S13 unregister-runner | GitLab does not answer | it fails, and the runner stays in the configuration" {
  issue
  register
  touch "$STATE/gitlab/down"
  unregister
  [ "$status" -eq 1 ]
  [[ $stderr == *'GitLab cannot be asked about the runner'* ]]
  on_host grep -q "$NAME" $CONFIG
}

@test "S13 unregister-runner | killed after GitLab forgot the runner | the next run clears the configuration" {
  issue
  register
  killed_while unregistered unregister unregister-runner.sh
  killed_is_gone
  on_host grep -q "$NAME" $CONFIG
  unregister
  [ "$status" -eq 0 ]
  run ! on_host grep -q "$NAME" $CONFIG
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

@test "S13: the real AWS CLI puts the token as a SecureString without a file or an argument, and takes and removes it" {
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
  register
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [ "$(real_aws ssm describe-parameters --query 'length(Parameters)')" = 0 ]
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
  for case in '--name=a"b' '--url=http://gitlab.example.com' '--url=https://a/$(id)' '--image=$(id)' '--image=--privileged' '--concurrency=0' '--concurrency=1;id'; do
    flag=${case%%=*} value=${case#*=}
    register "$flag" "$value"
    echo "$case: $stderr"
    [ "$status" -eq 2 ]
    [[ $stderr == *"$flag: got '"*"want "* ]]
  done
  run on_host bash -x "${REGISTER[0]}" --action register
  [ "$status" -eq 1 ]
  [[ $output == *'tracing (set -x) is on'* ]]
  run ! grep -E '^(aws|gitlab-)' "$CALLS"
}
