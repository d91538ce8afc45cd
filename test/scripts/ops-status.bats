#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2030,SC2031 # the stubs expand it; each test is a subshell
# scripts/ops status: the server's script with commands of GitLab's that play
# their part and a real PostgreSQL, run through the played Systems Manager, next
# to a load balancer and a bucket on moto.

load helper
load fixtures/host/systemd
load fixtures/ops-remote
load fixtures/postgresql

setup_file() { start_postgresql; }
teardown_file() { stop_postgresql; }

setup() {
  require_postgresql
  use_stubs
  STATE=$BATS_TEST_TMPDIR/state
  mkdir -p "$STATE"
  export STATE
}

teardown() {
  stop_remote
  [[ -z ${MOTO:-} ]] || kill "$MOTO"
}

# gitlab VERSION makes a GitLab whose parts all are well.
gitlab() {
  require_root
  start_systemd
  mkdir -p "$STATE/gitlab"
  echo "gitlab-ce $1" >"$STATE/gitlab/version-manifest.txt"
  stub gitlab-ctl 'echo "run: nginx: (pid 1) 10s; run: log: (pid 2) 10s"; echo "run: puma: (pid 3) 10s; run: log: (pid 4) 10s"'
  stub gitlab-rails 'echo 0'
  new_database status
  stub_gitlab_psql
  sql "CREATE TABLE background_migration_jobs (id bigserial PRIMARY KEY, status smallint NOT NULL DEFAULT 0, class_name text NOT NULL);
    CREATE TABLE ci_runners (id bigserial PRIMARY KEY, contacted_at timestamp without time zone);
    INSERT INTO ci_runners (contacted_at) VALUES ((now() AT TIME ZONE 'UTC') - interval '1 hour'), ((now() AT TIME ZONE 'UTC') - interval '1 day'), (NULL)"
  [[ $1 == 13.* ]] || sql "CREATE TABLE batched_background_migrations (id bigserial PRIMARY KEY, status smallint NOT NULL,
    job_class_name text NOT NULL, table_name text NOT NULL, column_name text NOT NULL, job_arguments jsonb NOT NULL DEFAULT '[]')"
  stub curl 'printf 200'
  stub df 'printf "Filesystem Size Used Avail Capacity Mounted on\n/dev/a 30G 10G 20G 34%% /\n/dev/b 200G 20G 180G 10%% /var/opt/gitlab\n"'
}

server_status() {
  STATUS_GITLAB=$STATE/gitlab OPERATION_RUNS=$STATE/runs OPERATION_LOCK=$STATE/lock \
    run --separate-stderr "$ROOT/scripts/server/server-status.sh"
}

part() { grep -P "^$1\t" <<<"$output"; }

@test "S8: the server's status: all is well" {
  gitlab 13.10.2
  server_status
  [ "$status" -eq 0 ]
  [[ $(part version) == version$'\t-\tgitlab-ce 13.10.2, '* ]]
  [ "$(part services)" = $'services\tok\tall 2 are up' ]
  [ "$(part sign-in)" = $'sign-in\tok\tthe page answers with 200' ]
  [[ $(part disk) == *$'disk\tok\t/var/opt/gitlab: 180G of 200G free'* ]]
  [ "$(part migrations)" = $'migrations\tok\tno background migration is left' ]
  [ "$(part runners)" = $'runners\tok\t1 of 3 were in contact within two hours' ]
  if grep -q 'FROM batched' "$CALLS"; then return 1; fi
  sql "UPDATE ci_runners SET contacted_at = NULL"
  server_status
  [ "$(part runners)" = $'runners\twrong\tnone of 3 was in contact within two hours' ]
}

