#!/usr/bin/env bats
# scripts/ci/upload-artifact.sh: with the real AWS CLI against a moto server
# where the wire matters, with a playing CLI where S3 must misbehave.
# shellcheck disable=SC2030,SC2031,SC2154 # each test is a subshell; the fixture sets variables

load helper
load fixtures/upload-job

# --- what reaches S3 -------------------------------------------------------

@test "S13: the object is a gzip-compressed tar with appspec.yml at its root and both metadata keys" {
  printf 'odd\n' >"$source/"$'new\nline and space'
  mkdir -p "$source/.git" "$source/empty"
  echo secret >"$source/.git/config"
  upload
  assert_exit 0
  [ "${#lines[@]}" -eq 1 ]
  [ "$(field key)" = "artifacts/$app/artifact.gz" ]
  [ "$(field application) $(field deploymentGroup) $(field bucket)" = "$app blue-green artifacts-test" ]

  run aws s3api get-object --bucket artifacts-test --key "artifacts/$app/artifact.gz" --version-id "$(field versionId)" \
    --query '[Metadata, ETag]' --output json "$BATS_TEST_TMPDIR/got.gz"
  [ "$status" -eq 0 ]
  [[ $output == *'"application-name": "'"$app"'"'* ]]
  [[ $output == *'"deploymentgroup-name": "blue-green"'* ]]
  mkdir "$BATS_TEST_TMPDIR/unpacked"
  tar -xzf "$BATS_TEST_TMPDIR/got.gz" -C "$BATS_TEST_TMPDIR/unpacked"
  [ -f "$BATS_TEST_TMPDIR/unpacked/appspec.yml" ]
  rm -r "$source/.git"
  diff -r "$source" "$BATS_TEST_TMPDIR/unpacked"
}

@test "S13: the result tells size, SHA-256 and ETag of what was stored" {
  upload
  assert_exit 0
  aws s3api get-object --bucket artifacts-test --key "$(field key)" "$BATS_TEST_TMPDIR/got.gz" >/dev/null
  [ "$(field sha256)" = "$(sha256sum <"$BATS_TEST_TMPDIR/got.gz" | cut -c1-64)" ]
  [ "$(field eTag)" = "$(md5sum <"$BATS_TEST_TMPDIR/got.gz" | cut -c1-32)" ]
  [ "$(field size)" = "$(wc -c <"$BATS_TEST_TMPDIR/got.gz")" ]
}

@test "S13: everything may come from variables, and the pipeline goes into the metadata" {
  export ARTIFACT_BUCKET=artifacts-test APPLICATION_NAME=$app DEPLOYMENT_GROUP_NAME=eu,1=a DEPLOY_SOURCE=$source
  export ARTIFACT_KEY=builds/x.tgz ARTIFACT_PREFIX=builds/
  export CI_COMMIT_SHA=8595dc0256c95cb540075d4e5be80ac445fd3789 CI_PIPELINE_ID=4711 CI_JOB_ID=90210
  export CI_PIPELINE_URL='https://gitlab.example.com/a/b/-/pipelines/4711?x=1,2&y=z'
  run --separate-stderr "$script"
  assert_exit 0
  [[ $(field uploadId) =~ ^4711-90210-[0-9a-f]{12}$ ]]
  local metadata
  metadata=$(aws s3api head-object --bucket artifacts-test --key builds/x.tgz --query Metadata --output json)
  python3 - "$metadata" "$app" "$(field uploadId)" <<'EOF'
import json, sys
got = json.loads(sys.argv[1])
want = {
    "application-name": sys.argv[2],
    "deploymentgroup-name": "eu,1=a",
    "upload-id": sys.argv[3],
    "commit-sha": "8595dc0256c95cb540075d4e5be80ac445fd3789",
    "pipeline-url": "https://gitlab.example.com/a/b/-/pipelines/4711?x=1,2&y=z",
}
assert got == want, f"got {got}, want {want}"
EOF
}

