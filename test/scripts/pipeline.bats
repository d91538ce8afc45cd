#!/usr/bin/env bats
# What the jobs of .gitlab-ci.yml run. test/e2e runs the jobs themselves.
# shellcheck disable=SC2016 # the stubs expand it

load helper

setup() {
  use_stubs
  export TMPDIR=$BATS_TEST_TMPDIR/tmp FOLDER=$BATS_TEST_TMPDIR/gitlab
  mkdir -p "$TMPDIR" "$FOLDER"
  SERVER=
}

teardown() {
  [[ -z $SERVER ]] || kill "$SERVER"
}

# start_gitlab plays the API, and sets what GitLab sets in a job.
start_gitlab() {
  require_tool node curl
  echo "${1:-[]}" >"$FOLDER/notes.json"
  node "$ROOT/test/scripts/fixtures/gitlab-notes.js" "$FOLDER" 3>&- &
  SERVER=$!
  local i
  for ((i = 0; i < 200; i++)); do
    [[ ! -e $FOLDER/port ]] || break
    sleep 0.05
  done
  CI_API_V4_URL=http://127.0.0.1:$(cat "$FOLDER/port")/api/v4
  export CI_API_V4_URL CI_PROJECT_ID=42 CI_MERGE_REQUEST_IID=7 ENVIRONMENT=staging REVIEW_NOTE_TOKEN=secret-token
  stub curl "exec $(command -v curl) \"\$@\""
}

post_note() {
  printf '%s\n' "$1" >"$BATS_TEST_TMPDIR/diff.md"
  run --separate-stderr "$ROOT/scripts/pipeline/post-note.sh" "$BATS_TEST_TMPDIR/diff.md"
}

bodies() { node -p 'JSON.parse(require("fs").readFileSync(process.argv[1])).map(n => `${n.id} ${n.author.id} ${n.body.replace(/\n/g, "|")}`).join("\n")' "$FOLDER/notes.json"; }

MARK='<!-- gitlab-codedeploy: changes in staging -->'

@test "S15: the first push gets a note, the next one changes it" {
  start_gitlab
  post_note 'A "first" note'
  [[ $status == 0 ]]
  post_note 'a second one'
  [[ $status == 0 ]]
  [[ $(bodies) == "1 5 $MARK|a second one|" ]]
}

@test "S15: another's note with the same mark, and another environment's, are left alone" {
  start_gitlab '[{"id": 1, "author": {"id": 9}, "body": "<!-- gitlab-codedeploy: changes in staging -->\nquoted"},
    {"id": 2, "author": {"id": 5}, "body": "<!-- gitlab-codedeploy: changes in production -->\nx"}]'
  post_note new
  [[ $status == 0 ]]
  [[ $(bodies) == "1 9 $MARK|quoted"$'\n'"2 5 <!-- gitlab-codedeploy: changes in production -->|x"$'\n'"3 5 $MARK|new|" ]]
}

@test "S15: a note behind a hundred others is found" {
  start_gitlab "$(node -p 'JSON.stringify([...Array(150).keys()].map(i => ({ id: i + 1, author: { id: 5 }, body: i === 120 ? process.argv[1] : "talk" })))' "$MARK old")"
  post_note new
  [[ $status == 0 ]]
  [[ $(bodies | sed -n 121p) == "121 5 $MARK|new|" && $(bodies | wc -l) -eq 150 ]]
}

@test "S15: the token is in no argument and in no message" {
  start_gitlab
  post_note new
  [[ $status == 0 ]]
  grep -q '^curl .*--header @-' "$CALLS"
  if grep -q secret-token "$CALLS"; then return 1; fi
  REVIEW_NOTE_TOKEN=wrong-token
  post_note new
  [[ $status == 1 ]]
  [[ $stderr == *"GitLab answers 401"*"REVIEW_NOTE_TOKEN needs scope api"* ]]
  [[ $stderr != *wrong-token* ]]
  if grep -q wrong-token "$CALLS"; then return 1; fi
}

