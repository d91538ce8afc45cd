#!/usr/bin/env bats
# scripts/ops diff with a CDK and an AWS CLI that only play their parts. What the
# notes say is tested in test/note_test.go; the emulator's tests run the same
# command with the real ones.
# shellcheck disable=SC2016 # the stubs expand it

load helper

# A copy of scripts/ so that the stubs are the CDK; the library that compares is
# the real one.
setup() {
  [[ -d $ROOT/node_modules/@aws-cdk/cloudformation-diff ]] || {
    [[ ${CI:-} != true ]] || {
      echo "node_modules is missing: run make setup" >&2
      return 1
    }
    skip "node_modules is missing: run make setup"
  }
  use_stubs
  REPO="$BATS_TEST_TMPDIR/my project"
  FAKES=$BATS_TEST_TMPDIR/fakes
  export REPO FAKES TMPDIR=$BATS_TEST_TMPDIR/tmp
  mkdir -p "$REPO" "$FAKES/profile-a" "$FAKES/profile-b" "$TMPDIR"
  cp -R "$ROOT/scripts" "$REPO/"
  export NODE_PATH=$ROOT/node_modules
  stub go
  echo 111111111111 >"$FAKES/profile-a/get-caller-identity"
  echo 222222222222 >"$FAKES/profile-b/get-caller-identity"
  echo '{"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}' | tee "$FAKES/new.json" "$FAKES/profile-a/get-template" >"$FAKES/profile-b/get-template"
  stub aws '
    call=$2 profile=
    while (($#)); do
      [[ $1 != --profile ]] || profile=$2
      shift
    done
    if [[ -e $FAKES/$profile/$call.error ]]; then
      cat "$FAKES/$profile/$call.error" >&2
      exit 254
    fi
    cat "$FAKES/$profile/$call"'
  stub cdk '
    while (($#)); do
      [[ $1 != --output ]] || output=$2
      shift
    done
    bash "$FAKES/synthesise" "$output"'
  cat >"$FAKES/synthesise" <<'SYNTHESISE'
mkdir -p "$1"
cp "$FAKES/new.json" "$1/GitLab-staging.template.json"
cp "$FAKES/new.json" "$1/Deploy-staging.template.json"
cat >"$1/manifest.json" <<'JSON'
{"artifacts": {
  "GitLab-staging": {"type": "aws:cloudformation:stack", "environment": "aws://111111111111/ap-northeast-1",
    "properties": {"requiresBootstrapStackVersion": 6, "bootstrapStackVersionSsmParameter": "/cdk-bootstrap/hnb659fds/version"}},
  "Deploy-staging": {"type": "aws:cloudformation:stack", "environment": "aws://222222222222/ap-northeast-1",
    "properties": {"requiresBootstrapStackVersion": 6, "bootstrapStackVersionSsmParameter": "/cdk-bootstrap/hnb659fds/version"}}}}
JSON
SYNTHESISE
}

ops_diff() {
  run --separate-stderr "$REPO/scripts/ops" diff --env staging "$@"
}

both() { ops_diff --profile-a profile-a --profile-b profile-b "$@"; }

@test "S15: without a change the note says so, and nothing is left behind" {
  both
  [[ $status == 0 ]]
  [[ $output == $'## What changes in staging\n\nNothing changes.\n'* ]]
  [[ -z $(ls -A "$TMPDIR") ]]
}

@test "S15: both deployed templates are compared with one synthesis, and nothing else is called" {
  echo '{"Resources": {}}' >"$FAKES/profile-b/get-template"
  both
  [[ $status == 0 ]]
  [[ $output == *"0 resources are replaced, 0 removed, 1 created, 0 changed."* ]]
  [[ $(sed 's/ --.*//' "$CALLS") == $'cdk synth\naws sts get-caller-identity\naws sts get-caller-identity\naws cloudformation get-template\naws cloudformation get-template' ]]
}

@test "S15: the templates are not validated only to be compared" {
  echo 'echo "validation: ${CDK_VALIDATION-on}" >"$FAKES/validation"' >>"$FAKES/synthesise"
  both
  [[ $status == 0 ]]
  [[ $(<"$FAKES/validation") == 'validation: false' ]]
}

@test "S15: a stack that does not exist yet is all new" {
  echo 'An error occurred (ValidationError) when calling the GetTemplate operation: Stack with id Deploy-staging does not exist' \
    >"$FAKES/profile-b/get-template.error"
  both
  [[ $status == 0 ]]
  [[ $output == *"Account 222222222222, ap-northeast-1. It is not deployed yet: all of it is created."* ]]
}

@test "S15: a wrong account never looks like a stack that is not deployed" {
  echo 333333333333 >"$FAKES/profile-b/get-caller-identity"
  both
  [[ $status == 2 && -z $output ]]
  [[ $stderr == *"profile profile-b is of account 333333333333, but Deploy-staging belongs to account 222222222222"* ]]
}

@test "S15: a template that may not be read is named, with AWS's words" {
  echo 'An error occurred (AccessDenied) when calling the GetTemplate operation: no' >"$FAKES/profile-a/get-template.error"
  both
  [[ $status == 1 && -z $output ]]
  [[ $stderr == *"reading the template of GitLab-staging as profile-a: An error occurred (AccessDenied)"* ]]
}

@test "S15: --only needs one profile and looks at one account" {
  ops_diff --only b --profile-b profile-b
  [[ $status == 0 ]]
  [[ $output == *"### Deploy-staging"* && $output != *GitLab-staging* ]]
  if grep -q profile-a "$CALLS"; then return 1; fi
  ops_diff --only b --profile-a profile-a
  [[ $status == 2 && $stderr == *"missing: --profile-b"* ]]
  ops_diff --only c --profile-b profile-b
  [[ $status == 2 && $stderr == *"--only: want a or b, got 'c'"* ]]
}

@test "S15: --assembly compares what was synthesised before" {
  cd "$BATS_TEST_TMPDIR"
  bash "$FAKES/synthesise" "made before"
  echo '{"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}, "Queue": {"Type": "AWS::SQS::Queue"}}}' >"made before/GitLab-staging.template.json"
  both --assembly "made before"
  [[ $status == 0 ]]
  [[ $output == *'| `Queue` | AWS::SQS::Queue |'* ]]
  if grep -q '^cdk' "$CALLS"; then return 1; fi
  both --assembly nowhere
  [[ $status == 2 && $stderr == *"--assembly: nowhere/manifest.json does not exist"* ]]
}

@test "S15: diff --dry-run prints the commands and calls nothing in AWS" {
  both --dry-run
  [[ $status == 0 ]]
  [[ $output == *"aws cloudformation get-template --stack-name GitLab-staging --template-stage Original"* ]]
  if grep -q '^aws' "$CALLS"; then return 1; fi
}
