#!/usr/bin/env bats
# scripts/ops deploy with a CDK and an AWS CLI that only play their parts. The
# emulator's demo runs the same command with the real ones.
# shellcheck disable=SC2016 # the stubs, or a reader's shell, expand it

load helper

# A copy of scripts/ has no node_modules, so that the stubs are the CDK. Its
# path has a space, because an operator's may have one.
setup() {
  use_stubs
  REPO="$BATS_TEST_TMPDIR/my project"
  FAKES=$BATS_TEST_TMPDIR/fakes
  export REPO FAKES TMPDIR=$BATS_TEST_TMPDIR/tmp
  mkdir -p "$REPO" "$FAKES" "$TMPDIR"
  cp -R "$ROOT/scripts" "$REPO/"
  fake_cdk
  fake_aws
  fake_go
  account profile-a 111111111111
  account profile-b 222222222222
  answer profile-a describe-stacks-endpoint vpce-0a1b2c3d4e5f67890
  answer profile-a describe-stacks '[
    {"OutputKey": "S3EndpointId", "OutputValue": "vpce-0a1b2c3d4e5f67890"},
    {"OutputKey": "RunnerInstanceId", "OutputValue": "i-0123456789abcdef0"},
    {"OutputKey": "LoadBalancerDnsName", "OutputValue": "lb-1.elb.amazonaws.com"},
    {"OutputKey": "Url", "OutputValue": "https://gitlab.example.com"}]'
  answer profile-b describe-stacks '[{"OutputKey": "ArtifactBucketName", "OutputValue": "example-deploy-staging"}]'
}

# account PROFILE ID makes a bootstrapped account.
account() {
  mkdir -p "$FAKES/$1"
  answer "$1" get-caller-identity "$2"
  answer "$1" get-parameter 30
  answer "$1" set-stack-policy ''
  stack_is "$1" CREATE_COMPLETE
}

# stack_is PROFILE STATE [True] is how the account's stack is, and whether it
# refuses to be deleted.
stack_is() { answer "$1" describe-stacks-state "$2"$'\t'"arn:aws:cloudformation:ap-northeast-1:111111111111:stack/the-stack/1"$'\t'"${3-False}"; }

# no_stack PROFILE: there is none yet.
no_stack() {
  refuse "$1" describe-stacks-state "An error occurred (ValidationError) when calling the DescribeStacks operation: Stack with id the-stack does not exist"
  refuse "$1" set-stack-policy "An error occurred (ValidationError) when calling the SetStackPolicy operation: Stack [the-stack] does not exist"
}

# failed_stack PROFILE STATE makes a stack whose creation failed. It is gone after
# the first attempt to delete it, unless a test says otherwise.
failed_stack() {
  stack_is "$1" "$2"
  answer "$1" describe-stack-events '{"StackEvents": [
    {"StackId": "arn:1", "PhysicalResourceId": "arn:1", "ResourceStatus": "ROLLBACK_COMPLETE"},
    {"StackId": "arn:1", "PhysicalResourceId": "x", "LogicalResourceId": "Later", "ResourceType": "AWS::SNS::Topic", "ResourceStatus": "CREATE_FAILED", "ResourceStatusReason": "Resource creation cancelled"},
    {"StackId": "arn:1", "PhysicalResourceId": "x", "LogicalResourceId": "ServerInstallationDone", "ResourceType": "AWS::CloudFormation::WaitCondition", "ResourceStatus": "CREATE_FAILED", "ResourceStatusReason": "no \u001b[31mpackage"},
    {"StackId": "arn:1", "PhysicalResourceId": "arn:1", "ResourceStatus": "CREATE_IN_PROGRESS"}]}'
  answer "$1" list-stack-resources '{"StackResourceSummaries": [
    {"LogicalResourceId": "Logs", "ResourceType": "AWS::S3::Bucket", "PhysicalResourceId": "logs-1", "ResourceStatus": "DELETE_SKIPPED"},
    {"LogicalResourceId": "Attachment", "ResourceType": "AWS::EC2::VolumeAttachment", "PhysicalResourceId": "vol-1", "ResourceStatus": "DELETE_SKIPPED"},
    {"LogicalResourceId": "Vpc", "ResourceType": "AWS::EC2::VPC", "PhysicalResourceId": "vpc-1", "ResourceStatus": "DELETE_COMPLETE"}]}'
  answer "$1" list-stack-resources-failed 'Vault	Group'
  for call in delete-stack update-termination-protection wait; do answer "$1" "$call" ''; done
  # The names of what follows one deletion after the other.
  answer "$1" after-1 'DELETE_COMPLETE	arn:1	False'
}

# answer PROFILE CALL TEXT is what the AWS CLI prints for a call.
answer() { printf '%s\n' "$3" >"$FAKES/$1/$2"; }

# refuse PROFILE CALL TEXT lets the call fail with a message.
refuse() {
  rm -f "$FAKES/$1/$2"
  printf '%s\n' "$3" >"$FAKES/$1/$2.error"
}

