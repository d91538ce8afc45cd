#!/usr/bin/env bash
#/ Usage: scripts/setup.sh [tools | demo | test]
#/
#/ Installs into this checkout what its commands need: the Makefile says how, and
#/ each of its targets runs this first. What is there already is left alone.
#/
#/   tools   Node and its tools, Python tools, Go modules. The default.
#/   demo    Also rsync, without which gitlab-ci-local runs no job.
#/   test    Also checkov, and the programs that only tests use.
#/
#/ The machine has to bring Go, Node with npm, and Python 3 with venv and pip.
#/ Programs are installed by apt-get as root on Debian. Elsewhere a missing rsync
#/ is an error; what only tests use is named, and tests that need it are skipped.
#/ Exit status: 0 done, 1 something is missing or failed, 2 wrong use.

# Keep it to what macOS has, too: bash 3.2, and options that GNU and BSD tools share.
set -Eeuo pipefail

log() { echo "$(date -u +%FT%TZ) set-up: $*" >&2; }

# problems names, one a line, everything of the machine that is missing or too old.
problems() {
  # Without GOTOOLCHAIN=local an older Go answers with the version that it would
  # download (https://go.dev/doc/toolchain).
  want Go "$(sed -n 's/^go //p' go.mod)" https://go.dev/dl env GOTOOLCHAIN=local go version
  want Node 18.0.0 https://nodejs.org node --version
  command -v npm >/dev/null || echo "npm is missing: it comes with Node (https://nodejs.org) or as a package of its own"
  # The highest Requires-Python in requirements-dev.lock, and in requirements-checkov.lock.
  want Python "$([[ $purpose == test ]] && echo 3.11.5 || echo 3.11.0)" https://www.python.org python3 --version
  python3 -c 'import ensurepip, venv' 2>/dev/null || ! command -v python3 >/dev/null ||
    echo "Python's venv or pip is missing: install them (Debian: apt-get install python3-venv)"
  [[ -z $needed ]] || echo "not installed:$missing (Debian: apt-get install$packages)"
}

# want NAME MINIMUM WHERE COMMAND ... looks for a version in what a command prints.
want() {
  local got
  got=$("${@:4}" 2>/dev/null | sed -n 's/^[^0-9]*\([0-9]*\.[0-9.]*\).*/\1/p') || true
  if [[ -z $got ]]; then
    echo "$1 is missing: at least $2 is needed ($3)"
  elif [[ $(printf '%s\n' "$2" "$got" | sort -t . -k 1,1n -k 2,2n -k 3,3n | head -n 1) != "$2" ]]; then
    echo "$1 $got is too old: at least $2 is needed ($3)"
  fi
}

# lock waits on descriptor 9, which all processes of a set-up keep open. macOS has
# no command for flock(2), but its Python has the call.
lock() { python3 -c "import fcntl, signal; signal.alarm(1800); fcntl.flock(9, fcntl.LOCK_EX | $1)" 2>/dev/null; }

purpose=${1:-tools} missing='' packages='' needed=''
case $* in
  '' | tools | demo | test) ;;
  -h | --help) sed -n 's/^#\/ \{0,1\}//p' "${BASH_SOURCE[0]}" && exit ;;
  *) log "error: unknown purpose '$*': want one of tools, demo and test (see --help)" && exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# npm ci replaces node_modules: the Node that runs npm must not live there, and a
# new .venv must not be made by the old one.
for own in "$PWD/node_modules/.bin:" "$PWD/.venv/bin:"; do PATH=${PATH//"$own"/}; done

work=$("${MAKE:-make}" --silent "stale-$purpose")
# Programs and their Debian packages: the demo's; the shells of jobs, a stand-in host
# that packages are really installed on, a network of jobs, a real PostgreSQL, and Ruby.
programs='git=git rsync=rsync'
[[ $purpose != tools ]] || programs=''
[[ $purpose != test ]] || programs+=' dash=dash busybox=busybox dnf=dnf rpm=rpm rpmsign=rpm gpg=gnupg
  createrepo_c=createrepo-c mount=mount unshare=util-linux pgrep=procps
  ip=iproute2 curl=curl systemd-socket-activate=systemd
  pg_ctlcluster=postgresql psql=postgresql-client locale-gen=locales ruby=ruby'
for program in $programs; do
  command -v "${program%=*}" >/dev/null || missing+=" ${program%=*}" packages+=" ${program#*=}"
done
[[ ! "$missing " =~ \ (git|rsync)\  ]] || needed=yes
if [[ -n $missing && $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
  work+=' programs' needed=''
elif [[ -n $missing && -z $needed ]]; then
  log "tests that need one of these are skipped here:$missing"
fi
[[ -n $work$needed ]] || exit 0

problems=$(problems)
[[ -z $problems ]] || { log "error: ${problems//$'\n'/$'\n'error: }" && exit 1; }
mkdir -p .tools/setup
exec 9>.tools/setup/lock
lock fcntl.LOCK_NB || log "waiting for another set-up of this checkout"
lock 0 || { log "error: another set-up of $PWD has not finished in 30 minutes" && exit 1; }
# shellcheck disable=SC2086 # a list of words
QUIET='' PACKAGES=$packages exec scripts/steps.sh run --silent -j4 $work >&2
