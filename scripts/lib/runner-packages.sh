# The packages of a runner's host: GitLab Runner's and Docker. Source it after
# common.sh and host.sh, do not run it. Keep it to bash 4.2, like common.sh.
# shellcheck shell=bash

# runner_repository VERSION prints the repository that has the package for this
# host: see internal/gitlab/packages.tsv. It is one static binary, the same for
# all distributions.
runner_repository() {
  if ! version_at_least "$1" 15.0; then
    echo el/7
  elif [[ $(amazon_linux) == 2023 ]] && version_at_least "$1" 17.7; then
    echo amazon/2023
  else
    echo amazon/2
  fi
}

# RUNNER_KEYS are the keys that GitLab has signed the runner's packages with:
# the id in the file's name, and the whole fingerprint. Neither these files nor
# the packages since 13.10 have a signature by SHA-1, which Amazon Linux 2023
# would refuse.
# https://docs.gitlab.com/runner/install/linux-repository/#current-gpg-public-key
RUNNER_KEYS='366915F31B487241 30183AC2C4E23A409EFBE7059CE45ABC880721D4
4C80FB51394521E9 09E57083F34CCA94D541BC58A674BF8135DFA027
49F16C5CC3A0F81F 931DA69CFA3AFEBBC97DAA8C6C57C29C6BA75A4E'

# import_runner_keys URL VERSION gives rpm the keys of the version's time: they
# were replaced in June 2021 and in April 2023. URL is the repository's base.
# Their files move to an address of the whole host in 2026. A key that neither
# address has any more is left out: if it was the right one, the package manager
# refuses the package.
import_runner_keys() {
  local base=$1 host from=1 to=2 folder id fingerprint found=
  ! version_at_least "$2" 14.0 || from=2 to=3
  ! version_at_least "$2" 16.0 || from=3
  host=$(sed -E 's|^(https?://[^/]+).*|\1|' <<<"$base")
  need gpg
  folder=$(mktemp -d)
  while read -r id fingerprint; do
    if get_key "$base/gpgkey/runner-gitlab-runner-$id.pub.gpg" "$folder/$id" "$fingerprint" ||
      get_key "$host/gpgkey/runner/$id.pub.gpg" "$folder/$id" "$fingerprint"; then
      rpm --import "$folder/$id" || die "rpm does not take the package key $fingerprint"
      found=1
    fi
  done < <(sed -n "$from,${to}p" <<<"$RUNNER_KEYS")
  rm -rf "$folder"
  [[ -n $found ]] || die "none of the package keys could be had: from $base/gpgkey and $host/gpgkey/runner"
}

# get_key URL FILE FINGERPRINT is true when the file there is that one key. Who
# has the address, or the way to it, could put another one there.
get_key() {
  local found
  curl --fail --silent --show-error --location --retry 3 --max-time 60 --output "$2" "$1" || {
    log "no package key at $1"
    return 1
  }
  # Without the host's own keys and settings; GnuPG 2.0 has no --show-keys.
  mkdir -p "$2.home"
  chmod 700 "$2.home"
  found=$(gpg --batch --quiet --homedir "$2.home" --with-colons --with-fingerprint "$2" 2>/dev/null |
    awk -F: '$1 == "pub" { primary = 1 } $1 == "fpr" && primary { print $10; primary = 0 }') || found=
  [[ $found == "$3" && $(grep -c '^-----BEGIN' "$2") == 1 ]] || {
    log "the package key at $1 is not $3, but ${found:-none}: it is left out"
    return 1
  }
}

# The newest Docker that every runner can talk to. Below 14.10 they speak API
# 1.25, and Docker 29 asks for 1.44; see docs/adr/0025-operating-systems.md.
# https://docs.docker.com/engine/release-notes/29/
DOCKER=25.0

# keep_docker excludes newer ones from every installation and update of this
# host. Patches of 25.0 pass. Amazon Linux 2 has no newer one.
keep_docker() {
  local file=/etc/dnf/dnf.conf newer='docker-2[6-9].*,docker-[3-9][0-9].*'
  [[ $(amazon_linux) == 2023 ]] || return 0
  ! grep -Fq "$newer" "$file" || return 0
  if grep -Eq '^(excludepkgs|exclude)[[:space:]]*=' "$file"; then
    sed -E "s/^(excludepkgs|exclude)[[:space:]]*=.*/&,$newer/" "$file" | write_file "$file" 644
  else
    sed "/^\[main\]/a excludepkgs=$newer" "$file" | write_file "$file" 644
  fi
  grep -Fq "$newer" "$file" || die "cannot exclude Docker after $DOCKER in $file: it has no section [main]"
}
