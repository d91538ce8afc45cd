#!/usr/bin/env bash
#/ Usage: scripts/setup.sh [tools | demo | test]
#/
#/ Installs into this checkout what its commands need: the CDK CLI, its Node
#/ and other Node tools (node_modules), the AWS CLI, the emulator and the
#/ linters (.venv), and Go's modules. What is already there is left alone, so
#/ every target of the Makefile runs it first.
#/
#/   tools   These, for `make synth`, `make check` and scripts/ops. The default.
#/   demo    Also rsync, without which gitlab-ci-local runs no job.
#/   test    Also the programs that only tests use, and the checker checkov in a
#/           Python environment of its own (.venv-checkov).
#/
#/ The machine has to bring Go, Node with npm, and Python 3 with venv and pip.
#/ Programs of demo and test are installed by apt-get as root on Debian.
#/ Elsewhere a missing rsync is an error; what only tests use is named, and the
#/ tests that need it are skipped.
#/ Exit status: 0 done, 1 something is missing or failed, 2 wrong use.

# Runs before anything is installed, on macOS too: keep it to bash 3.2 and to
# options that GNU and BSD tools share.
set -Eeuo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STATE=$ROOT/.tools/setup

# npm ci replaces node_modules: the Node that runs npm must not live there, and
# a new .venv must not be made by the old one.
PATH=:$PATH:
PATH=${PATH//":$ROOT/node_modules/.bin:"/:}
PATH=${PATH//":$ROOT/.venv/bin:"/:}
PATH=${PATH#:}
PATH=${PATH%:}

MIN_NODE=18.0.0
# The highest Requires-Python among the packages of requirements-dev.lock, and of
# requirements-checkov.lock.
MIN_PYTHON=3.11.0
MIN_PYTHON_CHECKOV=3.11.5

# Programs and their Debian packages.
DEMO_PROGRAMS=(git=git rsync=rsync)
TEST_PROGRAMS=(
  curl=curl
  # The shells of jobs.
  dash=dash busybox=busybox
  # A stand-in host that packages are really installed on.
  dnf=dnf rpm=rpm rpmsign=rpm createrepo_c=createrepo-c gpg=gnupg
  mkfs.xfs=xfsprogs losetup=mount unshare=util-linux ip=iproute2 pgrep=procps
  # A real PostgreSQL for the SQL.
  pg_ctlcluster=postgresql psql=postgresql-client
  # Reads the Ruby that is given to GitLab.
  ruby=ruby
)

main() {
  PURPOSE=tools
  case ${1-} in
    tools | demo | test) PURPOSE=$1 ;;
    -h | --help)
      sed -n 's/^#\/ \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit
      ;;
    '') ;;
    *) bad_usage "unknown purpose '$1': want tools, demo or test" ;;
  esac
  (($# <= 1)) || bad_usage "one purpose only, got: $*"
  cd "$ROOT"

  find_work
  if [[ -n $WORK ]]; then
    mkdir -p "$STATE"
    lock
    # Another set-up may have done it while this one waited for the lock.
    find_work
  fi
  if [[ -n $WORK ]]; then
    check_machine
    run_steps
  fi
  if [[ -n $MISSING && $WORK != *programs* ]]; then
    log "tests that need one of these are skipped here:$MISSING"
  fi
}

log() { printf '%s set-up: %s\n' "$(date -u +%FT%TZ)" "$*" >&2; }

bad_usage() {
  log "error: $* (see --help)"
  exit 2
}

# find_work sets WORK to the steps that still have something to do. It decides
# in a few milliseconds, because every make target asks.
find_work() {
  WORK='' MISSING='' PACKAGES=()
  node_is_done || WORK+=' node'
  python_is_done || WORK+=' python'
  [[ $PURPOSE != test ]] || checkov_is_done || WORK+=' checkov'
  go_is_done || WORK+=' go'
  if [[ $PURPOSE != tools ]]; then find_missing "${DEMO_PROGRAMS[@]}"; fi
  # Without apt-get only these stop the set-up.
  if [[ -n $MISSING ]]; then WORK+=' programs'; fi
  if [[ $PURPOSE == test ]]; then find_missing "${TEST_PROGRAMS[@]}"; fi
  if [[ -n $MISSING && $WORK != *programs* ]] && is_debian_root; then WORK+=' programs'; fi
}

find_missing() {
  local pair
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null && continue
    MISSING+=" ${pair%%=*}"
    PACKAGES+=("${pair#*=}")
  done
}

is_debian_root() { command -v apt-get >/dev/null && [[ $(id -u) == 0 ]]; }

# A stamp is a copy of what was installed, written last: a step that was
# interrupted, or whose lock file has changed since, is repeated.
node_wants() { cat package.json package-lock.json; }
python_wants() {
  # Scripts in .venv/bin carry its absolute path: a moved checkout needs a new one.
  echo "$ROOT"
  cat requirements-dev.txt requirements-dev.lock
}
checkov_wants() {
  echo "$ROOT"
  cat requirements-checkov.txt requirements-checkov.lock
}
go_wants() {
  GOTOOLCHAIN=local go env GOMODCACHE
  cat go.mod go.sum
}

is_stamped() {
  [[ -f $2 ]] && "$1" 2>/dev/null | cmp -s - "$2"
}

node_is_done() {
  is_stamped node_wants node_modules/.setup && [[ -x node_modules/.bin/node ]]
}

# .venv/bin/python3 is a link, which dangles once the Python behind it is gone.
python_is_done() {
  is_stamped python_wants .venv/.setup && [[ -x .venv/bin/python3 ]]
}

checkov_is_done() {
  is_stamped checkov_wants .venv-checkov/.setup && [[ -x .venv-checkov/bin/python3 ]]
}

go_is_done() {
  command -v go >/dev/null && is_stamped go_wants "$STATE/go.stamp" && [[ -d $(head -n 1 "$STATE/go.stamp")/cache/download ]]
}

# lock lets one set-up of this checkout work at a time. macOS has no flock:
# there, a folder that only one process can make takes its place.
lock() {
  if command -v flock >/dev/null; then
    exec 9>"$STATE/lock"
    flock -n 9 && return
    log "waiting for another set-up of this checkout"
    flock -w 1800 9 || give_up_waiting
    return
  fi
  local owner waited=0
  until mkdir "$STATE/lock.d" 2>/dev/null; do
    owner=$(cat "$STATE/lock.d/pid" 2>/dev/null || true)
    if [[ -n $owner ]] && ! kill -0 "$owner" 2>/dev/null; then
      log "removing the lock of a set-up that was killed (process $owner)"
      rm -rf "$STATE/lock.d"
      continue
    fi
    ((waited)) || log "waiting for another set-up of this checkout"
    ((waited++ < 1800)) || give_up_waiting
    sleep 1
  done
  trap 'rm -rf "$STATE/lock.d"' EXIT
  echo "$$" >"$STATE/lock.d/pid"
}

give_up_waiting() {
  log "error: another set-up of $ROOT has not finished in 30 minutes"
  exit 1
}

# check_machine reports everything that is missing or too old at once.
check_machine() {
  local minimum problems=0
  minimum=$(sed -n 's/^go \([0-9.]*\)$/\1/p' go.mod)
  # Without GOTOOLCHAIN=local an older Go answers with the version it would
  # download (https://go.dev/doc/toolchain).
  check_version Go "$minimum" https://go.dev/dl "$(GOTOOLCHAIN=local go version 2>/dev/null || true)"
  if [[ $WORK == *node* ]]; then
    check_version Node "$MIN_NODE" https://nodejs.org "$(node --version 2>/dev/null || true)"
    command -v npm >/dev/null || problem "npm is missing: it comes with Node (https://nodejs.org) or as a package of its own"
  fi
  if [[ $WORK == *python* || $WORK == *checkov* ]]; then
    [[ $WORK != *checkov* ]] || MIN_PYTHON=$MIN_PYTHON_CHECKOV
    check_version Python "$MIN_PYTHON" https://www.python.org "$(python3 --version 2>&1 || true)"
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null && command -v python3 >/dev/null; then
      problem "Python's venv or pip is missing: install them (Debian: apt-get install python3-venv)"
    fi
  fi
  if [[ $WORK == *programs* ]] && ! is_debian_root; then
    problem "not installed:$MISSING (Debian: apt-get install ${PACKAGES[*]})"
  fi
  ((problems == 0)) || exit 1
}

problem() {
  log "error: $*"
  problems=$((problems + 1))
}

# check_version NAME MINIMUM WHERE TEXT looks for a version in TEXT, which is
# what the program printed about itself.
check_version() {
  local got
  got=$(sed -n 's/^[^0-9]*\([0-9][0-9]*\.[0-9][0-9.]*\).*/\1/p' <<<"$4" | head -n 1)
  if [[ -z $got ]]; then
    problem "$1 is missing: at least $2 is needed ($3)"
  elif ! at_least "$got" "$2"; then
    problem "$1 $got is too old: at least $2 is needed ($3)"
  fi
}

at_least() {
  local IFS=. i
  # shellcheck disable=SC2206 # split at the dots
  local got=($1) want=($2)
  for i in 0 1 2; do
    ((10#${got[i]:-0} == 10#${want[i]:-0})) || {
      ((10#${got[i]:-0} > 10#${want[i]:-0}))
      return
    }
  done
}

# run_steps runs the steps side by side, since they mostly wait for the
# network. Each is a process group of its own, so that all of it can be stopped.
run_steps() {
  local step status=0
  STEPS=()
  trap 'stop_steps' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  set -m
  for step in $WORK; do
    (
      set +m
      trap - INT TERM HUP
      # shellcheck disable=SC2064 # the step's name and start belong to this moment
      trap "report $step $SECONDS \$?" EXIT
      "install_$step"
    ) </dev/null 3>&2 >"$STATE/$step.log" 2>&1 &
    STEPS+=("$!")
  done
  set +m
  for step in "${STEPS[@]}"; do
    wait "$step" || status=1
  done
  STEPS=()
  return "$status"
}

# report closes a step: one line when it went well, the end of its log when not.
report() {
  [[ -z ${POLICY-} ]] || rm -f "$POLICY"
  local title=$1 took=$((SECONDS - $2)) file=$STATE/$1.log
  case $1 in
    node) title='Node tools (npm ci)' ;;
    python) title='Python tools (.venv)' ;;
    checkov) title='checkov (.venv-checkov)' ;;
    go) title='Go modules' ;;
    programs) title="Debian packages (${PACKAGES[*]})" ;;
  esac
  if (($3 == 0)); then
    log "$title: done in $took s" 2>&3
  else
    {
      log "error: $title: failed after $took s; all of it is in $file"
      tail -n 20 "$file" | sed 's/^/  | /'
    } 2>&3 >&3
  fi
}