@test "S8: what is asked of GitLab fits its version" {
  gitlab 14.9.5
  sql "INSERT INTO batched_background_migrations (status, job_class_name, table_name, column_name)
    VALUES (3, 'Done', 'users', 'id'), (1, 'Backfill', 'projects', 'id'), (4, 'Failed', 'events', 'id')"
  server_status
  [[ $(part migrations) == $'migrations\twrong\tno upgrade until they are finished: 2 batched (1 failed), 0 in Sidekiq, '*'Backfill on projects (status 1)'* ]]
  gitlab 15.4.6
  : >"$CALLS"
  server_status
  [ "$(part migrations)" = $'migrations\tok\tno background migration is left' ]
  if grep -q gitlab-rails "$CALLS"; then return 1; fi
}

@test "S8 status | a part of GitLab is broken, hangs or talks rubbish | that part says so, and the others are told" {
  gitlab 14.9.5
  stub gitlab-ctl 'echo "run: nginx: (pid 1) 10s"; echo "down: puma: 3s, normally up; run: log: (pid 4) 10s"; exit 3'
  stub gitlab-rails 'exec sleep 60'
  stub gitlab-psql 'echo "psql: could not connect to server" >&2; exit 2'
  stub curl 'printf 502'
  stub df 'printf "Filesystem Size Used Avail Capacity Mounted on\n/dev/a 30G 29G 1G 97%% /\n"'
  STATUS_TIMEOUT=1 server_status
  [ "$status" -eq 0 ]
  [ "$(part services)" = $'services\twrong\tdown: puma; 1 are up' ]
  [ "$(part sign-in)" = $'sign-in\twrong\tthe page does not answer with 200; the answer was HTTP 502' ]
  [ "$(part disk)" = $'disk\twrong\t/ is 97% full: 1G of 30G free' ]
  [[ $(part migrations) == *$'unknown\tgitlab-psql ended with 2: psql: could not connect to server' ]]
  [[ $(part runners) == *$'unknown\tgitlab-psql ended with 2: psql: could not connect to server' ]]
  stub_gitlab_psql
  STATUS_TIMEOUT=1 server_status
  [[ $(part migrations) == *$'unknown\tgitlab-rails takes longer than 1 s' ]]
  stub gitlab-rails 'echo "a deprecation"; echo 0'
  server_status
  [[ $(part migrations) == *$'unknown\tGitlab::BackgroundMigration.remaining: got '* ]]
  rm -r "$STATE/gitlab"
  server_status
  [ "$status" -eq 0 ]
  [[ $(part version) == *$'wrong\tGitLab is not installed'* ]]
  [[ $(part services) == *down* ]]
}

@test "S8: operations: the one that holds the lock, and the last ones" {
  gitlab 15.4.6
  local run=$STATE/runs/20261124T185436-0a1b2c3d
  mkdir -p "$run"
  echo upgrade >"$run/operation"
  echo 2026-11-24T18:54:36Z >"$run/started"
  echo 1 >"$run/status"
  echo 'backup (run 20261124T190000-00000001), since 2026-11-24T19:00:00Z,' >"$STATE/lock"
  flock "$STATE/lock" sleep 30 3>&- &
  local holder=$! tries=0
  while flock --nonblock "$STATE/lock" true; do
    ((tries++ < 500))
    sleep 0.01
  done
  server_status
  [[ $(part operation) == *"under way: backup (run 20261124T190000-00000001), since 2026-11-24T19:00:00Z"* ]]
  [[ $(part operation) == *"upgrade ended with 1, started 2026-11-24T18:54:36Z (run 20261124T185436-0a1b2c3d)"* ]]
  pkill --parent "$holder" || true
  wait "$holder" || true
}

