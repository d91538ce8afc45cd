# Run by bats before the first of its files. It loads the AWS CLI once for all
# their calls: see fixtures/aws/server.py, which ends with bats.
# shellcheck shell=bash

setup_suite() {
  local folder root python tries=0
  root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  # Without the tools the tests that need them say so. The server needs Linux.
  [[ -x $root/.venv/bin/aws && $(uname) == Linux ]] || return 0
  folder=$BATS_RUN_TMPDIR/aws
  mkdir -p "$folder"
  python=$(readlink -f "$root/.venv/bin/python3")
  { echo "#!$python -IS" && cat "$BATS_TEST_DIRNAME/fixtures/aws/client.py"; } >"$folder/aws"
  chmod +x "$folder/aws"
  # bats waits for whoever holds its file descriptor 3.
  "$root/.venv/bin/python3" "$BATS_TEST_DIRNAME/fixtures/aws/server.py" "$folder/socket" $$ </dev/null 3>&- &
  until [[ -S $folder/socket ]]; do
    ((tries++ < 600)) && kill -0 $! || return 1
    sleep 0.05
  done
  export LOADED_AWS=$folder
}
