#!/usr/bin/env bats
# scripts/ops deployments: once with the real AWS CLI against a moto server,
# which has content that nobody should trust, then with answers that are played.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154 # a reader's shell expands it; each test is a subshell, and that is meant

load helper
load fixtures/ops-account

setup_file() { start_account deployments; }
teardown_file() { stop_account; }

# played makes the played account. Its times have fractions: a second ago, they
# are never later than they are said to be.
played() {
  fake_account
  NOW=$(($(date +%s) - 1))
}

iso() { date -u -d "@$1" +%FT%T 2>/dev/null || date -u -r "$1" +%FT%T; }

# upload ID AGO STATE [JSON] is an upload's state, AGO seconds old, with more fields.
upload() {
  local at
  at=$(iso $((NOW - $2)))
  printf '{"uploadId":"%s","state":"%s","application":"web","deploymentGroup":"blue","versionId":"v-%s","updatedAt":"%s.5Z"%s}\n' \
    "$1" "$3" "$1" "$at" "${4:+, $4}" >"$FAKES/objects/$1.json"
  printf '["deployments/%s.json", "%s+00:00", %s]\n' "$1" "$at" "${SIZE:-300}" >>"$FAKES/listing"
}

# deployment ID AGO STATUS [JSON] is one of CodeDeploy's, with times as AWS CLI 1
# writes them, or with CLI=2 as the other one.
deployment() {
  local at=$((NOW - $2)).25
  [[ ${CLI-} != 2 ]] || at="\"$(iso $((NOW - $2))).250000+00:00\""
  printf '{"deploymentId":"%s","status":"%s","applicationName":"web","deploymentGroupName":"blue","creator":"user","createTime":%s,"errorInformation":{},"revision":{"s3Location":{"bucket":"example-deploy-staging","key":"artifacts/web/artifact.gz","version":"v-%s"}}%s}\n' \
    "$1" "$3" "$at" "$1" "${4:+, $4}" >"$FAKES/deployments/$1"
  printf '"%s"\n' "$1" >>"$FAKES/ids"
}

ops_deployments() { run --separate-stderr "$REPO/scripts/ops" deployments --env staging --profile b "$@"; }

# rows prints the table's rows without its head, with single blanks.
rows() { sed 1d <<<"$output" | tr -s ' '; }

# fields EXPRESSION evaluates it for each row of the JSON output.
fields() { node -p 'JSON.parse(require("fs").readFileSync(0)).map(r => '"$1"').join("\n")' <<<"$output"; }

# widest prints how many columns the widest line of stdin takes.
widest() {
  node -p 'Math.max(...require("fs").readFileSync(0, "utf8").split("\n")
    .map(line => [...line].reduce((sum, c) => sum + (/\p{M}/u.test(c) ? 0 : c === "\ufffd" || c.codePointAt(0) < 0x2e80 ? 1 : 2), 0)))'
}

# --- the real AWS CLI -------------------------------------------------------

@test "S15: the real AWS CLI's answers become one table, and nothing in them reaches the terminal as a command" {
  on_terminal 200 '' "$ROOT/scripts/ops" deployments --env local --profile account-b --last 20
  [[ $status == 0 ]]
  output=$(tr -d '\r' <<<"$output")
  printable "$output"
  # A line for each row: head, 3 deployments, rejected, forged, 7 unreadable.
  [[ $(grep -c '' <<<"$output") == 13 ]]
  [[ $(widest <<<"$output") -le 200 ]]
  grep -qE '^sample-web  +blue-green  +Succeeded  +[0-9]+ [sm]  +done  +[0-9a-f-]{36}  +v-done  +-$' <<<"$output"
  grep -qE '^sample-web  +blue-green  +Created  +[0-9]+ [sm]  +unwritten  +[0-9a-f-]{36}  +v-unwritten  ' <<<"$output"
  grep -qE '^sample-web  +blue-green  +Created  +[0-9]+ [sm]  +-  +[0-9a-f-]{36}  +v-by-hand  ' <<<"$output"
  grep -qE '^other-web  .*  Rejected  .*  rejected  +-  +v-rejected  +no deployment group .*long.*…$' <<<"$output"
  grep -qE '^\?\?31mred\?line  +a\?b  +Waiting ' <<<"$output"
  local name
  for name in not-json array unknown-state number option huge '[.][.]'; do
    grep -qE "^-  +-  +unreadable  .*  $name  " <<<"$output"
  done
  [[ $output != *somebody-elses* && $output != *such/name* ]]
}