# start_moto gives the account a load balancer and a bucket.
start_moto() {
  PATH=$PYTHON_TOOLS:$PATH
  require_tool moto_server
  env -u MOTO_ACCOUNT_ID moto_server -H 127.0.0.1 -p 0 >"$BATS_TEST_TMPDIR/moto.log" 2>&1 3>&- &
  MOTO=$!
  local tries=0
  until grep -q 'Running on' "$BATS_TEST_TMPDIR/moto.log"; do
    ((tries++ < 300))
    sleep 0.1
  done
  MOTO_URL=http://localhost:$(sed -n 's|.*Running on http://127.0.0.1:\([0-9]*\).*|\1|p' "$BATS_TEST_TMPDIR/moto.log")
  NAME=$(
    "$ROOT/.venv/bin/python" - "$MOTO_URL" "$1" <<'PY'
import boto3, sys
def client(name):
    return boto3.client(name, region_name="ap-northeast-1", endpoint_url=sys.argv[1], aws_access_key_id="anybody", aws_secret_access_key="anything")
ec2, elb, s3 = client("ec2"), client("elbv2"), client("s3")
vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{i}.0/24", AvailabilityZone=f"ap-northeast-1{z}")["Subnet"]["SubnetId"] for i, z in enumerate("ac")]
balancer = elb.create_load_balancer(Name="gitlab", Subnets=subnets)["LoadBalancers"][0]
group = elb.create_target_group(Name="server", Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0]["TargetGroupArn"]
instance = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, SubnetId=subnets[0])["Instances"][0]["InstanceId"]
elb.register_targets(TargetGroupArn=group, Targets=[{"Id": instance}])
elb.create_listener(LoadBalancerArn=balancer["LoadBalancerArn"], Protocol="HTTP", Port=80, DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])
s3.create_bucket(Bucket="example-backups", CreateBucketConfiguration={"LocationConstraint": "ap-northeast-1"})
s3.put_object(Bucket="example-backups", Key="backups/1606734000_2020_11_30_13.10.2/manifest.json", Body=b"{}")
s3.put_object(Bucket="example-backups", Key=f"backups/{sys.argv[2]}_2026_11_24_13.10.2/manifest.json", Body=b"{}")
s3.put_object(Bucket="example-backups", Key="backups/4102444800_2100_01_01_13.10.2/half.tar", Body=b"{}")
print(balancer["DNSName"])
PY
  )
}

row() { grep -E "^$1 " <<<"$output" | tr -s ' '; }

@test "S8: status puts server, backup, load balancer and agents on one screen" {
  gitlab 13.10.2
  start_moto "$(($(date +%s) - 7200))"
  start_remote BackupBucketName=example-backups LoadBalancerDnsName="$NAME"
  echo "$MOTO_URL" >"$REMOTE/forward"
  run_on_folder server
  run_on_folder runner
  ops status
  echo "$output"
  [[ $(row 'last backup') == *" ok "*"_2026_11_24_13.10.2, 2 hours old" ]]
  [[ $(row 'load balancer') == *" ok the server is healthy" ]]
  [[ $(row services) == *" ok all 2 are up" ]]
  [[ $(row runners) == *" ok 1 of 3 "* ]]
  [[ $(row "runner's agent") == *" ok online, $REMOTE_RUNNER" ]]
  # No GitLab is installed on this machine.
  [ "$status" -eq 1 ]
  [[ $(row version) == *" wrong GitLab is not installed"* ]]
}

@test "S8 status | the server's agent is offline, and AWS refuses the rest | each part says so; exit 1" {
  gitlab 13.10.2
  start_remote BackupBucketName=example-backups LoadBalancerDnsName=lb.example.com
  run_on_folder server
  touch "$REMOTE/offline-$REMOTE_SERVER"
  ops status
  [ "$status" -eq 1 ]
  [[ $(row server) == *" unknown status was not started: the agent on the instance did not take it"* ]]
  [[ $(row "server's agent") == *" wrong ConnectionLost, $REMOTE_SERVER: scripts/ops check says why" ]]
  [[ $(row "runner's agent") == *" wrong not registered"* ]]
  [[ $(row 'last backup') == *" unknown AWS did not say: "* ]]
  [[ $(row 'load balancer') == *" unknown AWS did not say: "* ]]
}
