#!/usr/bin/env bats
# The job template, run for the sample repository by a CI interpreter, with the
# real AWS CLI against a moto server.
# shellcheck disable=SC2030,SC2031,SC2154 # each test is a subshell; the fixture sets variables

load helper
load fixtures/upload-job

# begin_pipeline [ARG]… begins the sample's pipeline, until its upload is done.
begin_pipeline() {
  sample_repository
  cd "$BATS_TEST_TMPDIR/repository" || return
  export HOME=$BATS_TEST_TMPDIR
  begin bash -c 'exec "$@" </dev/null >&2' - gitlab-ci-local --force-shell-executor --no-color \
    --variable ARTIFACT_BUCKET=artifacts-test --variable DEPLOY_POLL_SECONDS=0.05 "$@"
  uploaded
}

# result takes the job's artifact for field.
result() { output=$(<"$BATS_TEST_TMPDIR/repository/artifact.json"); }

@test "S13: the sample's pipeline, run by a CI interpreter, uploads what it built and waits for its end" {
  begin_pipeline
  key=artifacts/sample-web/artifact.gz put_status Succeeded deploymentId=d-7
  end
  assert_exit 0
  result
  [ "$(field key) $(field state) $(field deploymentId)" = 'artifacts/sample-web/artifact.gz Succeeded d-7' ]
  aws s3api get-object --bucket artifacts-test --key "$(field key)" --version-id "$(field versionId)" "$BATS_TEST_TMPDIR/got.gz" >/dev/null
  run tar -xzf "$BATS_TEST_TMPDIR/got.gz" -O ./index.html
  [[ $output == *"$(git -C "$BATS_TEST_TMPDIR/repository" rev-parse HEAD | cut -c1-8)"* ]]
}

# As a person does who runs a pipeline with another DEPLOYMENT_GROUP_NAME.
@test "S15: a rejected artifact turns the job red, and the reason and the result are there" {
  begin_pipeline --variable DEPLOYMENT_GROUP_NAME=not-on-the-list
  key=artifacts/sample-web/artifact.gz put_status Rejected reason='not-on-the-list is not on the list'
  end
  assert_exit 1
  [[ $stderr == *"FAIL  deploy"* && $stderr == *"Rejected after"*": not-on-the-list is not on the list"* ]]
  result
  [ "$(field deploymentGroup) $(field state)" = 'not-on-the-list Rejected' ]
}

@test "S15: a job that waited in vain is red, with the exit code that allow_failure can name" {
  begin_pipeline --variable DEPLOY_TIMEOUT=1
  end
  assert_exit 1
  [[ $stderr == *"timed out after"* && $stderr =~ FAIL\ +deploy ]]
  result
  [ "$(field state)" = None ]
}

@test "S13: the job turns red when S3 refuses" {
  sample_repository
  refusing_s3 AccessDenied
  AWS_ENDPOINT_URL=http://localhost:$port ci_local --variable ARTIFACT_BUCKET=artifacts-test
  assert_exit 1
  [[ $output$stderr == *"FAIL  deploy"* ]]
  [ ! -e "$BATS_TEST_TMPDIR/repository/artifact.json" ]
}

@test "S13: only the default branch deploys" {
  sample_repository
  git -C "$BATS_TEST_TMPDIR/repository" switch -q -c feature
  ci_local --list
  assert_exit 0
  [[ $output == *build* ]]
  [[ $output != *deploy* ]]
}