@test "S15: --json is one array of the same rows, exact and yet printable" {
  run --separate-stderr "$ROOT/scripts/ops" deployments --env local --profile account-b --json
  [[ $status == 0 ]]
  printable "$output"
  # --last 5 counts for the unreadable ones, too.
  [[ $(fields 'r.state' | sort | uniq -c | xargs) == '2 Created 1 Rejected 1 Succeeded 1 Waiting 5 unreadable' ]]
  [[ $(fields 'r.application === "\x1b[31mred\nline"' | grep -c true) == 1 ]]
  [[ $(fields 'r.reason?.length' | sort -n | tail -n 1) -gt 3000 ]]
  [[ $(fields 'Object.keys(r)' | sort -u) == application,deploymentGroup,state,uploadId,deploymentId,key,versionId,reason,project,ref,user,pipelineUrl,since,ageSeconds ]]
}

@test "S15: --application asks for its groups, and leaves other applications and unreadable states out" {
  run --separate-stderr "$ROOT/scripts/ops" deployments --env local --profile account-b --application other-web
  [[ $status == 0 ]]
  [[ $(rows | cut -d ' ' -f 1-3) == 'other-web blue-green Rejected' ]]
  [[ $stderr == *"7 unreadable upload states: "*not-json* ]]
}

@test "S15: a profile of another account is refused, and both accounts are named" {
  run --separate-stderr "$ROOT/scripts/ops" deployments --env local --profile stranger
  [[ $status == 2 && -z $output ]]
  [[ $stderr == *"profile stranger is of account 333333333333, but Deploy-local belongs to account 222222222222 (deploy.account in config/local.yaml)"* ]]
}

@test "S15: an environment that does not exist is answered with the ones that do" {
  run --separate-stderr "$ROOT/scripts/ops" deployments --env nope --profile account-b
  [[ $status == 2 && -z $output ]]
  [[ $stderr == *'got "nope", want one of local, staging'* ]]
  [[ $stderr != *"exit status"* ]]
}

# --- which rows -------------------------------------------------------------

@test "S15: the newest come first, five of each application unless --last says otherwise" {
  played
  local i
  for i in 1 2 3 4 5 6 7; do deployment "d-$i" $((i * 100)) Succeeded; done
  deployment d-8 50 Succeeded '"applicationName":"api"'
  deployment d-9 5000 Succeeded '"applicationName":"api"'
  ops_deployments
  [[ $status == 0 ]]
  [[ $(rows | cut -d ' ' -f 1,7 | xargs) == 'api d-8 api d-9 web d-1 web d-2 web d-3 web d-4 web d-5' ]]
  ops_deployments --last 1
  [[ $(rows | cut -d ' ' -f 1,7 | xargs) == 'api d-8 web d-1' ]]
  no_temporary_files
}

@test "S14: uploads without a deployment are listed with their reason" {
  played
  upload u-1 600 Waiting '"reason":"DeploymentLimitExceeded: web, blue is busy"'
  upload u-2 1200 Superseded '"reason":"a newer upload was there first"'
  upload u-3 1800 Rejected '"reason":"bundle-type \"rar\" is unknown"'
  ops_deployments
  [[ $status == 0 ]]
  diff - <(rows) <<'EXPECTED'
web blue Waiting 10 m u-1 - v-u-1 DeploymentLimitExceeded: web, blue is busy
web blue Superseded 20 m u-2 - v-u-2 a newer upload was there first
web blue Rejected 30 m u-3 - v-u-3 bundle-type "rar" is unknown
EXPECTED
}