@test "S13: above one part it is a multipart upload, whole and with its metadata" {
  head -c 11000000 /dev/urandom >"$source/big"
  # S3 and moto take no smaller part than 5 MiB, the last one aside.
  ARTIFACT_PART_BYTES=5242880 upload
  assert_exit 0
  assert_says "in 3 parts"
  [[ $(field eTag) == *-3 ]]
  aws s3api get-object --bucket artifacts-test --key "$(field key)" --query Metadata "$BATS_TEST_TMPDIR/got.gz" >"$BATS_TEST_TMPDIR/metadata"
  grep -q '"application-name": "'"$app"'"' "$BATS_TEST_TMPDIR/metadata"
  grep -q '"upload-id": "'"$(field uploadId)"'"' "$BATS_TEST_TMPDIR/metadata"
  [ "$(field sha256)" = "$(sha256sum <"$BATS_TEST_TMPDIR/got.gz" | cut -c1-64)" ]
  tar -xzf "$BATS_TEST_TMPDIR/got.gz" -O ./big | cmp - "$source/big"
  [ "$(aws s3api list-multipart-uploads --bucket artifacts-test --query 'Uploads' --output text)" = None ]
  [ -z "$(ls -A "$TMPDIR")" ]
}

@test "S13: 101 MB are sent as two parts without any setting" {
  head -c 101000000 /dev/urandom >"$source/big"
  upload
  assert_exit 0
  [[ $(field eTag) == *-2 ]]
  [ "$(field size)" -gt 101000000 ]
}

@test "S13: a dry run checks and packs, and sends nothing" {
  fake_aws
  upload --dry-run
  assert_exit 0
  [ "$(field dryRun) $(field versionId) $(field eTag)" = "True None None" ]
  [[ $(field sha256) =~ ^[0-9a-f]{64}$ ]]
  assert_says "would send 1 part(s)"
  [ ! -s "$CALLS" ]
  [ -z "$(ls -A "$TMPDIR")" ]
}

@test "S13: a dry run needs no AWS CLI" {
  bare_path tar split sha256sum md5sum base64 readlink mktemp du wc pigz bash date cat tr rm sed
  PATH=$BATS_TEST_TMPDIR/bare upload --dry-run
  assert_exit 0
}

@test "S13: each upload has an id of its own, also when a job runs again" {
  fake_aws
  export CI_PIPELINE_ID=1 CI_JOB_ID=2
  upload
  local first
  first=$(field uploadId)
  upload
  [ "$first" != "$(field uploadId)" ]
  CI_PIPELINE_ID='1;x' upload
  [[ $(field uploadId) =~ ^[A-Za-z0-9-]{1,64}$ ]]
}

@test "S13: the same folder gives the same artifact" {
  fake_aws
  upload --dry-run
  local first
  first=$(field sha256)
  upload --dry-run
  [ "$first" = "$(field sha256)" ]
}

@test "S13: gzip packs where pigz is missing" {
  bare_path tar split sha256sum md5sum base64 readlink mktemp du wc gzip bash date cat tr rm sed
  PATH=$BATS_TEST_TMPDIR/bare upload --dry-run
  assert_exit 0
  assert_says "with tar and gzip"
}

@test "S13: work files inside the source folder are not packed" {
  TMPDIR=$source/tmp
  mkdir "$TMPDIR"
  upload
  assert_exit 0
  aws s3api get-object --bucket artifacts-test --key "$(field key)" "$BATS_TEST_TMPDIR/got.gz" >/dev/null
  run tar -tzf "$BATS_TEST_TMPDIR/got.gz"
  [[ $output == *./appspec.yml* ]]
  [[ $output != *part.* && $output != *log.tar* ]]
}

@test "S13: parts grow when S3's limit of 10,000 would not do" {
  head -c 2000000 /dev/urandom >"$source/big"
  ARTIFACT_PART_BYTES=100 upload --dry-run
  assert_exit 0
  [[ $stderr =~ would\ send\ ([0-9]+)\ part ]]
  [ "${BASH_REMATCH[1]}" -gt 5000 ]
  [ "${BASH_REMATCH[1]}" -le 10000 ]
}

@test "S13: a URL that is no plain text is left out of the metadata" {
  fake_aws
  CI_PIPELINE_URL=$'https://example.com/"x"\n' upload
  assert_exit 0
  assert_says "leaving pipeline-url out"
  run ! grep -q pipeline-url "$CALLS"
}

# --- what S3 answers -------------------------------------------------------

@test "S13: an upload that S3 stored differently fails, by SHA-256 and by ETag" {
  fake_aws
  local reply
  for reply in sha etag; do
    AWS_STUB_CORRUPT=put-object AWS_STUB_REPLY=$reply upload
    assert_exit 1
    assert_says "did not store s3://artifacts-test/artifacts/$app/artifact.gz as it was sent"
    assert_no_traces
  done
}

