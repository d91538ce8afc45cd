#!/usr/bin/env bats
# A tool that is missing has a name, whoever looks for it: each test of a file is
# skipped with it, and in CI the file fails with it.

load helper

# tests_without TOOL FILE runs a file's tests on a machine without a tool.
tests_without() {
  local folder links=$BATS_TEST_TMPDIR/bin
  mkdir "$links"
  # A name that is there already stays: the first on PATH wins here, too.
  while IFS= read -r -d : folder; do
    ln -s "$folder"/* "$links/" 2>/dev/null || true
  done <<<"$ROOT/node_modules/.bin:$ROOT/.venv/bin:$PATH:"
  rm "$links/$1"
  run env -i HOME="$HOME" TMPDIR="$BATS_TEST_TMPDIR" PATH="$links" CI="$CI" \
    bash "$ROOT/node_modules/bats/bin/bats" "$BATS_TEST_DIRNAME/$2"
}

# names TOOL FILE wants the tool's name outside of CI and in it.
names() {
  CI=false tests_without "$1" "$2"
  echo "$output"
  [[ $status == 0 ]]
  [[ $output == *"ok 1 "*"# skip $1 is missing"* ]]
  if grep -v "^1\\.\\.\|# skip $1 is missing\$" <<<"$output"; then return 1; fi
  rm -r "${BATS_TEST_TMPDIR:?}/bin"
  CI=true tests_without "$1" "$2"
  echo "$output"
  [[ $status == 1 ]]
  [[ $output == *"$1 is missing: scripts/setup.sh installs it"* ]]
}

@test "S15: a missing tool is named by the tests on PostgreSQL" { names psql migrations.bats; }

@test "S15: a missing tool is named by the tests on a stand-in host" { names createrepo_c upgrade-backup.bats; }