@test "S15: whose upload it was stands in a column of its own, as soon as one was proven" {
  played
  upload proven 60 Succeeded '"project":"team/web","ref":"main","user":"jdoe","pipelineUrl":"https://gitlab.example.com/team/web/-/pipelines/12"'
  upload refused 120 Rejected '"reason":"another project"'
  upload forged 180 Rejected '"project":7'
  ops_deployments
  [[ $status == 0 ]]
  [[ $(head -n 1 <<<"$output") =~ VERSION\ +FROM\ +REASON$ ]]
  grep -qE ' proven  +-  +v-proven  +team/web@main by jdoe  +-$' <<<"$output"
  grep -qE ' refused  +-  +v-refused  +-  +another project$' <<<"$output"
  grep -qE ' unreadable .* forged .*project is no text$' <<<"$output"
  ops_deployments --json
  [[ $(node -e 'for (const r of JSON.parse(process.argv[1])) if (r.project) console.log(r.project, r.ref, r.user, r.pipelineUrl)' "$output") == 'team/web main jdoe https://gitlab.example.com/team/web/-/pipelines/12' ]]
}

@test "S15: a deployment that both sources know is one row, in the state that is further on" {
  played
  upload behind 5 Created '"deploymentId":"d-1"'
  deployment d-1 300 Failed '"errorInformation":{"code":"HEALTH_CONSTRAINTS","message":"too few\ninstances"}'
  upload ahead 5 Succeeded '"deploymentId":"d-2"'
  deployment d-2 400 InProgress
  upload gone 500 Stopped '"deploymentId":"d-3","reason":"stopped by hand"'
  ops_deployments
  [[ $status == 0 ]]
  diff - <(rows) <<'EXPECTED'
web blue Failed 5 m behind d-1 v-behind HEALTH_CONSTRAINTS: too few instances
web blue Succeeded 6 m ahead d-2 v-ahead -
web blue Stopped 8 m gone d-3 v-gone stopped by hand
EXPECTED
}

@test "S14: a deployment whose function ended before it wrote so is not listed as waiting, too" {
  played
  upload u-1 5 Waiting '"versionId":"v-d-1"'
  deployment d-1 60 Created '"description":"upload-id=u-1 uploaded=2026-11-23T01:02:03Z commit=abc"'
  ops_deployments
  [[ $(rows) == 'web blue Created 1 m u-1 d-1 v-d-1 -' ]]
}

@test "S15: what CodeDeploy does by itself is told as such, and is no upload's" {
  played
  deployment d-1 60 Succeeded '"creator":"codeDeployRollback","description":"upload-id=u-1"'
  ops_deployments
  [[ $(rows) == 'web blue Succeeded 1 m - d-1 v-d-1 made by CodeDeploy itself (codeDeployRollback)' ]]
}

@test "S15: somebody's deployment to a group of ours is listed, other groups are not" {
  played
  deployment d-1 60 Succeeded
  deployment d-2 70 Succeeded '"revision":{"gitHubLocation":{"repository":"a/b"}}'
  deployment d-3 80 Succeeded '"applicationName":"theirs","revision":{"gitHubLocation":{"repository":"a/b"}}'
  ops_deployments
  [[ $(rows | cut -d ' ' -f 7 | xargs) == 'd-1 d-2' ]]
}

@test "S15: ages are told in seconds, minutes, hours and days, from both versions of the AWS CLI" {
  played
  deployment d-1 7 Ready
  deployment d-2 185 Succeeded
  CLI=2 deployment d-3 7300 Succeeded
  CLI=2 deployment d-4 345700 Succeeded
  # A laptop's clock may be behind.
  deployment d-0 -60 Created
  ops_deployments
  [[ $status == 0 ]]
  [[ $(rows | cut -d ' ' -f 4,5 | xargs) =~ ^'0 s '([789]|1[0-9])' s 3 m 2 h 4 d'$ ]]
}

