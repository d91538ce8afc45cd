#!/usr/bin/env bats
# shellcheck disable=SC2016 # the stubs expand it
# scripts/ops check, connect, forward and root-password: an AWS CLI that plays
# its part, and, for the calls that moto knows, the real one against moto.

load helper
load fixtures/ops-account

SERVER=i-0123456789abcdef0
RUNNER=i-0fedcba9876543210
VPC=vpc-0a1b2c3d4e5f67890
SECRET=arn:aws:secretsmanager:ap-northeast-1:111111111111:secret:RootPassword-AbCdEf

setup() {
  fake_account
  # ops-account plays the deployment account: here it is GitLab's.
  stub go 'echo "{\"Region\": \"ap-northeast-1\", \"GitLab\": {\"Account\": \"111111111111\"}}"'
  answer get-caller-identity 111111111111
  answer describe-stacks '[{"OutputKey": "ServerInstanceId", "OutputValue": "'$SERVER'"},
    {"OutputKey": "RunnerInstanceId", "OutputValue": "'$RUNNER'"}, {"OutputKey": "VpcId", "OutputValue": "'$VPC'"},
    {"OutputKey": "RootPasswordSecretArn", "OutputValue": "'$SECRET'"}]'
  # What the AWS CLI says when all is well; sed makes the faults of it.
  answer describe-instance-information '{"InstanceInformationList": [
    {"InstanceId": "'$SERVER'", "PingStatus": "Online", "LastPingDateTime": 1795546476.5, "AgentVersion": "3.1.1"},
    {"InstanceId": "'$RUNNER'", "PingStatus": "Online", "LastPingDateTime": "2026-11-24T18:54:36+00:00", "AgentVersion": "3.1.1"}]}'
  answer describe-instances '{"Reservations": [
    {"Instances": [{"InstanceId": "'$SERVER'", "State": {"Name": "running"}, "IamInstanceProfile": {"Arn": "arn:aws:iam::111111111111:instance-profile/server-profile"}}]},
    {"Instances": [{"InstanceId": "'$RUNNER'", "State": {"Name": "running"}, "IamInstanceProfile": {"Arn": "arn:aws:iam::111111111111:instance-profile/runner-profile"}}]}]}'
  answer describe-vpc-endpoints '{"VpcEndpoints": [
    {"VpcEndpointId": "vpce-1", "ServiceName": "com.amazonaws.ap-northeast-1.ssm", "State": "available", "PrivateDnsEnabled": true},
    {"VpcEndpointId": "vpce-2", "ServiceName": "com.amazonaws.ap-northeast-1.ssmmessages", "State": "available", "PrivateDnsEnabled": true},
    {"VpcEndpointId": "vpce-3", "ServiceName": "com.amazonaws.ap-northeast-1.ec2messages", "State": "available", "PrivateDnsEnabled": true},
    {"VpcEndpointId": "vpce-4", "ServiceName": "com.amazonaws.ap-northeast-1.s3", "State": "available", "PrivateDnsEnabled": false}]}'
  answer get-instance-profile '{"InstanceProfile": {"Roles": [{"RoleName": "host-role"}]}}'
  answer list-attached-role-policies '{"AttachedPolicies": [{"PolicyName": "AmazonSSMManagedInstanceCore"}]}'
  stub session-manager-plugin
}

teardown() { [[ -z ${MOTO:-} ]] || kill "$MOTO"; }

ops() { run --separate-stderr "$REPO/scripts/ops" "$1" --env staging --profile a "${@:2}"; }

# change CALL SED-EXPRESSION changes what the AWS CLI says.
change() { sed -i "$2" "$FAKES/$1"; }

# row WHERE WHAT prints a row of the table, without the blanks.
row() { grep -E "^$1 +$2 " <<<"$output" | tr -s ' '; }

@test "S7: all is well: exit 0, and every row says what was found" {
  ops check
  [ "$status" -eq 0 ]
  [ "$(awk '{ print (NF > 3) }' <<<"$output" | sort -u)" = 1 ]
  [ "$(wc -l <<<"$output")" -eq 11 ]
  if grep -E 'wrong|unknown' <<<"$output"; then return 1; fi
  [[ $stderr == *"Session Manager reaches the server"*"Session Manager reaches the runner"* ]]
  grep -q "^aws ssm describe-instance-information --filters Key=InstanceIds,Values=$SERVER,$RUNNER --output json --profile a --region ap-northeast-1" "$CALLS"
  grep -q "^aws ec2 describe-vpc-endpoints --filters Name=vpc-id,Values=$VPC " "$CALLS"
  no_temporary_files
}

@test "S7 check | session-manager-plugin is not installed | it says so, and where to get it" {
  rm "$STUBS/session-manager-plugin"
  ops check
  [ "$status" -eq 1 ]
  [[ $(row 'this machine' plug-in) == *"wrong session-manager-plugin is not installed: https://docs.aws.amazon.com/"* ]]
  # The hosts are reached all the same.
  [[ $stderr == *"Session Manager reaches the server"* ]]
}