@test "S13: a part that S3 stored differently fails, and the upload is taken back" {
  fake_aws
  head -c 1000000 /dev/urandom >"$source/big"
  local reply
  for reply in sha etag; do
    : >"$CALLS"
    AWS_STUB_CORRUPT=upload-part AWS_STUB_REPLY=$reply ARTIFACT_PART_BYTES=300000 upload
    assert_exit 1
    assert_says "did not store part 1 as it was sent"
    grep -q 's3api abort-multipart-upload .*--upload-id upload-1' "$CALLS"
    run ! grep -q complete-multipart-upload "$CALLS"
  done
}

@test "S13: an object that S3 put together differently fails" {
  fake_aws
  head -c 1000000 /dev/urandom >"$source/big"
  AWS_STUB_CORRUPT=complete-multipart-upload ARTIFACT_PART_BYTES=300000 upload
  assert_exit 1
  assert_says "did not store s3://"
}

@test "S13: SHA-256 guards each request, and S3's composite is recomputed" {
  fake_aws
  head -c 1000000 /dev/urandom >"$source/big"
  ARTIFACT_PART_BYTES=300000 upload
  assert_exit 0
  grep -q 'create-multipart-upload .*--checksum-algorithm SHA256' "$CALLS"
  [ "$(grep -c 'upload-part .*--checksum-sha256 ' "$CALLS")" -eq 4 ]
  [ "$(grep -c . <<<"$output")" -eq 1 ]
}

@test "S13: an old AWS CLI without SHA-256 uses Content-MD5 and the ETag" {
  fake_aws
  export AWS_STUB_VERSION=1.18.147 AWS_STUB_REPLY=etag
  upload
  assert_exit 0
  grep -q 'put-object .*--content-md5 ' "$CALLS"
  head -c 1000000 /dev/urandom >"$source/big"
  ARTIFACT_PART_BYTES=300000 upload
  assert_exit 0
  AWS_STUB_CORRUPT=put-object upload
  assert_exit 1
}

@test "S13: each failing step of a multipart upload takes it back" {
  fake_aws
  head -c 1000000 /dev/urandom >"$source/big"
  local operation
  for operation in upload-part complete-multipart-upload; do
    : >"$CALLS"
    AWS_STUB_FAIL=$operation ARTIFACT_PART_BYTES=300000 upload
    assert_exit 1
    grep -q abort-multipart-upload "$CALLS"
    assert_says "the unfinished upload is taken back"
    assert_no_traces
  done
  : >"$CALLS"
  AWS_STUB_FAIL=create-multipart-upload ARTIFACT_PART_BYTES=300000 upload
  assert_exit 1
  run ! grep -q abort-multipart-upload "$CALLS"
}

@test "S13: SIGTERM during an upload takes it back and leaves no files" {
  fake_aws
  head -c 1000000 /dev/urandom >"$source/big"
  AWS_STUB_HANG=upload-part ARTIFACT_PART_BYTES=300000 "$script" --bucket artifacts-test --application "$app" \
    --deployment-group blue-green --source "$source" >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
  local pid=$!
  wait_for_line upload-part "$CALLS"
  terminated "$pid"
  grep -q abort-multipart-upload "$CALLS"
}

@test "S13: SIGTERM while packing ends at once and leaves no files" {
  fake_aws
  # A compressor that never ends stands for a folder that takes long.
  stub pigz 'exec sleep 60'
  "$script" --bucket artifacts-test --application "$app" --deployment-group blue-green --source "$source" \
    >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
  local pid=$!
  wait_for_line pigz "$CALLS"
  terminated "$pid"
  run ! sent
}

@test "S13: a refusing bucket gives one clear message" {
  local code hint
  while IFS='|' read -r code hint; do
    refusing_s3 "$code"
    AWS_ENDPOINT_URL=http://localhost:$port upload
    assert_exit 1
    assert_says "$code"
    assert_says "$hint"
    [ "$(grep -c 'error:' <<<"$stderr")" -eq 1 ]
    assert_no_traces
    kill "$(<"$BATS_TEST_TMPDIR/server.pid")"
    rm "$BATS_TEST_TMPDIR/server.pid"
  done <<'EOF'
AccessDenied|only under its prefix, through account A's S3 endpoint and from the role of the GitLab runner's host
NoSuchBucket|there is no such bucket: check ARTIFACT_BUCKET
EOF
}

@test "S13: what S3 or the CLI says is told with what to do" {
  fake_aws
  local code hint
  while IFS='|' read -r code hint; do
    AWS_STUB_FAIL=put-object AWS_STUB_CODE=$code upload
    assert_exit 1
    assert_says "S3 refused s3://artifacts-test/artifacts/$app/artifact.gz; $hint"
    assert_says "($code)"
    assert_no_traces
  done <<'EOF'
AccessDenied|the bucket takes uploads only under its prefix
PermanentRedirect|the bucket is in another Region
ExpiredToken|the job has no valid AWS credentials
XAmzContentChecksumMismatch|the data was damaged on its way
SlowDown|the upload did not happen
EOF
}