stop_steps() {
  local step
  for step in ${STEPS[@]+"${STEPS[@]}"}; do
    kill -TERM -- "-$step" 2>/dev/null || true
  done
  rm -rf "$STATE/lock.d"
}

install_node() {
  npm ci --no-audit --no-fund --loglevel=warn
  local want got
  want=$(sed -n 's/^ *"node": "\([0-9.]*\)".*/\1/p' package.json)
  got=$(node_modules/.bin/node --version)
  [[ $got == "v$want" ]] || {
    echo "node_modules/.bin/node is $got, not v$want: does npm skip install scripts here (ignore-scripts)?"
    return 1
  }
  stamp node_wants node_modules/.setup
}

install_python() {
  python3 -m venv --clear .venv
  .venv/bin/python3 -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes -r requirements-dev.lock
  mend_first_lines
  stamp python_wants .venv/.setup
}

# install_checkov keeps apart what checkov needs: it names exact versions of
# packages, the AWS SDK among them, that the other tools have newer.
install_checkov() {
  python3 -m venv --clear .venv-checkov
  .venv-checkov/bin/python3 -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes -r requirements-checkov.lock
  stamp checkov_wants .venv-checkov/.setup
}

# mend_first_lines lets a shell start the scripts of old-style packages, the
# aws command among them: the kernel refuses a "#!" line with a space in it or
# one that is too long. pip does the same for the scripts it writes itself.
mend_first_lines() {
  local python=$ROOT/.venv/bin/python3 file first
  [[ $python == *[[:space:]]* || ${#python} -gt 120 ]] || return 0
  for file in .venv/bin/*; do
    first=
    [[ -d $file ]] || IFS= read -r first 2>/dev/null <"$file" || true
    [[ $first == "#!$python" ]] || continue
    {
      printf "#!/bin/sh\n'''exec' \"%s\" \"\$0\" \"\$@\"\n' '''\n" "$python"
      tail -n +2 "$file"
    } >"$STATE/script"
    cat "$STATE/script" >"$file"
  done
  rm -f "$STATE/script"
}

# go.mod's modules include the linters: they are tools of the module.
install_go() {
  go mod download
  stamp go_wants "$STATE/go.stamp"
}

install_programs() {
  export DEBIAN_FRONTEND=noninteractive
  keep_services_off
  apt-get -o DPkg::Lock::Timeout=600 update
  apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "${PACKAGES[@]}"
}

# keep_services_off stops a package from starting its server while it is
# installed: invoke-rc.d(8) asks this program first, and 101 forbids it.
# Containers mostly have one already. It goes when the step ends, in report.
keep_services_off() {
  local policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}
  [[ ! -e $policy ]] || return 0
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  POLICY=$policy
}

stamp() {
  "$1" >"$2.new"
  mv "$2.new" "$2"
}

main "$@"
