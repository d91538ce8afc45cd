#!/usr/bin/env bats
# shellcheck disable=SC1003,SC2016 # text for other shells
# What CloudFormation is told about an installation, with a real curl against
# a real HTTP server, whose bodies are parsed as JSON.

load helper

setup() {
  require_tool curl python3
  SIGNALS=$BATS_TEST_TMPDIR/signals
  STATE=$BATS_TEST_TMPDIR/state
  mkdir "$SIGNALS" "$STATE"
  # The kernel picks the port.
  SIGNALS=$SIGNALS STATE=$STATE WWW=$BATS_TEST_TMPDIR PORT=0 \
    python3 "$BATS_TEST_DIRNAME/fixtures/host/web.py" >"$BATS_TEST_TMPDIR/web.log" 2>&1 3>&- &
  WEB=$!
  local deadline=$((SECONDS + 20))
  until [[ -s $STATE/ready ]]; do
    ((SECONDS < deadline)) || {
      cat "$BATS_TEST_TMPDIR/web.log" >&2
      return 1
    }
    sleep 0.05
  done
  URL="http://localhost:$(cat "$STATE/ready")/arn%3Aaws%3Acloudformation?Signature=a%2Bb%3D"
  export SIGNAL_PAUSE=0.05
}

teardown() { kill "$WEB"; }

# script BODY runs a script that reports its outcome, with REASON and URL.
script() {
  REASON=${REASON:-} URL=$URL run bash -c '
    set -Eeuo pipefail
    source "$ROOT/scripts/lib/common.sh"
    source "$ROOT/scripts/lib/signal.sh"
    report_outcome "$URL" gitlab
    '"$1"
}

field() { python3 -c 'import json, sys; sys.stdout.write(json.load(open(sys.argv[1], "rb"))[sys.argv[2]])' "$SIGNALS/$1.json" "$2"; }

signals() { find "$SIGNALS" -name '*.json' | wc -l; }

@test "S5: success carries the four fields and an empty Content-Type, which the URL's signature covers" {
  script 'log "GitLab is there"'
  [ "$status" -eq 0 ]
  [ "$(signals)" -eq 1 ]
  python3 -c 'import json, sys; assert json.load(open(sys.argv[1])) == {
    "Status": "SUCCESS", "Reason": "GitLab is there", "UniqueId": "gitlab", "Data": "GitLab is there"}' "$SIGNALS/1.json"
  run ! grep -i '^content-type: .' "$SIGNALS/1.headers"
  run ! grep -i '^transfer-encoding' "$SIGNALS/1.headers"
}

@test "S5: failure carries the last log line, and the script keeps its own status" {
  script 'log "looking"; log "error: no disk"; exit 7'
  [ "$status" -eq 7 ]
  [ "$(field 1 Status)" = FAILURE ]
  [ "$(field 1 Reason)" = 'error: no disk' ]
}

@test "S5: a command that nobody expected to fail is named with its line and status" {
  script 'inner() { ls /nonexistent-folder; }; inner; log "not reached"'
  [ "$status" -eq 2 ]
  [[ $(field 1 Reason) =~ ^"error: line "[0-9]+" ended with status 2: ls /nonexistent-folder"$ ]]
}

@test "S5: failures inside a substitution, a pipeline and an unset variable are reported, too" {
  script 'x=$(false); log "not reached"'
  [ "$status" -eq 1 ]
  [[ $(field 1 Reason) == *'ended with status 1: x=$(false)' ]]
  script 'false | cat; log "not reached"'
  [ "$status" -eq 1 ]
  [ "$(field 2 Status)" = FAILURE ]
  script 'log "before"; echo "$undefined_name"; log "not reached"'
  [ "$status" -ne 0 ]
  [ "$(field 3 Status)" = FAILURE ]
  [ "$(signals)" -eq 3 ]
}

@test "S5: whatever stands in the reason, the signal is JSON" {
  local reason count=0
  for reason in 'say "hello"' 'C:\temp\new \u0041 \' $'two\nlines\tand a tab\r' $'bell \a escape \e[31m delete \x7f one \x01' \
    'パスワード' $'not UTF-8: \xff\xfe\xc3' '$(id) `id` ${HOME} %s %n' "it's" '{"Status":"SUCCESS"}' '' "$(printf '"\\%.0s' {1..300})"; do
    REASON=$reason script 'die "$REASON"'
    count=$((count + 1))
    [ "$status" -eq 1 ]
    [ "$(signals)" -eq "$count" ]
    [ "$(field "$count" Status)" = FAILURE ]
    [ "$(field "$count" Reason | wc -c)" -le 256 ]
  done
  [ "$(field 1 Reason)" = 'error: say "hello"' ]
  [ "$(field 2 Reason)" = 'error: C:\temp\new \u0041 \' ]
  [ "$(field 3 Reason)" = 'error: two lines and a tab ' ]
  [ "$(field 7 Reason)" = 'error: $(id) `id` ${HOME} %s %n' ]
  [ "$(field 11 Reason | wc -c)" -eq 256 ]
}

@test "S5: a signal that does not get through is tried again" {
  printf '500\n503\n200\n' >"$STATE/answers"
  script 'log done'
  [ "$status" -eq 0 ]
  [ "$(signals)" -eq 3 ]
  [[ $output == *'signalled SUCCESS'* ]]
}

@test "S5: a signal that never gets through does not change how the script ends" {
  printf '500\n%.0s' {1..20} >"$STATE/answers"
  script 'die "the disk is full"'
  [ "$status" -eq 1 ]
  [ "$(signals)" -eq 5 ]
  [[ $output == *'could not signal FAILURE (last answer: HTTP 500)'* ]]
  rm "$STATE/answers"

  URL=http://localhost:1/nobody script 'exit 9'
  [ "$status" -eq 9 ]
  URL=http://localhost:1/nobody script 'log fine'
  [ "$status" -eq 0 ]
  [[ $output == *'could not signal SUCCESS (last answer: HTTP 000)'* ]]
}

@test "S5: the expired URL of a later run is not tried twice" {
  printf '403\n' >"$STATE/answers"
  script 'log done'
  [ "$status" -eq 0 ]
  [ "$(signals)" -eq 1 ]
  [[ $output == *'could not signal SUCCESS (last answer: HTTP 403)'* ]]
}

@test "S5: a run that is stopped says so" {
  script 'kill -TERM $$; log "not reached"'
  [ "$status" -eq 1 ]
  [ "$(field 1 Reason)" = 'error: stopped by a signal' ]
}

@test "S5: without a URL nothing is sent, and a URL of another form is refused" {
  URL='' script 'log done'
  [ "$status" -eq 0 ]
  for url in ftp://example.com/x http://example.com/x 'https://example.com/x y' "https://example.com/'" 'https://example.com'; do
    URL=$url script 'log "not reached"'
    [ "$status" -eq 2 ]
    [[ $output == *'--signal-url: got'* ]]
  done
  [ "$(signals)" -eq 0 ]
}