@test "S7 check | an agent is offline while all before it is well | it says since when, and what to do" {
  change describe-instance-information '2s/Online/ConnectionLost/'
  ops check
  [ "$status" -eq 1 ]
  [[ $(row server SSM) == *"wrong ConnectionLost: nothing heard since 2026-11-"*", agent 3.1.1" ]]
  [[ $(row runner SSM) == *" ok online, agent 3.1.1" ]]
  [[ $stderr == *"does not reach the server: all before the agent is well; a restart of the instance"*"reaches the runner"* ]]
}

@test "S7 check | an instance is stopped | that is named as the cause" {
  change describe-instance-information '3s/Online/ConnectionLost/'
  change describe-instances '3s/running/stopped/'
  ops check
  [ "$status" -eq 1 ]
  [[ $(row runner instance) == *"wrong $RUNNER is stopped: start it" ]]
  [[ $stderr == *"does not reach the runner: runner, instance: $RUNNER is stopped"* ]]
}

@test "S7 check | an instance has no role, or its role lacks the policy | that is named as the cause" {
  answer describe-instance-information '{"InstanceInformationList": []}'
  answer list-attached-role-policies '{"AttachedPolicies": []}'
  ops check
  [ "$status" -eq 1 ]
  [[ $(row server role) == *"wrong host-role lacks the policy AmazonSSMManagedInstanceCore" ]]
  [[ $(row server SSM) == *"wrong the agent has never registered, or has been away for a month" ]]
  [[ $stderr == *"does not reach the server: server, role: host-role lacks the policy"* ]]
  change describe-instances '2s/, "IamInstanceProfile": {[^}]*}//'
  ops check
  [[ $(row server role) == *"wrong $SERVER has no instance profile, so its agent may not register" ]]
  answer get-instance-profile '{"InstanceProfile": {"Roles": []}}'
  ops check
  [[ $(row runner role) == *"wrong the instance profile runner-profile has no role" ]]
}

@test "S7 check | an endpoint is missing, not available, or without private DNS | that is named as the cause" {
  change describe-instance-information 's/Online/ConnectionLost/'
  change describe-vpc-endpoints '/ssmmessages/d; s/"com.amazonaws.ap-northeast-1.ec2messages", "State": "available"/"com.amazonaws.ap-northeast-1.ec2messages", "State": "pending"/; 2s/true/false/'
  ops check
  [ "$status" -eq 1 ]
  [[ $(row network 'endpoint ssm') == *"wrong vpce-1 has no private DNS, so the agent does not find it" ]]
  [[ $(row network 'endpoint ssmmessages') == *"wrong the VPC has no such endpoint" ]]
  [[ $(row network 'endpoint ec2messages') == *"wrong vpce-3 is pending" ]]
  [[ $stderr == *"does not reach the server: network, endpoint ssm: vpce-1 has no private DNS"* ]]
}

@test "S7 check | the profile may not ask for something | that is unknown, with AWS's words, and the rest is told" {
  refuse list-attached-role-policies $'An error occurred (AccessDenied) when calling it: no\e[31m'
  refuse describe-vpc-endpoints 'An error occurred (UnauthorizedOperation) when calling it: no'
  ops check
  [ "$status" -eq 1 ]
  [[ $(row server role) == *"unknown AWS did not say: An error occurred (AccessDenied)"* ]]
  [[ $(row network 'endpoint ssm') == *"unknown AWS did not say: An error occurred (UnauthorizedOperation)"* ]]
  [[ $(row server SSM) == *" ok online"* ]]
  printable "$output"
  refuse describe-instances 'An error occurred (RequestExpired) when calling it: no'
  ops check
  [[ $(row server instance) == *"unknown AWS did not say: An error occurred (RequestExpired)"* ]]
}