@test "S15: a note that nobody would read to its end is cut, and says so first" {
  start_gitlab
  post_note "$(printf 'x%.0s' {1..200001})"
  [[ $status == 0 ]]
  local body
  body=$(bodies)
  [[ $body == "1 5 $MARK|**Cut after 200000 characters:** diff.md among the artifacts of the job is whole.||xxx"*x ]]
  ((${#body} < 200300))
}

@test "S15: what is missing for a note is named at once" {
  printf 'x\n' >"$BATS_TEST_TMPDIR/diff.md"
  run --separate-stderr env -u CI_API_V4_URL -u REVIEW_NOTE_TOKEN ENVIRONMENT=staging CI_PROJECT_ID=42 CI_MERGE_REQUEST_IID=7 \
    "$ROOT/scripts/pipeline/post-note.sh" "$BATS_TEST_TMPDIR/diff.md"
  [[ $status == 2 && $stderr == *"not set: REVIEW_NOTE_TOKEN CI_API_V4_URL"* ]]
  run --separate-stderr "$ROOT/scripts/pipeline/post-note.sh" "$BATS_TEST_TMPDIR/nowhere.md"
  [[ $status == 2 && $stderr == *"nowhere.md is empty or missing"* ]]
}

# review_notes runs the scheduled job's script in a checkout whose tool of review
# only shows what it was given.
review_notes() {
  REPO="$BATS_TEST_TMPDIR/my project"
  mkdir -p "$REPO/scripts"
  cp -R "$ROOT/scripts/pipeline" "$REPO/scripts/"
  printf '%s\n' '#!/usr/bin/env bash' '[[ ! -e $FOLDER/ops-fails ]] || { echo "no such luck" >&2; exit 1; }' \
    'echo "${REVIEW_NOTE_TOKEN-no token} $*" | tee -a "$FOLDER/ops"; while (($#)); do [[ $1 != --assembly ]] || cat "$2"/*; shift; done' >"$REPO/scripts/ops"
  chmod +x "$REPO/scripts/ops"
  export CI_DEFAULT_BRANCH=main ASSEMBLY=cdk.out
  cd "$REPO" || return 1
  run --separate-stderr scripts/pipeline/review-notes.sh
}

# merge_request JSON is how merge request 7 is; synth's files are MADE/NAME.
merge_request() {
  echo "$1" >"$FOLDER/merge-request.json"
  mkdir -p "$FOLDER/made"
  for name in manifest.json GitLab-staging.template.json Deploy-staging.template.json; do echo "{\"of\": \"$name\"}" >"$FOLDER/made/$name"; done
}

@test "S15: notes are made of the templates alone, by the default branch's tool, which has no token" {
  start_gitlab
  merge_request '{"head_pipeline": {"id": 70, "project_id": 42}}'
  unset CI_MERGE_REQUEST_IID
  review_notes
  [[ $status == 0 ]]
  [[ $(cat "$FOLDER/ops") == "no token diff --env staging --profile-a gitlab-account --profile-b deploy-account --assembly "*/assembly ]]
  [[ $(bodies) == "1 5 $MARK|no token diff "*'{"of": "Deploy-staging.template.json"}'*"The templates are those that job 701 of this branch has made.|" ]]
  [[ $(grep -o '/artifacts/.*' "$FOLDER/requests") == $'/artifacts/cdk.out/manifest.json\n/artifacts/cdk.out/GitLab-staging.template.json\n/artifacts/cdk.out/Deploy-staging.template.json' ]]
  [[ -s review-notes/7.md ]]
  if grep -q secret-token "$CALLS"; then return 1; fi
}

@test "S15: a merge request without templates of this project gets no note, and stops no other" {
  start_gitlab
  local request
  for request in '{"head_pipeline": null}' '{"head_pipeline": {"id": 70, "project_id": 43}}' '{"head_pipeline": {"id": 71, "project_id": 42}}'; do
    merge_request "$request"
    review_notes
    [[ $status == 0 && $(bodies) == '' ]]
    [[ $stderr == *"merge request 7 has no "* ]]
  done
  [[ ! -e $FOLDER/ops ]]
}

@test "S15: what cannot be compared is named, and written into no note" {
  start_gitlab
  merge_request '{"head_pipeline": {"id": 70, "project_id": 42}}'
  touch "$FOLDER/ops-fails"
  review_notes
  [[ $status == 1 && $(bodies) == '' ]]
  [[ $stderr == *"no such luck"*"error: merge request 7: "*"cannot be compared"* ]]
  rm "$FOLDER/ops-fails" "$FOLDER/made/manifest.json"
  review_notes
  [[ $status == 1 && $stderr == *"artifacts/cdk.out/manifest.json: GitLab answers 404"* ]]
  REVIEW_NOTE_TOKEN=wrong-token
  review_notes
  [[ $status == 1 && $stderr == *"reading the open merge requests: "*"GitLab answers 401"* && $stderr != *wrong-token* ]]
  unset REVIEW_NOTE_TOKEN
  review_notes
  [[ $status == 2 && $stderr == *"not set: REVIEW_NOTE_TOKEN"* ]]
}

# configured REGION on|off lets the configuration be read as that.
configured() {
  stub go "[[ \$* == *'{{.Region}} {{.GitLab.Account}} {{.Deploy.Account}} '* ]] && echo '$1 111111111111 222222222222 $2'"
  export ENVIRONMENT=staging AWS_ID_TOKEN=header.payload.signature CI_JOB_ID=77
}

@test "S15: a job's profiles take a role in each account by the job's own token" {
  configured ap-northeast-1 on
  run --separate-stderr "$ROOT/scripts/pipeline/aws-profiles.sh" deploy
  [[ $status == 0 ]]
  eval "$output"
  diff - "$AWS_CONFIG_FILE" <<CONFIG
[profile gitlab-account]
region = ap-northeast-1
role_arn = arn:aws:iam::111111111111:role/gitlab-codedeploy-staging-deploy
role_session_name = job-77
web_identity_token_file = ${AWS_CONFIG_FILE%/config}/token

[profile deploy-account]
region = ap-northeast-1
role_arn = arn:aws:iam::222222222222:role/gitlab-codedeploy-staging-deploy
role_session_name = job-77
web_identity_token_file = ${AWS_CONFIG_FILE%/config}/token

CONFIG
  [[ $(cat "${AWS_CONFIG_FILE%/config}/token") == header.payload.signature ]]
  [[ $(stat -c %a "${AWS_CONFIG_FILE%/config}" "${AWS_CONFIG_FILE%/config}/token") == $'700\n600' ]]
  [[ $AWS_SHARED_CREDENTIALS_FILE == /dev/null ]]
  [[ $output$stderr != *signature* ]]
}

@test "S15: roles of other partitions have their own ARNs" {
  configured cn-north-1 on
  run --separate-stderr "$ROOT/scripts/pipeline/aws-profiles.sh" review
  [[ $status == 0 ]]
  eval "$output"
  grep -qx 'role_arn = arn:aws-cn:iam::111111111111:role/gitlab-codedeploy-staging-review' "$AWS_CONFIG_FILE"
}

@test "S15: an environment without pipeline access, and a job without a token, say so" {
  configured ap-northeast-1 off
  run --separate-stderr "$ROOT/scripts/pipeline/aws-profiles.sh" review
  [[ $status == 2 && -z $output ]]
  [[ $stderr == *"config/staging.yaml has no key pipeline"* ]]
  unset AWS_ID_TOKEN
  run --separate-stderr "$ROOT/scripts/pipeline/aws-profiles.sh" review
  [[ $status == 2 && $stderr == *"AWS_ID_TOKEN is not set"* ]]
}

@test "S15: prepare installs only what is missing" {
  stub npm
  stub python3
  stub curl
  stub apt-get
  run "$ROOT/scripts/pipeline/prepare.sh"
  [[ $status == 0 ]]
  if grep -q '^apt-get' "$CALLS"; then return 1; fi
  stub python3 'exit 1'
  run "$ROOT/scripts/pipeline/prepare.sh"
  [[ $status == 0 ]]
  grep -q '^apt-get .*install -y --no-install-recommends python3-venv$' "$CALLS"
}
