#!/usr/bin/env bats
# scripts/setup.sh on machines that lack something. Registries and packages are
# played by stubs; the gate itself is a set-up with the real ones.
# shellcheck disable=SC2016,SC2030,SC2031 # the stubs expand it; a test is a subshell

load helper

# A checkout in a path with a space, and a machine whose PATH holds only what
# every system has and the stubs.
setup() {
  use_stubs
  REPO="$BATS_TEST_TMPDIR/my project"
  SYSTEM=$BATS_TEST_TMPDIR/system
  FAKES=$BATS_TEST_TMPDIR/fakes
  export REPO FAKES MODCACHE="$BATS_TEST_TMPDIR/modules"
  mkdir -p "$REPO/scripts" "$SYSTEM" "$FAKES" "$MODCACHE/cache/download"
  cp "$ROOT/scripts/setup.sh" "$ROOT/scripts/steps.sh" "$REPO/scripts/"
  cp "$ROOT/Makefile" "$ROOT/go.mod" "$ROOT/go.sum" "$ROOT"/package*.json "$ROOT"/requirements-*.* "$REPO/"
  local tool
  # No flock: macOS has none.
  for tool in bash cat chmod cksum cp date diff dirname env grep head make mkdir mktemp mv paste rm sed sleep sort tail touch tr; do
    ln -s "$(command -v "$tool")" "$SYSTEM/"
  done
  PYTHON3=$(python3 -c 'import sys; print(sys.executable)')
  export PYTHON3
  PATH=$STUBS:$SYSTEM

  NODE=$(sed -n 's/^ *"node": "\([0-9.]*\)".*/\1/p' "$REPO/package.json")
  export NODE
  stub go '
    case $1 in
      version) echo "go version go${FAKE_GO:-1.26.8} linux/amd64" ;;
      env) echo "$MODCACHE" ;;
    esac'
  stub node 'echo "v${FAKE_NODE:-20.1.0}"'
  stub npm '
    [[ ! -e $FAKES/npm-hangs ]] || { echo $$ >"$FAKES/hanging"; exec sleep 100; }
    [[ ! -e $FAKES/npm-takes-time ]] || sleep 1
    rm -rf node_modules
    [[ ! -e $FAKES/npm-fails ]] || { echo "npm: no such luck"; exit 1; }
    mkdir -p node_modules/.bin
    printf "#!/usr/bin/env bash\necho v%s\n" "$NODE" >node_modules/.bin/node
    chmod +x node_modules/.bin/node'
  stub python3 '
    case $* in
      *fcntl.flock*) exec "$PYTHON3" "$@" ;;
      --version) echo "Python ${FAKE_PYTHON:-3.11.5}" ;;
      "-c import ensurepip, venv") [[ ! -e $FAKES/no-venv ]] ;;
      "-m venv --clear .venv")
        rm -rf .venv
        mkdir -p .venv/bin
        cp "$0" .venv/bin/python3
        printf "#!%s/.venv/bin/python3\nimport sys\n" "$PWD" >.venv/bin/aws # as pip does
        chmod +x .venv/bin/aws ;;
      "-m venv --clear .venv-checkov")
        mkdir -p .venv-checkov/bin
        cp "$0" .venv-checkov/bin/python3 ;;
      *pip*) [[ ! -e $FAKES/pip-fails ]] || { echo "pip: no such luck"; exit 1; } ;;
    esac'
  stub id 'echo "${FAKE_UID:-1000}"'
  # Every program=package of the script.
  # shellcheck disable=SC2046 # a list of words
  programs $(sed -n '/^programs=/,/^for/p' "$REPO/scripts/setup.sh" | grep -oE '[a-z_.]+=[a-z0-9-]+' | sed 's/=.*//' | grep -vx programs)
  [[ -x $STUBS/busybox && -x $STUBS/rsync && -x $STUBS/mkfs.xfs ]]
}

# programs NAME ... makes them exist.
programs() {
  local name
  for name in "$@"; do stub "$name"; done
}

set_up() {
  run --separate-stderr "$REPO/scripts/setup.sh" "$@"
  echo "$output $stderr"
}