@test "S7: check against moto: real endpoints, instances and roles" {
  PATH=$PATH:$PYTHON_TOOLS
  require_tool moto_server
  mv "$STUBS/aws" "$STUBS/played-aws"
  moto_server -H 127.0.0.1 -p 0 >"$BATS_TEST_TMPDIR/moto.log" 2>&1 3>&- &
  MOTO=$!
  wait_until grep -q 'Running on' "$BATS_TEST_TMPDIR/moto.log"
  local endpoint
  endpoint=http://localhost:$(sed -n 's|.*Running on http://127.0.0.1:\([0-9]*\).*|\1|p' "$BATS_TEST_TMPDIR/moto.log")
  local made
  made=$(
    "$ROOT/.venv/bin/python" - "$endpoint" <<'PY'
import boto3, sys
def client(name):
    return boto3.client(name, region_name="ap-northeast-1", endpoint_url=sys.argv[1], aws_access_key_id="a", aws_secret_access_key="b")
ec2, iam = client("ec2"), client("iam")
vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
for service in ("ssm", "ssmmessages", "ec2messages"):
    ec2.create_vpc_endpoint(VpcId=vpc, VpcEndpointType="Interface", SubnetIds=[subnet], ServiceName=f"com.amazonaws.ap-northeast-1.{service}", PrivateDnsEnabled=True)
iam.create_role(RoleName="host", AssumeRolePolicyDocument="{}")
iam.create_policy(PolicyName="AmazonSSMManagedInstanceCore", PolicyDocument='{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ssm:*", "Resource": "*"}]}')
iam.attach_role_policy(RoleName="host", PolicyArn="arn:aws:iam::123456789012:policy/AmazonSSMManagedInstanceCore")
iam.create_instance_profile(InstanceProfileName="host")
iam.add_role_to_instance_profile(InstanceProfileName="host", RoleName="host")
for _ in range(2):
    print(ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, SubnetId=subnet, IamInstanceProfile={"Name": "host"})["Instances"][0]["InstanceId"])
print(vpc)
PY
  )
  local ids
  mapfile -t ids <<<"$made"
  # Identity, outputs and agents are played: moto knows no agent.
  stub aws 'case $2 in
      get-caller-identity | describe-stacks | describe-instance-information) exec "$STUBS/played-aws" "$@" ;;
      *)
        while [[ $1 != --profile ]]; do words+=("$1"); shift; done
        AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b exec '"$AWS_CLI"' "${words[@]}" --region ap-northeast-1 --endpoint-url '"$endpoint"' ;;
    esac'
  sed -i "s/$SERVER/${ids[0]}/; s/$RUNNER/${ids[1]}/; s/$VPC/${ids[2]}/" "$FAKES/describe-stacks" "$FAKES/describe-instance-information"
  ops check
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [[ $(row network 'endpoint ec2messages') == *" ok vpce-"*" is available" ]]
  [[ $(row server role) == *" ok host has AmazonSSMManagedInstanceCore" ]]
}

@test "S7: connect and forward start the sessions, and leave nothing behind" {
  answer start-session 'session'
  ops connect
  [ "$status" -eq 0 ]
  grep -q "^aws ssm start-session --target $SERVER --profile a --region ap-northeast-1" "$CALLS"
  ops connect --host runner
  grep -q "^aws ssm start-session --target $RUNNER " "$CALLS"
  ops forward
  [[ $stderr == *"http://localhost:8080 becomes port 80 of $SERVER"* ]]
  ops forward --port 9000
  grep -q "^aws ssm start-session --target $SERVER --document-name AWS-StartPortForwardingSession --parameters portNumber=80,localPortNumber=9000 " "$CALLS"
  no_temporary_files
}

@test "S7 connect | session-manager-plugin is not installed | exit 2, where to get it, and AWS is not asked" {
  rm "$STUBS/session-manager-plugin"
  local command
  for command in connect forward; do
    ops "$command"
    [ "$status" -eq 2 ]
    [[ $stderr == *"session-manager-plugin is not installed"*"https://docs.aws.amazon.com/"* ]]
  done
  not_called '^aws'
}

@test "S7 connect | the session does not come up | its own status and words" {
  refuse start-session 'An error occurred (TargetNotConnected) when calling the StartSession operation: i-0 is not connected.'
  ops connect
  [ "$status" -eq 254 ]
  [[ $stderr == *TargetNotConnected* ]]
}

@test "S7: connect and forward refuse what they do not know" {
  ops connect --host database
  [[ $status == 2 && $stderr == *"--host: want server or runner, got 'database'"* ]]
  local port
  for port in 80 70000 x 08080 '8080,host=x'; do
    ops forward --port "$port"
    [[ $status == 2 && $stderr == *"--port: want 1024 to 65535, got '$port'"* ]]
  done
  not_called '^aws'
}

@test "S5: root-password says where it is, and prints it on request only, on stdout only" {
  answer get-secret-value 'the-pass-word'
  ops root-password
  [ "$status" -eq 0 ]
  [[ $output == "aws secretsmanager get-secret-value --secret-id $SECRET "* ]]
  not_called 'get-secret-value'
  ops root-password --show
  [ "$status" -eq 0 ]
  [ "$output" = the-pass-word ]
  [[ $stderr != *the-pass-word* ]]
  no_temporary_files
  run --separate-stderr bash -x "$REPO/scripts/ops.d/root-password.sh" --env staging --show
  [ "$status" -eq 1 ]
  [[ "$output$stderr" != *the-pass-word* ]]
}

@test "S5 root-password | the profile may not read the secret | exit 1 with AWS's words, and nothing on stdout" {
  refuse get-secret-value 'An error occurred (AccessDeniedException) when calling the GetSecretValue operation: no'
  ops root-password --show
  [ "$status" -eq 1 ]
  [ -z "$output" ]
  [[ $stderr == *"reading the secret: An error occurred (AccessDeniedException)"* ]]
}

@test "S7: --dry-run of each prints its commands and calls nothing" {
  rm "$STUBS/session-manager-plugin"
  local command
  for command in check connect forward root-password status; do
    : >"$CALLS"
    ops "$command" --dry-run
    [ "$status" -eq 0 ]
    [[ $output == *"aws "* ]]
    not_called '^aws'
    bash -n <<<"$output"
  done
}
