#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2030,SC2031 # the stubs expand it; each test is a subshell
# scripts/server/print-keys.sh with a curl that plays GitLab, and how scripts/ops
# starts the program that reads it. The program itself is tested in cmd/ops.

load helper

setup() {
  use_stubs
  STATE=$BATS_TEST_TMPDIR/state
  mkdir -p "$STATE"
  export STATE
  # Answers with what lies there for the path, and notes how it was asked.
  stub curl 'printf "%s\n" "$*" >>"$STATE/asked"; file=$STATE/$(basename "${!#}"); [[ -e $file ]] || exit 22; cat "$file"'
}

print_keys() { run --separate-stderr "$ROOT/scripts/server/print-keys.sh" "$@"; }

@test "S15: both addresses of GitLab are asked at localhost, and each answer is one line" {
  printf '{\n  "keys": [\r\n {"kid":"a"}]}\n' >"$STATE/keys"
  printf '{"keys":[{"kid":"b"}]}' >"$STATE/jwks"
  print_keys --external-url https://gitlab.example.com
  [ "$status" -eq 0 ]
  [ "$output" = 'keys /oauth/discovery/keys {  "keys": [ {"kid":"a"}]}
keys /-/jwks {"keys":[{"kid":"b"}]}' ]
  [ "$(grep -c 'Host: gitlab.example.com .*X-Forwarded-Proto: https' "$STATE/asked")" = 2 ]
  [ "$(grep -o 'http://[^ ]*' "$STATE/asked" | xargs)" = "http://localhost/oauth/discovery/keys http://localhost/-/jwks" ]
}

@test "S15: one address is enough: GitLab 13.10 has jobs' key at one only" {
  echo '{"keys":[]}' >"$STATE/jwks"
  print_keys --external-url https://gitlab.example.com
  [ "$status" -eq 0 ]
  [ "$output" = 'keys /-/jwks {"keys":[]}' ]
}

@test "S15: a GitLab that shows no keys, or a page of its own instead, fails and says what to look at" {
  echo '<html>502</html>' >"$STATE/keys"
  print_keys --external-url https://gitlab.example.com
  [ "$status" -eq 1 ]
  [ -z "$output" ]
  [[ $stderr == *"GitLab shows no keys at http://localhost, neither /oauth/discovery/keys nor /-/jwks"* ]]
}

@test "S15: anything but the address of a GitLab is wrong use" {
  local arguments
  for arguments in '' '--external-url' '--external-url http://gitlab.example.com' '--external-url https://a/b' '--other x'; do
    # shellcheck disable=SC2086 # words
    print_keys $arguments
    [ "$status" -eq 2 ]
    [ ! -e "$STATE/asked" ]
  done
}

@test "S15: scripts/ops trust is the program's own command, and listed with the others" {
  run --separate-stderr "$ROOT/scripts/ops" --help
  [[ $output =~ $'\n  trust '\ +Read\ the\ keys\ that\ GitLab\ signs\ with ]]
  cd "$BATS_TEST_TMPDIR"
  run --separate-stderr "$ROOT/scripts/ops" trust --help
  [ "$status" -eq 0 ]
  [[ $output == *"trust --env NAME"* && $output == *"--keep"* ]]
  run --separate-stderr "$ROOT/scripts/ops" trust
  [ "$status" -eq 2 ]
  [[ $stderr == *"error: --env is required"* ]]
}
