#!/usr/bin/env bats
# shellcheck disable=SC2016 # text for shells on the host
# How a program comes to a host and into the jobs there, on a stand-in host
# (fixtures/host/host.bash). S3 is a folder behind a stand-in for the AWS CLI.

load helper
load fixtures/host/host

CONFIG=/etc/gitlab-runner/config.toml
BIN=/opt/gitlab-codedeploy/bin
VOLUME=$BIN:$BIN:ro

setup_file() {
  require_host
  make_host_package
}

setup() {
  require_host
  start_host
  # The real one's arguments: s3api get-object --region R --bucket B --key K FILE.
  stub aws 'set -e
    [[ "$1 $2 $3 $5 $7" == "s3api get-object --region --bucket --key" ]]
    if [[ -s $STATE/refusals ]]; then
      sed -i 1d "$STATE/refusals"
      echo "An error occurred (AccessDenied) when calling the GetObject operation: Access Denied" >&2
      exit 254
    fi
    [[ -e $STATE/s3/$6/$8 ]] || { echo "An error occurred (NoSuchKey) when calling the GetObject operation" >&2; exit 254; }
    cp "$STATE/s3/$6/$8" "$9"
    echo "{\"ContentLength\": 1}"'
  publish 1
}

teardown() { stop_host; }

# publish N puts the Nth build into the bucket, and sets SHA256 and KEY to its own.
publish() {
  mkdir -p "$STATE/s3/assets"
  printf '#!/bin/sh\necho build %s\n' "$1" >"$STATE/build"
  SHA256=$(sha256sum <"$STATE/build" | cut -d ' ' -f 1)
  KEY=$1.bin
  mv "$STATE/build" "$STATE/s3/assets/$KEY"
}

install_program() {
  run on_host setsid --wait env FETCH_TIMEOUT="${FETCH_TIMEOUT:-5}" "$ROOT/scripts/runner/install-program.sh" \
    --name artifact --sha256 "$SHA256" --bucket assets --key "$KEY" --region ap-northeast-1 "$@"
  echo "$output"
}

# configured TEXT writes the configuration of the host's runner.
configured() { printf '%s\n' "$1" | on_host bash -c "mkdir -p ${CONFIG%/*}; cat >$CONFIG; chmod 600 $CONFIG"; }

# mounts prints what each runner of the configuration mounts, as TOML has it.
mounts() {
  on_host cat $CONFIG | python3 -c 'import sys, tomllib
for r in tomllib.loads(sys.stdin.read())["runners"]:
  print(r["name"], *r.get("docker", {}).get("volumes", ["nothing"]))'
}

RUNNER='concurrent = 2
check_interval = 0

[session_server]
  session_timeout = 1800

[[runners]]
  name = "one"
  token = "0123"
  executor = "docker"
  [runners.custom_build_dir]
  [runners.cache]
    [runners.cache.s3]
  [runners.docker]
    tls_verify = false
    image = "alpine:3.20"
    volumes = ["/cache"]
    shm_size = 0'

@test "S13: a program comes by its hash, jobs have it, and others may read and run it" {
  configured "$RUNNER"
  install_program
  [ "$status" -eq 0 ]
  [ "$(on_host $BIN/artifact)" = 'build 1' ]
  [ "$(on_host stat -c '%a %U' $BIN/artifact)" = '755 root' ]
  [ "$(on_host stat -c '%a %F' $BIN)" = '755 directory' ]
  on_host cmp $BIN/artifact "/opt/gitlab-codedeploy/$SHA256/artifact"
  [ "$(mounts)" = "one /cache $VOLUME" ]
  [ "$(on_host stat -c %a $CONFIG)" = 600 ]
}

@test "S13: what is there already is not fetched again, and nothing is written" {
  local before
  configured "$RUNNER"
  install_program
  before=$(host_state)
  : >"$CALLS"
  install_program
  [ "$status" -eq 0 ]
  [ "$(host_state)" = "$before" ]
  run ! grep '^aws' "$CALLS"
}