@test "S15: a status of CodeDeploy's that is new to us is under way" {
  played
  deployment d-1 7 Baking
  deployment d-2 8 Queued
  ops_deployments
  [[ $(rows | cut -d ' ' -f 3 | xargs) == 'InProgress Created' ]]
}

@test "S15: both names ask for one group's deployments only" {
  played
  deployment d-1 7 Succeeded
  upload u-1 10 Rejected
  upload u-2 10 Rejected '"deploymentGroup":"green"'
  ops_deployments --application web --deployment-group blue
  [[ $status == 0 ]]
  [[ $(rows | cut -d ' ' -f 2,3 | xargs) == 'blue Succeeded blue Rejected' ]]
  grep -q '^aws deploy list-deployments --application-name=web --deployment-group-name=blue ' "$CALLS"
  not_called 'list-deployment-groups'
}

@test "S14: uploads of an application that CodeDeploy does not have are listed" {
  played
  upload u-1 600 Rejected '"reason":"CodeDeploy has no application web"'
  refuse list-deployment-groups 'An error occurred (ApplicationDoesNotExistException) when calling the ListDeploymentGroups operation'
  ops_deployments --application web
  [[ $status == 0 ]]
  [[ $(rows) == 'web blue Rejected 10 m u-1 - v-u-1 CodeDeploy has no application web' ]]
  [[ $stderr == *"CodeDeploy has no application web in account 222222222222, ap-northeast-1"* ]]
}

@test "S15: --application asks for each of its groups, and a vanished one is no failure" {
  played
  answer list-deployment-groups '["blue", "a b", "evil\u001b[2J"]'
  refuse list-deployments.2 'An error occurred (DeploymentGroupDoesNotExistException) when calling the ListDeployments operation'
  deployment d-1 7 Succeeded
  ops_deployments --application web
  [[ $status == 0 ]]
  grep -q '^aws deploy list-deployments --application-name=web --deployment-group-name=a b ' "$CALLS"
  [[ $(grep -c 'list-deployments' "$CALLS") == 2 ]]
  [[ $(rows | cut -d ' ' -f 7) == d-1 ]]
  [[ $stderr == *"no deployment group a b of application web"* ]]
}

# --- how much ---------------------------------------------------------------

@test "S15: only the newest hundred upload states are read, and that is said" {
  played
  local i
  # By name the newest is in the middle.
  for ((i = 1; i <= 150; i++)); do
    printf '["deployments/u-%03d.json", "%s.000Z", 300]\n' "$i" "$(printf '2026-11-%02dT%02d:00:00' $((1 + (i * 77 % 150) / 24)) $(((i * 77 % 150) % 24)))"
  done >"$FAKES/listing"
  ops_deployments --last 100
  [[ $status == 0 ]]
  [[ $(grep -o -- '--include u-[0-9]*.json' "$CALLS" | sort -u | wc -l) -eq 100 ]]
  not_called '--include u-002\.json' # 77·150 ≡ 0 is the oldest, u-002 the fifth oldest
  grep -q -- '--include u-037\.json' "$CALLS" || grep -q -- '--include u-113\.json' "$CALLS"
  [[ $stderr == *"looked at the newest 100 of 150 upload states"* ]]
}

@test "S15: deployments are read 25 at a time, and a longer list is told" {
  played
  local i
  for ((i = 1; i <= 60; i++)); do deployment "d-$i" $((i * 60)) Succeeded; done
  answer list-deployments "{\"ids\": [$(paste -s -d , "$FAKES/ids")], \"more\": \"token\"}"
  ops_deployments --last 100
  [[ $status == 0 ]]
  [[ $(grep 'batch-get-deployments' "$CALLS" | awk '{ n = gsub(/d-[0-9]+/, ""); print n }' | xargs) == '25 25 10' ]]
  [[ $(rows | wc -l) -eq 60 ]]
  [[ $stderr == *"looked at the newest 100 deployments; --application and --deployment-group look at one group's"* ]]
}