@test "S13: a job without credentials is told where they come from" {
  unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
  HOME=$BATS_TEST_TMPDIR upload
  assert_exit 1
  assert_says "on the GitLab runner's host it gets them from the host's role"
}

@test "S13: packing that fails uploads nothing" {
  fake_aws
  stub pigz 'cat >/dev/null; echo "no space left on device" >&2; exit 1'
  upload
  assert_exit 1
  assert_says "no space left on device"
  assert_says "packing failed, as it says above"
  run ! sent
  assert_no_traces
  rm "$STUBS/pigz"
  ln -s "$(type -P false)" "$STUBS/tar"
  upload
  assert_exit 1
  assert_says "packing failed, as it says above"
  run ! sent
}

# --- wrong use -------------------------------------------------------------

@test "S13: wrong arguments exit 2, say what was got, and send nothing" {
  fake_aws
  local arguments want
  while IFS='|' read -r arguments want; do
    # shellcheck disable=SC2086 # words on purpose
    upload $arguments
    assert_exit 2
    assert_says "$want"
    run ! sent
  done <<'EOF'
--bucket My_Bucket|bucket: got 'My_Bucket'
--bucket ab|bucket: got 'ab'
--bucket 192.168.0.1|bucket: got '192.168.0.1'
--bucket a..b|bucket: got 'a..b'
--application a/b|application: got 'a/b'
--deployment-group grün|deployment group: got 'grün'
--key deployments/x.gz|key: got 'deployments/x.gz', want one under artifacts/
--key artifacts/x.zip|want one that ends in .gz, .tgz or .tar.gz
--key artifacts/.gz|key: got 'artifacts/.gz'
--key artifacts/../x.gz|key: got 'artifacts/../x.gz'
--key artifacts//x.gz|key: got 'artifacts//x.gz'
--source /no/such/folder|there is no folder '/no/such/folder'
--source /|/ is not a folder to deploy
--timeout 1h|timeout: got '1h', want 1 to 999999 seconds
--timeout 0|timeout: got '0'
--timeout|--timeout needs a value
--await|unknown argument: --await
--bucket|--bucket needs a value
EOF
}

@test "S13: each required argument is asked for by both of its names" {
  fake_aws
  run --separate-stderr "$script"
  assert_exit 2
  assert_says "--bucket or ARTIFACT_BUCKET is required"
  run --separate-stderr "$script" --bucket b23
  assert_exit 2
  assert_says "--application or APPLICATION_NAME is required"
  run --separate-stderr "$script" --bucket b23 --application a
  assert_exit 2
  assert_says "--deployment-group or DEPLOYMENT_GROUP_NAME is required"
  run ! sent
}

@test "S13: a wrong setting in a variable exits 2" {
  fake_aws
  ARTIFACT_PREFIX=/artifacts upload
  assert_exit 2
  assert_says "ARTIFACT_PREFIX: got '/artifacts'"
  ARTIFACT_PART_BYTES=5GB upload
  assert_exit 2
  assert_says "ARTIFACT_PART_BYTES: got '5GB'"
  run ! sent
}

@test "S13: all missing tools are named at once" {
  bare_path split sha256sum md5sum readlink mktemp du wc bash date sed
  PATH=$BATS_TEST_TMPDIR/bare upload
  assert_exit 2
  assert_says "not installed here: tar base64 aws gzip"
}

@test "S13: --help prints the header and needs nothing" {
  run --separate-stderr "$script" --help
  assert_exit 0
  [[ $output == "Usage: upload-artifact.sh"* ]]
  [[ $output == *"Exit codes:"* && $output != *"#/"* ]]
}

# --- wrong content ---------------------------------------------------------

@test "S13: a folder without appspec.yml exits 2, and a near miss is named" {
  fake_aws
  mv "$source/appspec.yml" "$source/appspec.yaml"
  upload
  assert_exit 2
  assert_says "no appspec.yml at the root of $source (appspec.yaml is there: rename it); nothing was uploaded"
  run ! sent
  assert_no_traces
}

@test "S13: all files that appspec.yml names and that are missing are told at once" {
  fake_aws
  rm "$source/index.html" "$source/scripts/start.sh"
  upload
  assert_exit 2
  assert_says "appspec.yml:4: source '/index.html' does not exist"
  assert_says "appspec.yml:8: location 'scripts/start.sh' does not exist"
  run ! sent
}

