# Shared by the scripts that install software on a host of ours; source it
# after common.sh, do not run it. Keep it to bash 4.2, like common.sh.
# shellcheck shell=bash

# One budget for the whole run, in seconds. It ends before the SSM document's
# own hour does, so that a run that takes too long can still say so.
INSTALL_TIMEOUT=${INSTALL_TIMEOUT:-3300}
# Seconds between two looks at something that is waited for.
INSTALL_POLL=${INSTALL_POLL:-5}

# Everything that the package manager and the packages say: Run Command keeps
# only the first 24,000 characters of it.
# https://docs.aws.amazon.com/systems-manager/latest/userguide/rc-console.html
INSTALL_LOG=/var/log/gitlab-codedeploy-install.log

# usage prints the "#/" header of the running script.
usage() { sed -n 's/^#\/ \{0,1\}//p' "$0"; }

# check_argument FLAG VALUE PATTERN MEANING ends the script when the value of
# an argument does not match. The C locale keeps [a-z] to those 26 letters.
check_argument() {
  local LC_ALL=C
  [[ $2 =~ ^($3)$ ]] || bad_usage "$1: got '$2', want $4"
}

# yes_or_no FLAG VALUE prints "yes", or nothing for "no".
yes_or_no() {
  check_argument "$1" "$2" 'yes|no' 'yes or no'
  [[ $2 == no ]] || echo yes
}

# check_repository_url VALUE takes https, and plain http from this very host.
check_repository_url() {
  check_argument --repository-url "$1" \
    'https://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?|http://localhost:[0-9]+(/[A-Za-z0-9._~/-]*)?' \
    'the https address of a package repository'
}

# refuse_trace stops under "set -x", which would print secrets into the log.
refuse_trace() {
  [[ $- != *x* ]] || {
    set +x
    die "tracing (set -x) is on and would print secrets: switch it off"
  }
}

# amazon_linux prints the release, 2 or 2023, or nothing elsewhere.
amazon_linux() {
  awk -F= '{ gsub(/"/, "", $2) } $1 == "ID" { id = $2 } $1 == "VERSION_ID" { release = $2 }
    END { if (id == "amzn") print release }' /etc/os-release
}

seconds_left() {
  local left=$((INSTALL_TIMEOUT - SECONDS))
  printf '%s\n' "$((left > 1 ? left : 1))"
}

# wait_for SECONDS COMMAND… repeats the command until it succeeds; it fails
# when the seconds or the whole run's budget are over.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline && SECONDS < INSTALL_TIMEOUT)) || return 1
    sleep "$INSTALL_POLL"
  done
}

# only_one_run lets a second run wait for the first one. Commands that start
# services get 9>&-: a service that inherits the lock would hold it for ever.
only_one_run() {
  exec 9>"/run/$1.lock"
  flock --exclusive --timeout "$(seconds_left)" 9 || die "another run holds /run/$1.lock and does not end"
}

# write_file PATH MODE puts stdin there in one step, so that a run that dies
# half-way leaves the old file or the new one.
write_file() {
  local path=$1 mode=$2 new=$1.new
  mkdir -p "$(dirname "$path")"
  rm -f "$new"
  (umask 077 && cat >"$new")
  chmod "$mode" "$new"
  mv "$new" "$path"
}

# version_at_least A B is true when the dotted version A is B or newer.
version_at_least() {
  [[ $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$2" ]]
}

# installed_package NAME… prints those of the packages that are installed,
# as name-version-release.
installed_package() {
  # rpm tells the missing ones on stdout, too, and fails for them.
  rpm -q --queryformat '%{NAME}-%{VERSION}-%{RELEASE}\n' "$@" | grep -v ' ' || true
}

# write_repository ID URL writes the repository's file. It stays disabled: a
# plain "yum update" must never move GitLab, which may not skip its stops.
# Packages are checked by their own signature. The metadata's is left out, for
# mirrors seldom have it, and versions are asked for exactly.
write_repository() {
  write_file "/etc/yum.repos.d/$1.repo" 644 <<END
# Written by gitlab-codedeploy; the scripts name this repository when they install.
[$1]
name=$1
baseurl=$2
enabled=0
gpgcheck=1
repo_gpgcheck=0
metadata_expire=300
END
}

# import_keys URL… gives rpm the keys that are there. A key that the host of
# the packages no longer has is left out: if it was the right one, the package
# manager refuses the package.
import_keys() {
  local url key found=
  key=$(mktemp)
  for url in "$@"; do
    if curl --fail --silent --show-error --location --retry 3 --max-time 60 --output "$key" "$url" &&
      rpm --import "$key"; then
      found=1
    else
      log "no package key at $url"
    fi
  done
  rm -f "$key"
  [[ -n $found ]] || die "none of the package keys could be had: $*"
}

# require_available REPOSITORY URL NAME VERSION-RELEASE ends the script when the
# repository does not have exactly that.
require_available() {
  local repository=$1 url=$2 name=$3 version=$4 list
  list=$(timeout "$(seconds_left)" yum -q --disablerepo='*' --enablerepo="$repository" \
    --showduplicates list available "$name") ||
    die "cannot list $name in $url: unreachable, or not a repository with that package"
  # A long name moves the rest to the next line: look at the words, not at columns.
  tr -s ' \t' '\n' <<<"$list" | grep -Fxq -e "$version" -e "0:$version" ||
    die "$name $version is not in $url"
}

# logged COMMAND… runs it with both outputs to stderr and INSTALL_LOG, without
# the secret in REDACT. A failing reconfigure prints its resources, and the
# root password is among their properties.
logged() {
  [[ -e $INSTALL_LOG ]] || install -m 600 /dev/null "$INSTALL_LOG"
  "$@" 2>&1 9>&- </dev/null | redacted | tee -a "$INSTALL_LOG" >&2
}

redacted() {
  local line plain=${REDACT-} quoted
  # As Ruby's inspect would write it.
  quoted=${plain//\\/\\\\}
  quoted=${quoted//\"/\\\"}
  quoted=${quoted//\#/\\#}
  while IFS= read -r line || [[ -n $line ]]; do
    if [[ -n $plain ]]; then
      line=${line//"$plain"/********}
      line=${line//"$quoted"/********}
    fi
    printf '%s\n' "$line"
  done
}

# last_logged prints the last line of INSTALL_LOG that says something.
last_logged() { grep '[^[:space:]]' "$INSTALL_LOG" | tail -n 1; }