fake_aws() {
  stub aws '
    call=$2 profile=
    while (($#)); do
      [[ $1 != --profile ]] || profile=$2
      [[ $1 != *S3EndpointId* ]] || call+=-endpoint
      [[ $1 != *StackStatus,* ]] || call+=-state
      [[ $1 != *DELETE_FAILED* ]] || call+=-failed
      shift
    done
    echo "aws $call endpoint=${AWS_ENDPOINT_URL-}" >>"$FAKES/environment"
    if [[ -e $FAKES/$profile/$call.error ]]; then
      echo >&2
      cat "$FAKES/$profile/$call.error" >&2
      exit 254
    fi
    if [[ ! -d $FAKES/$profile ]]; then
      printf "\nThe config profile (%s) could not be found\n" "$profile" >&2
      exit 255
    fi
    cat "$FAKES/$profile/$call"
    # A deletion has an end: the next state of the stack.
    if [[ $call == wait ]]; then
      for next in "$FAKES/$profile"/after-*; do
        mv "$next" "$FAKES/$profile/describe-stacks-state"
        break
      done
    fi'
}

# fake_go plays preflight, the only program that a deploy runs by "go run".
fake_go() {
  stub go '
    echo "go endpoint=${AWS_ENDPOINT_URL-}" >>"$FAKES/environment"
    cat "$FAKES/preflight" 2>/dev/null || exit 0
    echo "exit status 1" >&2
    exit 1'
}

fake_cdk() {
  stub cdk '
    verb=$1 stack=$2 output= app=
    while (($#)); do
      [[ $1 != --output ]] || output=$2
      [[ $1 != --app ]] || app=$2
      shift
    done
    echo "cdk $verb endpoint=${AWS_ENDPOINT_URL-}" >>"$FAKES/environment"
    echo "cdk talks about $verb"
    echo "cdk warns about $verb" >&2
    case $verb in
      synth)
        if [[ -e $FAKES/synth-error ]]; then cat "$FAKES/synth-error" >&2; exit 1; fi
        mkdir -p "$output"
        cp "$FAKES/template.json" "$output/GitLab-staging.template.json"
        echo "{\"Resources\": {}}" >"$output/Deploy-staging.template.json"
        for name in GitLab-staging Deploy-staging; do
          echo closed >"$output/$name.policy.json"
          cat "$FAKES/policy-$name" >"$output/$name.deploy-policy.json" 2>/dev/null || echo closed >"$output/$name.deploy-policy.json"
        done
        cat >"$output/manifest.json" <<"JSON"
{"artifacts": {
  "GitLab-staging": {"type": "aws:cloudformation:stack", "environment": "aws://111111111111/ap-northeast-1",
    "properties": {"terminationProtection": true, "requiresBootstrapStackVersion": 6, "bootstrapStackVersionSsmParameter": "/cdk-bootstrap/hnb659fds/version"}},
  "Deploy-staging": {"type": "aws:cloudformation:stack", "environment": "aws://222222222222/ap-northeast-1",
    "properties": {"terminationProtection": true, "requiresBootstrapStackVersion": 6, "bootstrapStackVersionSsmParameter": "/cdk-bootstrap/hnb659fds/version"}}}}
JSON
        ;;
      deploy)
        node -p "process.argv[2] + \" \" + require(process.argv[1]).artifacts[process.argv[2]].properties.terminationProtection" \
          "$app/manifest.json" "$stack" >>"$FAKES/protected"
        [[ ! -e $FAKES/hang-$stack ]] || { echo $$ >"$FAKES/hanging"; exec sleep 100; }
        [[ ! -e $FAKES/fail-$stack ]] || { echo "no such luck"; cat "$FAKES/fail-$stack"; exit 1; } >&2 ;;
    esac'
  echo '{"Parameters": {"Protection": {"Default": "off"}}, "Resources": {}}' >"$FAKES/template.json"
}

ops_deploy() {
  run --separate-stderr "$REPO/scripts/ops" deploy --env staging --profile-a profile-a --profile-b profile-b "$@"
}

# calls prints what was called, by name and verb, without options.
calls() { sed -E 's/^(cdk [a-z]+ [A-Za-z0-9:/-]+|aws [a-z0-9]+ [a-z-]+) .*/\1/; s/ --quiet.*//; s/^(cdk synth).*/\1/; s/^(go run [a-z.\/]+) .*/\1/' "$CALLS"; }

# Not "! grep" in a test: bash's errexit, and so bats, overlooks a negation.
not_called() {
  if grep -E -- "$1" "$CALLS"; then return 1; fi
}

nothing_was_changed() { not_called '^cdk (deploy|bootstrap)'; }

@test "S15: both stacks are deployed from one synthesis, A first" {
  ops_deploy --yes
  [[ $status == 0 ]]
  diff - <(calls) <<'EXPECTED'
cdk synth
aws sts get-caller-identity
aws sts get-caller-identity
go run ./cmd/preflight
aws ssm get-parameter
aws ssm get-parameter
aws cloudformation describe-stacks
aws cloudformation set-stack-policy
cdk deploy GitLab-staging
aws cloudformation set-stack-policy
aws cloudformation describe-stacks
aws cloudformation describe-stacks
aws cloudformation set-stack-policy
cdk deploy Deploy-staging
aws cloudformation set-stack-policy
aws cloudformation describe-stacks
aws cloudformation describe-stacks
EXPECTED
  local app
  app=$(sed -n 's/^cdk synth.*--output //p' "$CALLS")
  [[ $app == "$TMPDIR"/ops-deploy.*/assembly ]]
  [[ $(grep -c -- "^cdk deploy .* --app $app --exclusively" "$CALLS") == 2 ]]
  grep -q -- '^cdk deploy GitLab-staging .*--profile profile-a ' "$CALLS"
  grep -q -- '^cdk deploy Deploy-staging .*--profile profile-b ' "$CALLS"
}

@test "S9: account A's S3 endpoint becomes the parameter of account B's stack" {
  ops_deploy --yes
  [[ $status == 0 ]]
  grep -qE -- '^cdk deploy Deploy-staging .* --parameters Deploy-staging:SourceVpceId=vpce-0a1b2c3d4e5f67890( |$)' "$CALLS"
  not_called '^cdk deploy GitLab-staging .*SourceVpceId'
}

@test "S15: stdout is one JSON object with the outputs of both stacks, the talk is on stderr" {
  ops_deploy --yes
  [[ $status == 0 ]]
  [[ $(node -p 'JSON.stringify(JSON.parse(process.argv[1]))' "$output") == '{"GitLab-staging":{"S3EndpointId":"vpce-0a1b2c3d4e5f67890","RunnerInstanceId":"i-0123456789abcdef0","LoadBalancerDnsName":"lb-1.elb.amazonaws.com","Url":"https://gitlab.example.com"},"Deploy-staging":{"ArtifactBucketName":"example-deploy-staging"}}' ]]
  [[ $stderr == *"cdk talks about deploy"*"cdk warns about deploy"* ]]
  [[ $stderr == *"deploying GitLab-staging to account 111111111111 in ap-northeast-1 as profile-a: done in "* ]]
  [[ $stderr == *"point gitlab.example.com at lb-1.elb.amazonaws.com"* ]]
  [[ $stderr == *"scripts/ops register-runner --env staging --profile profile-a"* ]]
  [[ $stderr == *"ARTIFACT_BUCKET to example-deploy-staging"* ]]
}

@test "S6: with a record of the stack's own, no DNS record is asked for" {
  echo '{"Resources": {"Alias": {"Type": "AWS::Route53::RecordSet"}}}' >"$FAKES/template.json"
  ops_deploy --yes
  [[ $status == 0 ]]
  [[ $stderr != *"DNS:"* ]]
}

@test "S15: a successful deploy leaves no temporary files, --work keeps them" {
  ops_deploy --yes
  [[ $status == 0 ]]
  [[ -z $(ls -A "$TMPDIR") ]]

  cd "$BATS_TEST_TMPDIR"
  ops_deploy --yes --work "kept here"
  [[ $status == 0 ]]
  grep -q 'cdk talks about deploy' "kept here/deploy-GitLab-staging.log"
  grep -q 'cdk warns about deploy' "kept here/deploy-Deploy-staging.log"
  [[ -f "kept here/assembly/manifest.json" ]]
}

@test "S15: AWS_ENDPOINT_URL reaches every call" {
  export AWS_ENDPOINT_URL=http://localhost:5000
  ops_deploy --yes
  [[ $status == 0 ]]
  [[ $(grep -c 'endpoint=http://localhost:5000$' "$FAKES/environment") == 17 ]]
  [[ $(wc -l <"$FAKES/environment") -eq 17 ]]
}

@test "S15: --method goes to both deployments, change-set is the default" {
  ops_deploy --yes
  [[ $(grep -c -- '^cdk deploy .*--method change-set' "$CALLS") == 2 ]]
  : >"$CALLS"
  ops_deploy --yes --method direct
  [[ $(grep -c -- '^cdk deploy .*--method direct' "$CALLS") == 2 ]]
}

@test "S15: wrong accounts of both profiles are reported together, before any change" {
  answer profile-a get-caller-identity 333333333333
  answer profile-b get-caller-identity 444444444444
  ops_deploy --yes
  [[ $status == 2 && -z $output ]]
  [[ $stderr == *"profile profile-a is of account 333333333333, but GitLab-staging belongs to account 111111111111 (gitlab.account in config/staging.yaml)"* ]]
  [[ $stderr == *"profile profile-b is of account 444444444444, but Deploy-staging belongs to account 222222222222 (deploy.account in config/staging.yaml)"* ]]
  [[ $stderr != *"wrong way round"* ]]
  nothing_was_changed
  [[ -z $(ls -A "$TMPDIR") ]]
}

@test "S15: one wrong account is enough to stop" {
  answer profile-b get-caller-identity 111111111111
  ops_deploy --yes
  [[ $status == 2 ]]
  [[ $stderr != *"profile-a is of"* ]]
  [[ $stderr == *"profile profile-b is of account 111111111111"* ]]
  nothing_was_changed
}

@test "S15: swapped profiles are recognised" {
  answer profile-a get-caller-identity 222222222222
  answer profile-b get-caller-identity 111111111111
  ops_deploy --yes
  [[ $status == 2 ]]
  [[ $stderr == *"the wrong way round"* ]]
  nothing_was_changed
}

@test "S15: expired credentials name profile, account, AWS's words and the remedy" {
  refuse profile-a get-caller-identity 'An error occurred (ExpiredToken) when calling the GetCallerIdentity operation: The security token included in the request is expired'
  ops_deploy --yes
  [[ $status == 2 ]]
  [[ $stderr == *"profile profile-a gives no credentials for account 111111111111 (gitlab.account in config/staging.yaml)"* ]]
  [[ $stderr == *"AWS says: An error occurred (ExpiredToken) when calling"*"is expired"* ]]
  [[ $stderr == *"aws sso login --profile profile-a"* ]]
  [[ $stderr != *"profile-b gives"* ]]
  nothing_was_changed
}

@test "S15: a profile that does not exist is named" {
  run --separate-stderr "$REPO/scripts/ops" deploy --env staging --profile-a profile-a --profile-b 'no one' --yes
  [[ $status == 2 ]]
  [[ $stderr == *"profile no one gives no credentials for account 222222222222"*"The config profile (no one) could not be found"* ]]
  nothing_was_changed
}

@test "S15: what a deploy would fail on is asked after the identities and before any change" {
  echo 'config/staging.yaml:42: gitlab.loadBalancer.certificateArn: got a certificate that is "EXPIRED", want one that is ISSUED' >"$FAKES/preflight"
  refuse profile-a get-parameter 'An error occurred (ParameterNotFound) when calling the GetParameter operation:'
  ops_deploy --yes
  [[ $status == 2 && -z $output ]]
  [[ $stderr == *'certificateArn: got a certificate that is "EXPIRED"'* ]]
  [[ $stderr == *"nothing was changed; fix what stands above, or pass --skip-preflight"* ]]
  [[ $stderr != *"exit status"* ]]
  [[ $(calls) == $'cdk synth\naws sts get-caller-identity\naws sts get-caller-identity\ngo run ./cmd/preflight' ]]
  grep -q -- '^go run ./cmd/preflight --env staging --profile-a profile-a --profile-b profile-b$' "$CALLS"
  [[ -z $(ls -A "$TMPDIR") ]]
}

@test "S15: with --only, only that account is asked" {
  run --separate-stderr "$REPO/scripts/ops" deploy --env staging --only a --profile-a profile-a --yes
  [[ $status == 0 ]]
  grep -q -- '^go run ./cmd/preflight --env staging --profile-a profile-a --only a$' "$CALLS"
  : >"$CALLS"
  run --separate-stderr "$REPO/scripts/ops" deploy --env staging --only b --profile-b profile-b --yes
  [[ $status == 0 ]]
  grep -q -- '^go run ./cmd/preflight --env staging --profile-b profile-b --only b$' "$CALLS"
}

@test "S15: --skip-preflight asks nothing, and warns; --yes alone does not skip it" {
  echo 'got nothing, want something' >"$FAKES/preflight"
  ops_deploy --yes
  [[ $status == 2 ]]
  ops_deploy --yes --skip-preflight
  [[ $status == 0 ]]
  [[ $stderr == *"warning: --skip-preflight"* ]]
  [[ $(grep -c '^go ' "$CALLS") == 1 ]]
  ops_deploy --skip-preflight --dry-run
  [[ $status == 0 && $output != *preflight* ]]
}

@test "S15: a bootstrapped account is not bootstrapped again" {
  answer profile-a get-parameter 6
  ops_deploy --yes
  [[ $status == 0 ]]
  not_called '^cdk bootstrap'
}

@test "S15: an account without a bootstrap stack gets one before anything is deployed" {
  refuse profile-b get-parameter 'An error occurred (ParameterNotFound) when calling the GetParameter operation:'
  ops_deploy --yes
  [[ $status == 0 ]]
  grep -q '^cdk bootstrap aws://222222222222/ap-northeast-1 .*--profile profile-b' "$CALLS"
  [[ $(calls | grep -E '^cdk (bootstrap|deploy)') == $'cdk bootstrap aws://222222222222/ap-northeast-1\ncdk deploy GitLab-staging\ncdk deploy Deploy-staging' ]]
}

@test "S15: a bootstrap stack older than the templates need is updated" {
  answer profile-a get-parameter 5
  ops_deploy --yes
  [[ $status == 0 ]]
  grep -q '^cdk bootstrap aws://111111111111/ap-northeast-1 .*--profile profile-a' "$CALLS"
  [[ $stderr == *"version 5, and 6 is needed"* ]]
}

@test "S15: a bootstrap version that may not be read is no reason to bootstrap" {
  refuse profile-a get-parameter 'An error occurred (AccessDeniedException) when calling the GetParameter operation: no'
  ops_deploy --yes
  [[ $status == 1 ]]
  [[ $stderr == *"reading /cdk-bootstrap/hnb659fds/version in account 111111111111 as profile-a"*AccessDenied* ]]
  nothing_was_changed
}

@test "S15: when A fails, B is not touched and the log is named" {
  touch "$FAKES/fail-GitLab-staging"
  ops_deploy --yes
  [[ $status == 1 && -z $output ]]
  not_called '^cdk deploy Deploy-staging'
  [[ $stderr == *"deploying GitLab-staging to account 111111111111"*"failed with status 1"* ]]
  local log=${stderr##*log: }
  grep -q 'no such luck' "$log"
}

@test "S15: when B fails, it is B that is named" {
  touch "$FAKES/fail-Deploy-staging"
  ops_deploy --yes
  [[ $status == 1 && -z $output ]]
  [[ $stderr == *"error: deploying Deploy-staging to account 222222222222"*"failed with status 1"* ]]
}

@test "S3: an output that is no endpoint id never reaches B" {
  local id
  for id in None '' 'vpc-0a1b2c3d' 'vpce-0a1b2c3d vpce-4e5f6789' "vpce-0a1b2c3d'; x"; do
    : >"$CALLS"
    answer profile-a describe-stacks-endpoint "$id"
    ops_deploy --yes
    [[ $status == 1 ]]
    [[ $stderr == *"S3EndpointId of GitLab-staging is '$id', not the id of a VPC endpoint"* ]]
    not_called '^cdk deploy Deploy-staging'
  done
}

# policies prints stack and file of each policy that was set.
policies() { sed -nE 's#^aws cloudformation set-stack-policy --stack-name ([^ ]+) .*file:///.*/assembly/([^ ]+) .*#\1 \2#p' "$CALLS"; }

@test "S5: each stack has its policy before its deploy and after it" {
  ops_deploy --yes
  [[ $status == 0 ]]
  diff - <(policies) <<'EXPECTED'
GitLab-staging GitLab-staging.deploy-policy.json
GitLab-staging GitLab-staging.policy.json
Deploy-staging Deploy-staging.deploy-policy.json
Deploy-staging Deploy-staging.policy.json
EXPECTED
  [[ $stderr != *allowReplacement* ]]
}

@test "S5: a stack that is not there yet is deployed, and gets its policy then" {
  refuse profile-a set-stack-policy 'An error occurred (ValidationError) when calling the SetStackPolicy operation: Stack [GitLab-staging] does not exist'
  ops_deploy --yes
  [[ $status == 0 ]]
  [[ $(policies | tail -n 1) == 'Deploy-staging Deploy-staging.policy.json' ]]
}

@test "S5: without the right to set a policy nothing is deployed" {
  refuse profile-a set-stack-policy 'An error occurred (AccessDenied) when calling the SetStackPolicy operation: no'
  ops_deploy --yes
  [[ $status == 1 ]]
  [[ $stderr == *"setting the policy of GitLab-staging: An error occurred (AccessDenied)"* ]]
  nothing_was_changed
}

@test "S5: allowReplacement lifts the policy for this deploy, with a warning" {
  echo open >"$FAKES/policy-GitLab-staging"
  ops_deploy --yes
  [[ $status == 0 ]]
  [[ $stderr == *"config/staging.yaml has allowReplacement: this deploy may replace or delete what holds data in GitLab-staging"* ]]
  [[ $stderr != *"holds data in Deploy-staging"* ]]
  [[ $(policies | sed -n 2p) == 'GitLab-staging GitLab-staging.policy.json' ]]
}

@test "S5: on a terminal a lifted policy is asked for, and a no deploys nothing" {
  echo open >"$FAKES/policy-GitLab-staging"
  on_terminal n "$REPO/scripts/ops" deploy --env staging --profile-a profile-a --profile-b profile-b
  [[ $status == 1 ]]
  [[ $output == *"Let CloudFormation replace or delete what it has to in GitLab-staging of account 111111111111? [y/N]"* ]]
  [[ $output == *"not confirmed; GitLab-staging was not deployed"* ]]
  nothing_was_changed
  [[ -z $(policies) ]]
}

@test "S5: after a failed deploy the stack has its policy back" {
  echo open >"$FAKES/policy-GitLab-staging"
  touch "$FAKES/fail-GitLab-staging"
  ops_deploy --yes
  [[ $status == 1 ]]
  [[ $(policies | tail -n 1) == 'GitLab-staging GitLab-staging.policy.json' ]]
}

@test "S5: a deploy that takes too long says that the policy is still lifted" {
  echo open >"$FAKES/policy-GitLab-staging"
  touch "$FAKES/hang-GitLab-staging"
  ops_deploy --yes --timeout 1
  [[ $status == 1 ]]
  [[ $(policies) == 'GitLab-staging GitLab-staging.deploy-policy.json' ]]
  [[ $stderr == *"the policy of GitLab-staging is still lifted"* ]]
}

@test "S5: a refusal of CloudFormation's is explained" {
  echo 'GitLab-staging | Action denied by stack policy: Statement [#2] does not allow [Update:Replace] for resource [ServerInstance]' >"$FAKES/fail-GitLab-staging"
  ops_deploy --yes
  [[ $status == 1 ]]
  [[ $stderr == *"CloudFormation refused to replace or delete what holds data"*"docs/changes.md"*"docs/recovery.md"* ]]
}

@test "S15: a configuration error is shown as it is and ends with 2" {
  echo 'environment: got "nope", want one of local, staging (the .yaml files in config)' >"$FAKES/synth-error"
  run --separate-stderr "$REPO/scripts/ops" deploy --env nope --profile-a profile-a --profile-b profile-b --yes
  [[ $status == 2 ]]
  [[ $stderr == *'environment: got "nope", want one of local, staging'* ]]
  grep -q '^cdk synth .*env=nope' "$CALLS"
  not_called '^aws'
}

@test "S15: without --yes and without a terminal nothing is called" {
  ops_deploy </dev/null
  [[ $status == 2 ]]
  [[ $stderr == *"pass --yes"* ]]
  [[ ! -s $CALLS ]]
}

# on_terminal runs a command on a terminal of its own where TEXT is typed. A
# python3 from pyenv puts its own folder before the stubs: env takes it back.
on_terminal() {
  local text=$1
  shift
  run python3 -c '
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))' env PATH="$PATH" "$@" <<<"$text"
}

@test "S15: on a terminal the CDK asks before permissions are widened, with --yes it does not" {
  on_terminal '' "$REPO/scripts/ops" deploy --env staging --profile-a profile-a --profile-b profile-b
  [[ $status == 0 ]]
  [[ $(grep -c -- '^cdk deploy .*--require-approval broadening' "$CALLS") == 2 ]]
  : >"$CALLS"
  ops_deploy --yes
  [[ $(grep -c -- '^cdk deploy .*--require-approval never' "$CALLS") == 2 ]]
}

@test "S15: on a terminal a bootstrap is asked for, and a no changes nothing" {
  refuse profile-a get-parameter 'An error occurred (ParameterNotFound) when calling the GetParameter operation:'
  on_terminal n "$REPO/scripts/ops" deploy --env staging --profile-a profile-a --profile-b profile-b
  [[ $status == 1 ]]
  [[ $output == *"Account 111111111111, ap-northeast-1: bootstrap stack: none yet. Let the CDK deploy it? [y/N]"* ]]
  nothing_was_changed
  on_terminal y "$REPO/scripts/ops" deploy --env staging --profile-a profile-a --profile-b profile-b
  [[ $status == 0 ]]
  grep -q '^cdk bootstrap aws://111111111111' "$CALLS"
}

@test "S15: --dry-run calls nothing but the synthesis, and needs no credentials" {
  rm -r "$FAKES/profile-a" "$FAKES/profile-b"
  ops_deploy --dry-run </dev/null
  [[ $status == 0 ]]
  [[ $(calls) == 'cdk synth' ]]
  [[ $output == *'cdk deploy Deploy-staging --app "$assembly" '*'SourceVpceId="$endpoint"'* ]]
  [[ $output == *$'\ngo run ./cmd/preflight --env staging --profile-a profile-a --profile-b profile-b\n'* ]]
}

@test "S15: what --dry-run prints does what a deploy does, as it stands" {
  refuse profile-a get-parameter 'An error occurred (ParameterNotFound) when calling the GetParameter operation:'
  refuse profile-b get-parameter 'An error occurred (ParameterNotFound) when calling the GetParameter operation:'
  mv "$FAKES/profile-a" "$FAKES/the profile's name"
  local arguments=(--env staging --profile-a "the profile's name" --profile-b profile-b --yes)

  "$REPO/scripts/ops" deploy "${arguments[@]}"
  # Paths differ, --ci is for where there is no terminal, and the bootstrap
  # is a matter for the reader of the printed text.
  same() { sed -E 's/ --ci$//; s#/[^ ]*(/assembly|/tmp\.[A-Za-z0-9]+)#ASSEMBLY#' "$CALLS" | sort; }
  same >"$BATS_TEST_TMPDIR/deployed"

  "$REPO/scripts/ops" deploy "${arguments[@]}" --dry-run >"$BATS_TEST_TMPDIR/printed"
  : >"$CALLS"
  PATH=$PATH bash "$BATS_TEST_TMPDIR/printed"
  diff "$BATS_TEST_TMPDIR/deployed" <(same)
  grep -qF "cd '$REPO'" "$BATS_TEST_TMPDIR/printed"
}

@test "S15: an A that takes too long is stopped and named" {
  touch "$FAKES/hang-GitLab-staging"
  ops_deploy --yes --timeout 1
  [[ $status == 1 ]]
  [[ $stderr == *"deploying GitLab-staging"*"not finished after 1 s (--timeout)"* ]]
  run kill -0 "$(cat "$FAKES/hanging")"
  [[ $status != 0 ]]
  not_called '^cdk deploy Deploy-staging'
}

@test "S15: an interrupted deploy stops the CDK and says what CloudFormation does" {
  touch "$FAKES/hang-GitLab-staging"
  "$REPO/scripts/ops" deploy --env staging --profile-a profile-a --profile-b profile-b --yes \
    >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
  local ops=$! status=0 tries=0
  until [[ -s $FAKES/hanging ]]; do
    ((tries++ < 300))
    sleep 0.1
  done
  kill -TERM "$ops"
  wait "$ops" || status=$?
  [[ $status == 143 ]]
  tries=0
  while kill -0 "$(cat "$FAKES/hanging")" 2>/dev/null; do
    ((tries++ < 100))
    sleep 0.1
  done
  grep -q 'interrupted while deploying GitLab-staging' "$BATS_TEST_TMPDIR/err"
  grep -q 'CloudFormation finishes what it has begun' "$BATS_TEST_TMPDIR/err"
  not_called '^cdk deploy Deploy-staging'
}

@test "S15: wrong use ends with 2, says what is wrong, and calls nothing" {
  local expected arguments
  while IFS='|' read -r expected arguments; do
    # shellcheck disable=SC2086 # a list of words
    run --separate-stderr "$REPO/scripts/ops" $arguments </dev/null
    [[ $status == 2 && -z $output && $stderr == *"$expected"* ]] || {
      echo "$arguments: status $status, $stderr"
      return 1
    }
  done <<'CASES'
missing: --env --profile-a --profile-b|deploy
missing: --profile-b|deploy --env staging --profile-a a
--profile-b needs a value|deploy --env staging --profile-a a --profile-b
unknown argument '--force'|deploy --env staging --force
unknown argument 'staging'|deploy staging
--method: want change-set or direct, got 'hope'|deploy --env staging --profile-a a --profile-b b --method hope
--timeout: want seconds, got '2h'|deploy --env staging --profile-a a --profile-b b --timeout 2h
--timeout: want seconds, got '0'|deploy --env staging --profile-a a --profile-b b --timeout 0
no command 'destroy'|destroy
no command '../ops'|../ops
CASES
  [[ ! -s $CALLS ]]
}

@test "S15: all missing tools are named" {
  local only=$BATS_TEST_TMPDIR/only tool
  mkdir "$only"
  for tool in env bash dirname sed date; do
    ln -s "$(command -v "$tool")" "$only/"
  done
  run --separate-stderr env PATH="$only" "$REPO/scripts/ops" deploy --env staging --profile-a a --profile-b b --yes
  [[ $status == 2 ]]
  [[ $stderr == *"not installed: aws cdk go node; make setup"* ]]
}

@test "S15: the pinned CDK wins over one on PATH" {
  mkdir -p "$REPO/node_modules/.bin"
  sed 's/cdk %s/pinned %s/; s/"cdk \$\*"/"pinned $*"/' "$STUBS/cdk" >"$REPO/node_modules/.bin/cdk"
  sed -i.bak '2s/"cdk /"pinned /' "$REPO/node_modules/.bin/cdk"
  chmod +x "$REPO/node_modules/.bin/cdk"
  ops_deploy --yes
  [[ $status == 0 ]]
  grep -q '^pinned deploy' "$CALLS"
  not_called '^cdk '
}

@test "S15: ops lists its commands, and each has a help" {
  run --separate-stderr "$REPO/scripts/ops" --help
  [[ $status == 0 && $output == *"  deploy "*"Deploys GitLab to account A"* ]]
  run --separate-stderr "$REPO/scripts/ops" deploy --help
  [[ $status == 0 && $output == "Usage: scripts/ops deploy --env NAME"* ]]
}

@test "S15: --only a deploys account A with one profile, and prints its outputs" {
  run --separate-stderr "$REPO/scripts/ops" deploy --env staging --only a --profile-a profile-a --yes
  [[ $status == 0 ]]
  [[ $(node -p 'Object.keys(JSON.parse(process.argv[1])).join()' "$output") == GitLab-staging ]]
  [[ $(calls | grep '^cdk') == $'cdk synth\ncdk deploy GitLab-staging' ]]
  not_called profile-b
}

@test "S9: --only b takes the endpoint that it is told, or leaves the one that is there" {
  run --separate-stderr "$REPO/scripts/ops" deploy --env staging --only b --profile-b profile-b --endpoint vpce-0123456789abcdef0 --yes
  [[ $status == 0 ]]
  grep -qE -- '^cdk deploy Deploy-staging .* --parameters Deploy-staging:SourceVpceId=vpce-0123456789abcdef0( |$)' "$CALLS"
  not_called '^cdk deploy GitLab-staging|profile-a'
  : >"$CALLS"
  run --separate-stderr "$REPO/scripts/ops" deploy --env staging --only b --profile-b profile-b --yes
  [[ $status == 0 ]]
  not_called '--parameters'
}

@test "S15: --only and --endpoint that make no sense are refused" {
  ops_deploy --yes --endpoint vpce-0123456789abcdef0
  [[ $status == 2 && $stderr == *"--endpoint is for --only b"* ]]
  ops_deploy --yes --only b --endpoint vpc-1
  [[ $status == 2 && $stderr == *"--endpoint: want the id of a VPC endpoint, got 'vpc-1'"* ]]
  ops_deploy --yes --only ab
  [[ $status == 2 && $stderr == *"--only: want a or b, got 'ab'"* ]]
  [[ ! -s $CALLS ]]
}

@test "S15: --assembly deploys what was reviewed, without a synthesis" {
  cdk synth --output "$BATS_TEST_TMPDIR/reviewed state"
  : >"$CALLS"
  cd "$BATS_TEST_TMPDIR"
  ops_deploy --yes --assembly "reviewed state"
  [[ $status == 0 ]]
  not_called '^cdk synth'
  [[ $(grep -c -- "^cdk deploy .* --app $BATS_TEST_TMPDIR/reviewed state --exclusively" "$CALLS") == 2 ]]
}

@test "S15: a new stack is created unprotected, and protected by a second update" {
  no_stack profile-a
  no_stack profile-b
  ops_deploy --yes
  [[ $status == 0 ]]
  diff - "$FAKES/protected" <<'EXPECTED'
GitLab-staging false
GitLab-staging true
Deploy-staging false
Deploy-staging true
EXPECTED
  [[ $(grep -c '^cdk deploy GitLab-staging .*--parameters GitLab-staging:Protection=on' "$CALLS") == 1 ]]
  grep '^cdk deploy GitLab-staging' "$CALLS" | tail -n 1 | grep -q 'Protection=on'
  not_called '^cdk deploy Deploy-staging .*Protection'
  [[ $(grep -c '^cdk deploy Deploy-staging .*SourceVpceId=vpce-0a1b2c3d4e5f67890' "$CALLS") == 2 ]]
  [[ $stderr == *"deploying GitLab-staging to account 111111111111"*"unprotected as long as its creation can fail: done"*"a second update, in place, protects it from deletion: done"* ]]
}

@test "S15: what was reviewed is created unprotected too, and stays as it is" {
  cdk synth --output "$BATS_TEST_TMPDIR/reviewed"
  cp -R "$BATS_TEST_TMPDIR/reviewed" "$BATS_TEST_TMPDIR/before"
  no_stack profile-a
  ops_deploy --yes --assembly "$BATS_TEST_TMPDIR/reviewed" --work "$BATS_TEST_TMPDIR/work"
  [[ $status == 0 ]]
  diff -r "$BATS_TEST_TMPDIR/before" "$BATS_TEST_TMPDIR/reviewed"
  # Nothing but the manifest differs: the same templates, the same assets.
  [[ $(diff -rq "$BATS_TEST_TMPDIR/reviewed" "$BATS_TEST_TMPDIR/work/unprotected") == "Files "*"/manifest.json differ" ]]
}

@test "S15: an existing stack is deployed once, protected" {
  ops_deploy --yes
  [[ $status == 0 ]]
  [[ $(cat "$FAKES/protected") == $'GitLab-staging true\nDeploy-staging true' ]]
  [[ $(grep -c '^cdk deploy GitLab-staging .*--parameters GitLab-staging:Protection=on' "$CALLS") == 1 ]]
}

@test "S15: a configuration without protection makes a new stack in one step" {
  sed -i.bak 's/"terminationProtection": true/"terminationProtection": false/' "$STUBS/cdk"
  echo '{"Resources": {}}' >"$FAKES/template.json"
  no_stack profile-a
  ops_deploy --yes
  [[ $status == 0 ]]
  [[ $(grep -c '^cdk deploy GitLab-staging' "$CALLS") == 1 ]]
  not_called "Protection=on"
}

@test "S15: a creation that fails says what the next deploy does about it" {
  no_stack profile-a
  touch "$FAKES/fail-GitLab-staging"
  ops_deploy --yes
  [[ $status == 1 ]]
  [[ $stderr == *"CloudFormation undoes a creation that fails. Mend the cause and deploy again"* ]]
  [[ $(grep -c '^cdk deploy' "$CALLS") == 1 ]]
}

@test "S15: after a failed creation its reason and what is left are told, the stack is deleted and created" {
  local state
  for state in ROLLBACK_COMPLETE ROLLBACK_FAILED CREATE_FAILED DELETE_FAILED; do
    : >"$CALLS"
    failed_stack profile-a "$state"
    ops_deploy --yes
    [[ $status == 0 ]]
    [[ $stderr == *"GitLab-staging in account 111111111111 is $state: its creation failed"* ]]
    [[ $stderr == *"it failed with ServerInstallationDone (AWS::CloudFormation::WaitCondition): no  [31mpackage"* ]]
    [[ $stderr == *"left over: Logs (AWS::S3::Bucket) logs-1, was kept"* ]]
    [[ $stderr != *vol-1* && $stderr != *cancelled* && $stderr != *vpc-1* ]]
    grep -q '^aws cloudformation delete-stack --stack-name arn:aws:cloudformation:ap-northeast-1:111111111111:stack/the-stack/1 --profile profile-a' "$CALLS"
    not_called 'update-termination-protection|retain-resources'
    [[ $(grep -E '^aws cloudformation delete-stack|^cdk deploy' "$CALLS" | head -n 1) == "aws cloudformation delete-stack"* ]]
    [[ $(grep -c '^cdk deploy GitLab-staging' "$CALLS") == 2 ]]
  done
}

@test "S15: on a terminal the deletion of a failed stack is asked for, and a no deletes nothing" {
  failed_stack profile-a ROLLBACK_COMPLETE
  on_terminal n "$REPO/scripts/ops" deploy --env staging --profile-a profile-a --profile-b profile-b
  [[ $status == 1 ]]
  [[ $output == *"left over: Logs"*"Delete what is left of GitLab-staging in account 111111111111, and create it anew? [y/N]"* ]]
  not_called 'delete-stack|update-termination-protection'
  nothing_was_changed
}

@test "S15: what cannot be deleted is left, and told" {
  failed_stack profile-a ROLLBACK_FAILED
  answer profile-a after-1 'DELETE_FAILED	arn:1	False'
  answer profile-a after-2 'DELETE_COMPLETE	arn:1	False'
  ops_deploy --yes
  [[ $status == 0 ]]
  [[ $(grep -c '^aws cloudformation delete-stack' "$CALLS") == 2 ]]
  grep -q '^aws cloudformation delete-stack .* --retain-resources Vault Group ' "$CALLS"
}

@test "S15: a failed stack that stays is not deployed over" {
  failed_stack profile-a ROLLBACK_FAILED
  answer profile-a after-1 'DELETE_FAILED	arn:1	False'
  answer profile-a after-2 'DELETE_FAILED	arn:1	False'
  ops_deploy --yes
  [[ $status == 1 ]]
  [[ $stderr == *"GitLab-staging could not be deleted, and is DELETE_FAILED"* ]]
  nothing_was_changed
}

@test "S15: the protection that an older version gave a failed stack is taken off first" {
  failed_stack profile-a ROLLBACK_COMPLETE
  stack_is profile-a ROLLBACK_COMPLETE True
  ops_deploy --yes
  [[ $status == 0 ]]
  [[ $(grep -oE 'update-termination-protection --no-enable-termination-protection|delete-stack' "$CALLS") == $'update-termination-protection --no-enable-termination-protection\ndelete-stack' ]]
}

@test "S15: a leftover with a name that the new stack needs ends the deploy" {
  echo '{"Resources": {"Logs": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "logs-1"}}}}' >"$FAKES/template.json"
  failed_stack profile-a ROLLBACK_COMPLETE
  ops_deploy --yes
  [[ $status == 1 ]]
  [[ $stderr == *"the new stack needs the name logs-1: empty and delete the old one, and deploy again"* ]]
  nothing_was_changed
}

@test "S15: a stack that may have been complete is never deleted" {
  local events
  for events in '' \
    '{"StackId": "arn:1", "PhysicalResourceId": "arn:1", "ResourceStatus": "UPDATE_COMPLETE"}, {"StackId": "arn:1", "PhysicalResourceId": "arn:1", "ResourceStatus": "CREATE_IN_PROGRESS"}'; do
    failed_stack profile-a DELETE_FAILED
    answer profile-a describe-stack-events "{\"StackEvents\": [$events]}"
    ops_deploy --yes
    [[ $status == 1 ]]
    [[ $stderr == *"GitLab-staging is DELETE_FAILED, and may have held data"* ]]
    not_called 'delete-stack|update-termination-protection'
    nothing_was_changed
  done
}

@test "S15: a stack that an update has left half-way is told with its remedy, and not touched" {
  local state words
  while IFS='|' read -r state words; do
    : >"$CALLS"
    stack_is profile-a "$state"
    ops_deploy --yes
    [[ $status == 1 && $stderr == *"GitLab-staging is $state"*"$words"* ]] || {
      echo "$state: $status $stderr"
      return 1
    }
    not_called 'delete-stack|set-stack-policy'
    nothing_was_changed
  done <<'CASES'
UPDATE_ROLLBACK_FAILED|aws cloudformation continue-update-rollback --stack-name GitLab-staging --profile profile-a
UPDATE_FAILED|aws cloudformation rollback-stack --stack-name GitLab-staging --profile profile-a
UPDATE_IN_PROGRESS|something is at work on it
CREATE_IN_PROGRESS|something is at work on it
DELETE_IN_PROGRESS|something is at work on it
CASES
  for state in UPDATE_ROLLBACK_COMPLETE UPDATE_COMPLETE IMPORT_COMPLETE; do
    stack_is profile-a "$state"
    ops_deploy --yes
    [[ $status == 0 ]]
  done
}

@test "S15: a stack that is only a change set is created over it" {
  stack_is profile-a REVIEW_IN_PROGRESS
  ops_deploy --yes
  [[ $status == 0 ]]
  [[ $(grep GitLab "$FAKES/protected") == $'GitLab-staging false\nGitLab-staging true' ]]
  not_called delete-stack
}

@test "S15: without the right to look at a stack nothing is deployed" {
  refuse profile-a describe-stacks-state 'An error occurred (AccessDenied) when calling the DescribeStacks operation: no'
  ops_deploy --yes
  [[ $status == 1 ]]
  [[ $stderr == *"looking at GitLab-staging: An error occurred (AccessDenied)"* ]]
  nothing_was_changed
}