@test "S15: a deployment that only an upload's state names cannot hide the others" {
  played
  deployment d-1 60 Succeeded
  upload u-1 50 Failed '"deploymentId":"d-FORGOTTEN","reason":"an old one"'
  refuse batch-get-deployments.2 'An error occurred (DeploymentDoesNotExistException) when calling the BatchGetDeployments operation'
  ops_deployments
  [[ $status == 0 ]]
  [[ $(rows | cut -d ' ' -f 3,7 | xargs) == 'Failed d-FORGOTTEN Succeeded d-1' ]]
  [[ $stderr == *"CodeDeploy does not know some deployments"* ]]
}

@test "S15: without deployments and uploads it says so, and JSON is an empty array" {
  played
  answer list-objects-v2 '{"objects": null, "more": null}'
  answer list-deployments '{"ids": null, "more": null}'
  ops_deployments
  [[ $status == 0 && -z $output && $stderr == *"no deployments and no uploads yet"* ]]
  ops_deployments --json
  [[ $status == 0 && $output == '[]' ]]
  ops_deployments --application web --deployment-group blue
  [[ $stderr == *"no deployments and no uploads yet of web, blue"* ]]
}

# --- on the terminal --------------------------------------------------------

@test "S15: a reason is cut to the terminal's width, in columns, and names never are" {
  played
  upload u-1 10 Rejected '"reason":"デプロイメントグループは存在しませんデプロイメントグループは存在しません"'
  on_terminal 90 '' "$REPO/scripts/ops" deployments --env staging --profile b
  [[ $status == 0 ]]
  local row=${output##*$'\n'}
  row=${row%$'\r'}
  [[ $row == *"v-u-1"*"…" ]]
  # Each of these letters takes two columns, so that one may be left.
  [[ $(widest <<<"$row") == 90 || $(widest <<<"$row") == 89 ]]
  # Too narrow: the reason keeps 20 columns.
  on_terminal 30 '' "$REPO/scripts/ops" deployments --env staging --profile b
  row=${output##*$'\n'}
  [[ $row == *"v-u-1    デプロイメントグル…"* ]]
}

@test "S15: elsewhere a reason is not cut to any terminal" {
  played
  upload u-1 10 Rejected "\"reason\":\"$(printf 'word %.0s' {1..100})end\""
  COLUMNS=80 ops_deployments
  [[ $output == *"word end" ]]
}

@test "S15: a reader who stops early is no mistake" {
  played
  deployment d-1 60 Succeeded "\"errorInformation\":{\"message\":\"$(printf 'word %.0s' {1..200})\"}"
  run bash -c '"$REPO/scripts/ops" deployments --env staging --profile b 2>"$TMPDIR.err" | true; exit "${PIPESTATUS[0]}"'
  [[ $status == 0 && ! -s $TMPDIR.err ]]
}

# --- what can go wrong ------------------------------------------------------

@test "S15: expired credentials name profile, account, AWS's words and the remedy" {
  played
  refuse get-caller-identity 'An error occurred (ExpiredToken) when calling the GetCallerIdentity operation: The security token included in the request is expired'
  ops_deployments
  [[ $status == 2 && -z $output ]]
  [[ $stderr == *"profile b gives no credentials for account 222222222222 (deploy.account in config/staging.yaml)"*ExpiredToken*"aws sso login --profile b"* ]]
  not_called 'describe-stacks|s3'
  no_temporary_files
}

@test "S15: a stack that is not deployed is told with the command that makes it" {
  played
  refuse describe-stacks 'An error occurred (ValidationError) when calling the DescribeStacks operation: Stack with id Deploy-staging does not exist'
  ops_deployments
  [[ $status == 2 ]]
  [[ $stderr == *"no stack Deploy-staging in account 222222222222, ap-northeast-1: scripts/ops deploy --env staging makes it"* ]]
}

@test "S15: an output that is no bucket's name reaches no command" {
  played
  answer describe-stacks '[{"OutputKey": "ArtifactBucketName", "OutputValue": "--profile"}]'
  ops_deployments
  [[ $status == 1 && $stderr == *"output ArtifactBucketName of Deploy-staging is '--profile'"* ]]
  not_called '^aws s3'
}

@test "S15: whatever AWS refuses ends with 1, what was asked and AWS's words" {
  local call words
  while IFS='|' read -r call words; do
    played
    deployment d-1 60 Succeeded
    upload u-1 10 Rejected
    refuse "$call" "An error occurred (AccessDenied) when calling it: no"
    ops_deployments
    [[ $status == 1 && -z $output && $stderr == *"$words"*"AccessDenied"* ]] || {
      echo "$call: $status, $stderr"
      return 1
    }
    rm -r "$FAKES" "$REPO"
  done <<'CASES'
describe-stacks|reading the outputs of Deploy-staging
list-objects-v2|listing deployments/ in example-deploy-staging
cp|reading the upload states in example-deploy-staging
list-deployments|listing the deployments
batch-get-deployments|reading deployments
CASES
}

@test "S15: an interrupted listing stops the AWS CLI and leaves no files" {
  played
  touch "$FAKES/list-deployments.hang"
  "$REPO/scripts/ops" deployments --env staging --profile b >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
  local ops=$! status=0
  wait_until test -s "$FAKES/hanging"
  kill -TERM "$ops"
  wait "$ops" || status=$?
  [[ $status == 143 ]]
  gone() { ! kill -0 "$(cat "$FAKES/hanging")" 2>/dev/null; }
  wait_until gone
  grep -q 'interrupted' "$BATS_TEST_TMPDIR/err"
  no_temporary_files
}

@test "S15: --dry-run prints the commands and calls nothing in AWS" {
  played
  rm "$FAKES/get-caller-identity"
  ops_deployments --dry-run --application web --deployment-group blue
  [[ $status == 0 ]]
  not_called '^aws (sts|s3|cloudformation|deploy)'
  [[ $output == *'aws s3api list-objects-v2 --bucket "$bucket" --prefix deployments/'* ]]
  [[ $output == *'aws deploy list-deployments --application-name=web --deployment-group-name=blue'* ]]
  bash -n <<<"$output"
}

@test "S15: wrong use ends with 2, says what is wrong, and calls nothing" {
  played
  local expected arguments
  while IFS='|' read -r expected arguments; do
    # shellcheck disable=SC2086 # a list of words
    run --separate-stderr "$REPO/scripts/ops" deployments $arguments </dev/null
    [[ $status == 2 && -z $output && $stderr == *"$expected"* ]] || {
      echo "$arguments: status $status, $stderr"
      return 1
    }
  done <<'CASES'
missing: --env --profile|
missing: --profile|--env staging
--profile needs a value|--env staging --profile
unknown argument '--all'|--env staging --all
--last: want a number from 1 to 100, got '0'|--env staging --profile b --last 0
--last: want a number from 1 to 100, got '101'|--env staging --profile b --last 101
--last: want a number from 1 to 100, got 'all'|--env staging --profile b --last all
--application: want up to 100 letters, digits|--env staging --profile b --application file:///etc/passwd
--deployment-group: want up to 100 letters, digits|--env staging --profile b --deployment-group a;b
CASES
  [[ ! -s $CALLS ]]
}

@test "S15: ops lists the command, and it has a help" {
  run --separate-stderr "$ROOT/scripts/ops" --help
  [[ $output == *"  deployments  "*" Lists the last deployments"* ]]
  run --separate-stderr "$ROOT/scripts/ops" deployments --help
  [[ $status == 0 && $output == "Usage: scripts/ops deployments --env NAME"* ]]
}