# installs prints the calls that install something.
installs() { grep -E '^(npm|python3 -m|go mod|apt-get)' "$CALLS" | sort; }

nothing_was_installed() { [[ -z $(installs) ]]; }

all_was_installed() {
  diff - <(installs) <<'EXPECTED'
go mod download
npm ci --no-audit --no-fund --loglevel=warn
python3 -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r requirements-dev.lock
python3 -m venv --clear .venv
EXPECTED
}

@test "S15: a fresh checkout gets its tools, and says so in one line each" {
  cd /
  set_up
  [[ $status == 0 && -z $output ]]
  all_was_installed
  [[ ${#stderr_lines[@]} == 3 ]]
  [[ $stderr == *"=== Node tools (npm ci): ok in "*" s"* ]]
  [[ $stderr == *"=== Python tools (.venv): ok in "*" s"* ]]
  [[ $stderr == *"=== Go modules: ok in "*" s"* ]]
}

@test "S15: a second set-up does nothing and says nothing" {
  set_up
  : >"$CALLS"
  set_up
  [[ $status == 0 && -z $output && -z $stderr ]]
  [[ $(sort -u "$CALLS") == 'go env GOMODCACHE' ]]
}

@test "S15: what changed is installed again, and nothing else" {
  set_up
  : >"$CALLS"
  echo '# newer' >>"$REPO/requirements-dev.lock"
  set_up
  [[ $status == 0 ]]
  [[ $(installs) == 'python3 -m pip '*$'\n''python3 -m venv --clear .venv' ]]

  : >"$CALLS"
  echo >>"$REPO/package-lock.json"
  set_up
  [[ $status == 0 && $(installs) == 'npm ci'* ]]

  : >"$CALLS"
  rm -r "$MODCACHE/cache"
  set_up
  [[ $status == 0 && $(installs) == 'go mod download' ]]
}

@test "S15: a checkout that was moved, or lost its Python, gets a new .venv" {
  set_up
  mv "$REPO" "$BATS_TEST_TMPDIR/elsewhere"
  REPO=$BATS_TEST_TMPDIR/elsewhere
  : >"$CALLS"
  set_up
  [[ $status == 0 && $(installs) == 'python3 -m pip '*'python3 -m venv'* ]]

  rm "$REPO/.venv/bin/python3"
  : >"$CALLS"
  set_up
  [[ $status == 0 && $(installs) == 'python3 -m pip '*'python3 -m venv'* ]]
}

@test "S15: scripts in a .venv under a path with a space can be started" {
  set_up
  [[ $(head -n 1 "$REPO/.venv/bin/aws") == '#!/bin/sh' ]]
  : >"$CALLS"
  "$REPO/.venv/bin/aws" --version
  [[ $(cat "$CALLS") == 'python3 -P -m awscli --version' ]]
}

@test "S15: everything missing is named at once with its minimum" {
  rm "$STUBS/go" "$STUBS/node" "$STUBS/npm" "$STUBS/python3"
  set_up
  [[ $status == 1 && -z $output ]]
  [[ $stderr == *"Go is missing: at least $(sed -n 's/^go //p' "$REPO/go.mod") is needed"* ]]
  [[ $stderr == *"Node is missing: at least 18.0.0 is needed"* ]]
  [[ $stderr == *"npm is missing"* ]]
  [[ $stderr == *"Python is missing: at least 3.11.0 is needed"* ]]
  nothing_was_installed
  [[ ! -e $REPO/node_modules && ! -e $REPO/.venv ]]
}

@test "S15: everything too old is named with what there is and the minimum" {
  FAKE_GO=1.25.9 FAKE_NODE=16.20.2 FAKE_PYTHON=3.10.13 set_up
  [[ $status == 1 ]]
  [[ $stderr == *"Go 1.25.9 is too old: at least 1.26.0 is needed"* ]]
  [[ $stderr == *"Node 16.20.2 is too old: at least 18.0.0 is needed"* ]]
  [[ $stderr == *"Python 3.10.13 is too old: at least 3.11.0 is needed"* ]]
  nothing_was_installed
}

@test "S15: versions are compared as numbers" {
  FAKE_GO=1.100 FAKE_NODE=18.0.0 FAKE_PYTHON=3.11.0 set_up
  [[ $status == 0 ]]
}

@test "S15: checkov asks for a newer Python than the other tools, and only where it is installed" {
  FAKE_PYTHON=3.11.2 set_up demo
  [[ $status == 0 ]]
  FAKE_PYTHON=3.11.2 set_up test
  [[ $status == 1 ]]
  [[ $stderr == *"Python 3.11.2 is too old: at least 3.11.5 is needed"* ]]
}

@test "S15: a Python without venv is told apart from no Python" {
  touch "$FAKES/no-venv"
  set_up
  [[ $status == 1 ]]
  [[ $stderr == *"Python's venv or pip is missing"*python3-venv* ]]
  [[ $stderr != *"Python is missing"* ]]
  nothing_was_installed
}

@test "S15: a failed step shows the end of its log, the others are finished, and it is repeated" {
  touch "$FAKES/pip-fails"
  set_up
  [[ $status == 1 ]]
  [[ $stderr == *"=== Python tools (.venv): FAILED with "*"pip: no such luck"* ]]
  [[ $stderr == *"=== Node tools (npm ci): ok"* ]]
  [[ ${stderr_lines[${#stderr_lines[@]} - 1]} == '=== failed after '*' s: Python tools (.venv)' ]]

  rm "$FAKES/pip-fails"
  : >"$CALLS"
  set_up
  [[ $status == 0 ]]
  [[ $(installs) == 'python3 -m pip '*$'\n''python3 -m venv --clear .venv' ]]
}

@test "S15: a Node that npm did not put in place is noticed" {
  NODE=0.0.0 set_up
  [[ $status == 1 ]]
  [[ $stderr == *"node_modules/.bin/node is v0.0.0, not v"*ignore-scripts* ]]
}

@test "S15: npm runs on the machine's own Node, never on the one it replaces" {
  mkdir -p "$REPO/node_modules/.bin" "$REPO/.venv/bin"
  local tool
  for tool in "$REPO/node_modules/.bin/npm" "$REPO/.venv/bin/python3"; do
    printf '#!/usr/bin/env bash\necho "wrong one" >>"$CALLS"\n' >"$tool"
    chmod +x "$tool"
  done
  PATH=$REPO/node_modules/.bin:$REPO/.venv/bin:$PATH
  set_up
  [[ $status == 0 ]]
  all_was_installed
  [[ $(cat "$CALLS") != *"wrong one"* ]]
}

# start_hanging begins a set-up whose npm hangs; its process id is in SETUP.
start_hanging() {
  touch "$FAKES/npm-hangs"
  "$REPO/scripts/setup.sh" >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
  SETUP=$!
  wait_until test -s "$FAKES/hanging"
}

wait_until() {
  local tries=0
  until "$@" 2>/dev/null; do
    ((tries++ < 300)) || return 1
    sleep 0.1
  done
}

is_gone() { ! kill -0 "$1" 2>/dev/null; }

@test "S15: an interrupted set-up stops what it started and is repeated" {
  local status=0
  start_hanging
  kill -TERM "$SETUP"
  wait "$SETUP" || status=$?
  [[ $status == 143 ]]
  wait_until is_gone "$(cat "$FAKES/hanging")"

  rm "$FAKES/npm-hangs"
  : >"$CALLS"
  set_up
  [[ $status == 0 ]]
  [[ $(installs) == *'npm ci'* ]]
}

@test "S15: two set-ups of one checkout install once, without the command flock" {
  [[ ! -e $SYSTEM/flock ]]
  touch "$FAKES/npm-takes-time"
  "$REPO/scripts/setup.sh" >"$BATS_TEST_TMPDIR/one" 2>&1 3>&- &
  local one=$!
  wait_until grep -q '^npm' "$CALLS"
  set_up
  wait "$one"
  [[ $status == 0 ]]
  [[ $stderr == *"waiting for another set-up of this checkout"* ]]
  all_was_installed
}

@test "S15: a set-up waits for what a killed one has left running, and no longer" {
  start_hanging
  kill -KILL "$SETUP"
  wait "$SETUP" || true
  set_up_later() { "$REPO/scripts/setup.sh" >"$BATS_TEST_TMPDIR/later" 2>&1 3>&-; }
  rm "$FAKES/npm-hangs"
  set_up_later &
  local later=$!
  wait_until grep -q "waiting for another set-up" "$BATS_TEST_TMPDIR/later"
  kill "$(cat "$FAKES/hanging")"
  wait "$later"
}

@test "S15: as root on Debian what is missing is installed in one go" {
  rm "$STUBS/rsync" "$STUBS/createrepo_c"
  stub apt-get 'case $* in *install*) for name in rsync createrepo_c; do touch "$STUBS/$name"; chmod +x "$STUBS/$name"; done ;; esac'
  export FAKE_UID=0 POLICY_RC_D=$BATS_TEST_TMPDIR/policy-rc.d
  set_up test
  [[ $status == 0 ]]
  [[ $(grep ^apt-get "$CALLS") == *' update'$'\n'*' install -y --no-install-recommends rsync createrepo-c' ]]
  [[ $stderr == *"Debian packages (rsync createrepo-c): ok"* ]]
  [[ ! -e $POLICY_RC_D ]]

  : >"$CALLS"
  set_up test
  [[ $status == 0 && -z $stderr ]]
  nothing_was_installed
}

@test "S15: packages do not start their servers while they are installed" {
  rm "$STUBS/dnf"
  stub apt-get 'case $* in *install*) "$POLICY_RC_D" >&2 || echo "policy $?" >>"$CALLS" ;; esac'
  export FAKE_UID=0 POLICY_RC_D=$BATS_TEST_TMPDIR/policy-rc.d
  set_up test
  [[ $status == 0 ]]
  grep -qx 'policy 101' "$CALLS"
  [[ ! -e $POLICY_RC_D ]]

  # A machine's own policy stays.
  printf '#!/bin/sh\nexit 101\n' >"$POLICY_RC_D"
  chmod +x "$POLICY_RC_D"
  set_up test
  [[ -x $POLICY_RC_D ]]
}

@test "S15: the demo wants rsync, and says so where it cannot install it" {
  rm "$STUBS/rsync"
  set_up demo
  [[ $status == 1 ]]
  [[ $stderr == *"not installed: rsync (Debian: apt-get install rsync)"* ]]
  nothing_was_installed
  # The linters and the templates do without.
  set_up tools
  [[ $status == 0 ]]
}

@test "S15: checkov gets a Python environment of its own, for tests only" {
  set_up demo
  [[ $status == 0 && ! -e $REPO/.venv-checkov ]]
  : >"$CALLS"
  set_up test
  [[ $status == 0 ]]
  [[ $stderr == *"=== checkov (.venv-checkov): ok in "* ]]
  diff - <(installs) <<'EXPECTED'
python3 -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r requirements-checkov.lock
python3 -m venv --clear .venv-checkov
EXPECTED
  : >"$CALLS"
  echo '# newer' >>"$REPO/requirements-checkov.lock"
  set_up test
  [[ $status == 0 && $(installs) == 'python3 -m pip '*$'\n''python3 -m venv --clear .venv-checkov' ]]
}

@test "S15: what only tests need is named where it cannot be installed" {
  rm "$STUBS/dnf" "$STUBS/rpm"
  stub apt-get
  set_up test
  [[ $status == 0 ]]
  [[ $stderr == *"tests that need one of these are skipped here: dnf rpm"* ]]
  [[ $(installs) != *apt-get* ]]
}

@test "S15: wrong use ends with 2, --help with 0" {
  set_up everything
  [[ $status == 2 && $stderr == *"unknown purpose 'everything'"* ]]
  set_up demo test
  [[ $status == 2 && $stderr == *"want one of tools, demo and test"* ]]
  set_up --help
  [[ $status == 0 && $output == "Usage: scripts/setup.sh"* ]]
  nothing_was_installed
}
