#!/usr/bin/env bats
# shellcheck disable=SC2016 # the stubs expand it
# The whole way of an operation on a stand-in host: scripts/ops, the played Systems Manager, the real documents, and the scripts as root
# on their normal paths.

load helper
load fixtures/host/host
load fixtures/host/systemd
load fixtures/ops-remote

# The operator's program is built before a stub takes the place of go.
setup_file() {
  require_host
  "$ROOT/scripts/ops" --version
  cd "$ROOT" && go build -o "$BATS_FILE_TMPDIR/host" ./cmd/host
  make_host_package
}

setup() {
  require_host
  export HOST_PROGRAM=$BATS_FILE_TMPDIR/host
  start_host
  start_systemd
  start_remote BackupBucketName=example-backups LoadBalancerDnsName=lb.example.com
  run_on_host server TEST_WORD=word
}

# ops COMMAND ARGUMENT … is the operator's program against the played account.
ops() { run --separate-stderr "$ROOT/scripts/ops" "$1" --env staging --profile account-a "${@:2}"; }

teardown() {
  stop_remote
  stop_host
}

@test "S8: an operation goes its whole way on a host, and leaves its run there" {
  stub gitlab-ctl 'echo "run: nginx: (pid 1) 10s"'
  stub gitlab-psql 'case $* in *ci_runners*) printf "1\\t3\\n" ;; esac'
  stub curl 'printf 200'
  on_host bash -c 'mkdir -p /opt/gitlab && echo "gitlab-ce 15.4.6" >/opt/gitlab/version-manifest.txt'
  ops status
  echo "$output $stderr"
  # The bucket and the load balancer are nowhere here.
  [ "$status" -eq 1 ]
  grep -qE '^version +- +gitlab-ce 15.4.6, Amazon Linux 2' <<<"$output"
  grep -qE '^services +ok +all 1 are up' <<<"$output"
  grep -qE '^runners +ok +1 of 3 ' <<<"$output"
  local run
  run=$(on_host ls /var/lib/gitlab-codedeploy/runs)
  [[ $run =~ ^[0-9]{8}T[0-9]{6}-[0-9a-f]{8}$ ]]
  [ "$(on_host cat "/var/lib/gitlab-codedeploy/runs/$run/status")" = 0 ]
  [ "$(on_host stat -c '%a %U' "/var/lib/gitlab-codedeploy/runs/$run")" = '700 root' ]
  grep -qE '^systemd-run --unit gitlab-codedeploy-status-'"$run" "$CALLS"
  # Followed once more, by the name of the operation.
  run --separate-stderr on_host "$HOST_PROGRAM" follow --run status
  [[ $output == '{"run":"'*'","operation":"status",'*'"state":"ended","exit":0,'* ]]
}

@test "S8 status | the unit of a real run is killed on the host | the program tells that it was lost" {
  stub gitlab-ctl 'echo "run: nginx: (pid 1) 10s"'
  stub curl 'printf 200'
  on_host bash -c 'mkdir -p /opt/gitlab && echo "gitlab-ce 13.10.2" >/opt/gitlab/version-manifest.txt'
  kill_after gitlab-psql -c true
  ops status
  [ "$status" -eq 1 ]
  grep -qE '^server +unknown +run .* of status ended without a status: it was killed, or the host was restarted' <<<"$output"
}