@test "S13: the next build takes the place of the one before it, in the same folder, and that one goes" {
  local folder first=$SHA256
  install_program
  folder=$(on_host stat -c %i $BIN)
  publish 2
  install_program
  [ "$status" -eq 0 ]
  [ "$(on_host $BIN/artifact)" = 'build 2' ]
  [ "$(on_host stat -c %i $BIN)" = "$folder" ]
  run ! on_host test -e "/opt/gitlab-codedeploy/$first"
  [ "$(on_host find /opt/gitlab-codedeploy -type f -name '*.new' | wc -l)" -eq 0 ]
  # And back, as a deploy is taken back.
  publish 1
  install_program
  [ "$(on_host $BIN/artifact)" = 'build 1' ]
}

@test "S13: builds of other programs stay, and so does what is not ours" {
  local other=/opt/gitlab-codedeploy/0000000000000000000000000000000000000000000000000000000000000000
  on_host bash -c "mkdir -p $other /opt/gitlab-codedeploy/notes; touch $other/host $other/artifact /opt/gitlab-codedeploy/notes/artifact"
  install_program
  [ "$status" -eq 0 ]
  on_host test -e $other/host
  run ! on_host test -e $other/artifact
  on_host test -e /opt/gitlab-codedeploy/notes/artifact
}

@test "S13 install-program | the object is another than the hash says | it is not run, not kept, and the old one stays" {
  install_program
  publish 2
  echo 'echo tampered' >>"$STATE/s3/assets/2.bin"
  install_program
  [ "$status" -eq 1 ]
  [[ $output == *"s3://assets/2.bin has the SHA-256 $(sha256sum <"$STATE/s3/assets/2.bin" | cut -d ' ' -f 1), want $SHA256"* ]]
  [ "$(on_host $BIN/artifact)" = 'build 1' ]
  [ "$(on_host find /opt/gitlab-codedeploy -type f | wc -l)" -eq 2 ]
}

@test "S13 install-program | the program on the host was changed | it is fetched again" {
  install_program
  on_host bash -c "echo 'echo tampered' >>$BIN/artifact"
  install_program
  [ "$status" -eq 0 ]
  [ "$(on_host $BIN/artifact)" = 'build 1' ]
}

@test "S13 install-program | S3 refuses at first, as a new right is not known there yet | it is tried again" {
  printf '\n\n\n' >"$STATE/refusals"
  install_program
  [ "$status" -eq 0 ]
  [ "$(grep -c '^aws s3api get-object' "$CALLS")" -eq 4 ]
}

@test "S13 install-program | S3 refuses, or has no such object | it fails with S3's words, and the old one stays" {
  install_program
  publish 2
  rm "$STATE/s3/assets/2.bin"
  FETCH_TIMEOUT=1 install_program
  [ "$status" -eq 1 ]
  [[ $output == *'cannot fetch artifact from s3://assets/2.bin: '*NoSuchKey* ]]
  [ "$(on_host $BIN/artifact)" = 'build 1' ]
}

@test "S13 install-program | the program does not run on this host's processor | the old one stays" {
  install_program
  printf '\177ELF not for this one' >"$STATE/s3/assets/2.bin"
  SHA256=$(sha256sum <"$STATE/s3/assets/2.bin" | cut -d ' ' -f 1) KEY=2.bin
  install_program
  [ "$status" -eq 1 ]
  [[ $output == *"does not run on this host (x86_64)"* ]]
  [ "$(on_host $BIN/artifact)" = 'build 1' ]
}

@test "S13 install-program | killed at any step | there is a whole program at every time, and the next run ends well" {
  local step command
  cp "$STUBS/aws" "$STATE/aws"
  for step in 'aws get-object' 'chmod 755' "mv -fT" "ln -f" "mv $BIN/artifact.new" 'rm -f' 'awk -v' "mv $CONFIG.new"; do
    command=${step%% *}
    publish 1
    install_program
    [ "$status" -eq 0 ]
    publish 2
    configured "$RUNNER"
    if [[ $command == aws ]]; then kill_after aws get-object "$STATE/aws"; else kill_after "$command" "${step#* }"; fi
    install_program
    echo "$step: $status"
    [ "$status" -eq 137 ]
    [ ! -e "$STUBS/$command" ]
    cp "$STATE/aws" "$STUBS/aws"
    [[ $(on_host $BIN/artifact) == 'build '[12] ]]
    install_program
    [ "$status" -eq 0 ]
    [ "$(on_host $BIN/artifact)" = 'build 2' ]
    [ "$(mounts)" = "one /cache $VOLUME" ]
    [ "$(on_host find /opt/gitlab-codedeploy ${CONFIG%/*} -type f | wc -l)" -eq 3 ]
  done
}