@test "S13: paths that lead out of the folder are refused" {
  fake_aws
  echo x >"$BATS_TEST_TMPDIR/outside"
  ln -s ../outside "$source/link"
  local path want
  while IFS='|' read -r path want; do
    printf 'version: 0.0\nos: linux\nfiles:\n- source: %s\n  destination: /x\n' "$path" >"$source/appspec.yml"
    upload
    assert_exit 2
    assert_says "$want"
  done <<EOF
../outside|source '../outside' leaves the folder
scripts/../../outside|leaves the folder
link|source 'link' is a link that leaves the folder
$source/index.html|does not exist in
/etc/hostname|source '/etc/hostname' does not exist in
EOF
  run ! sent
  printf 'version: 0.0\nos: linux\nfiles:\n- source: scripts/../index.html\n  destination: /x\n' >"$source/appspec.yml"
  upload --dry-run
  assert_exit 0
}

@test "S13: what --exclude leaves out must not be needed" {
  fake_aws
  echo note >"$source/notes.txt"
  upload --exclude scripts
  assert_exit 2
  assert_says "appspec.yml:8: 'scripts/start.sh' is needed, but --exclude leaves it out"
  upload --exclude '*.yml'
  assert_exit 2
  assert_says "'appspec.yml' is needed"
  run ! sent
  upload --dry-run
  local all
  all=$(field sha256)
  upload --dry-run --exclude notes.txt
  assert_exit 0
  [ "$all" != "$(field sha256)" ]
}

@test "S13: a hook need not be executable, for the agent makes it so" {
  fake_aws
  chmod -x "$source/scripts/start.sh"
  upload --dry-run
  assert_exit 0
}

# Each case: a name, the file, and what must be said of it; "names N path" when
# it is right. In the file, ; ends a line.
@test "S13: appspec.yml is read as CodeDeploy's agent reads it, and nothing is guessed" {
  fake_aws
  mkdir -p "$source/a dir"
  : >"$source/a dir/it's #1"
  local head='version: 0.0;os: linux;' text want failed=0
  while IFS='@' read -r text want; do
    text=${text/HEAD;/$head}
    printf '%b' "${text//;/\\n}" >"$source/appspec.yml"
    upload --dry-run
    if [[ $want == 'names '* ]]; then
      ((status == 0)) || failed=1
    else
      ((status == 2)) || failed=1
    fi
    [[ $stderr == *"$want"* ]] || failed=1
    ((failed == 0)) || {
      printf 'case: %s\nwant: %s\nexit %s: %s\n' "$text" "$want" "$status" "$stderr"
      return 1
    }
  done <"$BATS_TEST_DIRNAME/fixtures/upload-appspec-cases.txt"
}

# Every way to write the same three paths; the missing one shows that each was
# read whole, and at which line.
@test "S13: indentation, quotes, comments and line ends change nothing in what appspec.yml names" {
  fake_aws
  local base list quote comment end gap text
  for base in '' '  '; do
    for list in '' ' ' '    '; do
      for quote in '' '"' "'"; do
        for comment in '' ' # see: "here"'; do
          for end in '\n' '\r\n'; do
            gap=${list:-'  '}
            text="# top$end$end${base}version: 0.0$comment$end${base}os: ${quote}linux$quote$comment$end"
            text+="${base}files:$comment$end$base$list- source: ${quote}gone one.txt$quote$comment$end$end"
            text+="$base$list  destination: /srv$end$base$list-${gap}destination: /srv$end"
            text+="$base$list ${gap}source:   $quote/gone/two$quote$comment$end"
            text+="${base}hooks:$end$base  AfterInstall:$comment$end$base  $list- timeout: 5$end"
            text+="$base  $list  ${quote}location$quote: ${quote}gone#3.sh$quote$comment"
            printf '%b' "$text" >"$source/appspec.yml"
            upload --dry-run
            local got want
            got=$(sed -n "s/.*appspec.yml:\([0-9]*: .* does not exist\).*/\1/p" <<<"$stderr")
            want="6: source 'gone one.txt' does not exist
10: source '/gone/two' does not exist
14: location 'gone#3.sh' does not exist"
            [[ $status -eq 2 && $got == "$want" ]] || {
              printf 'file:\n%b\nexit %s: %s\n' "$text" "$status" "$stderr"
              return 1
            }
          done
        done
      done
    done
  done
}