@test "S13: runners that were registered before get the mount, each once, and keep what they have" {
  configured "$RUNNER
[[runners]]
  name = \"two\"
  executor = \"docker\"
  [runners.docker]
    image = \"alpine:3.20\"
    volumes = []
  [runners.machine]
    IdleCount = 0
[[runners]]
  name = \"three\"
  executor = \"docker\"
  [runners.docker]
    image = \"alpine:3.20\"
[[runners]]
  name = \"four\"
  executor = \"shell\"
[[runners]]
  name = \"five\"
  executor = \"docker\"
  [runners.docker]
    volumes = [\"$VOLUME\", \"/cache\"]"
  local before after
  before=$(on_host cat $CONFIG)
  install_program
  [ "$status" -eq 0 ]
  mounts
  [ "$(mounts)" = "one /cache $VOLUME
two $VOLUME
three $VOLUME
four nothing
five $VOLUME /cache" ]
  # Nothing else of the file is touched.
  after=$(on_host cat $CONFIG)
  [ "$(diff <(echo "$before") <(echo "$after") | grep -c '^<')" -eq 2 ]
  [ "$(diff <(echo "$before") <(echo "$after") | grep -c '^>')" -eq 3 ]
}

@test "S13: without a registered runner the program waits for one" {
  install_program
  [ "$status" -eq 0 ]
  run ! on_host test -e $CONFIG
}

@test "S13 install-program | the runner's volumes were written by hand in several lines, or mount something else there | the file stays as it is, and the line to write is told" {
  local volumes
  for volumes in $'[\n      "/cache",\n    ]' '["/cache"] # by hand' '["/srv/tools:/opt/gitlab-codedeploy/bin"]'; do
    configured "${RUNNER/'["/cache"]'/$volumes}"
    local before
    before=$(on_host cat $CONFIG)
    install_program
    [ "$status" -eq 1 ]
    [[ $output == *"$CONFIG: 'volumes' is not one line, or mounts something else at $BIN: write \"$VOLUME\" into it by hand"* ]]
    [ "$(on_host cat $CONFIG)" = "$before" ]
    [ "$(on_host $BIN/artifact)" = 'build 1' ]
  done
}

@test "S13 install-program | an operation is under way on the host | the program is there, and the configuration is left for the next run" {
  configured "$RUNNER"
  on_host bash -c 'echo "register-runner (run 1), since now," >/run/gitlab-codedeploy.lock; exec flock /run/gitlab-codedeploy.lock sleep 60' 3>&- &
  until on_host bash -c '! flock --nonblock /run/gitlab-codedeploy.lock true'; do sleep 0.05; done
  install_program
  [ "$status" -eq 1 ]
  [[ $output == *'register-runner (run 1), since now, is under way on this host'* ]]
  [ "$(on_host $BIN/artifact)" = 'build 1' ]
  [ "$(mounts)" = 'one /cache' ]
  on_host pkill -f 'sleep 60'
  wait $! || true
  install_program
  [ "$status" -eq 0 ]
  [ "$(mounts)" = "one /cache $VOLUME" ]
}

@test "S13 install-program | an argument is missing or wrong | exit 2, and nothing is fetched" {
  local wrong
  for wrong in "--sha256 123" "--name ../artifact" "--bucket s3://assets" "--key /etc/passwd" "--region tokyo" "--other x"; do
    # shellcheck disable=SC2086
    install_program $wrong
    [ "$status" -eq 2 ]
    [[ $output == *"${wrong%% *}"* ]]
  done
  run ! grep '^aws' "$CALLS"
}
