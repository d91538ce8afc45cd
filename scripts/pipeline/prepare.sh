#!/usr/bin/env bash
#/ Usage: scripts/pipeline/prepare.sh
#/
#/ Installs what scripts/setup.sh expects of a machine and a Go image has not:
#/ Node with npm, and Python's venv. Needs root on Debian where something is missing.

set -Eeuo pipefail

main() {
  if [[ ${1-} == -h || ${1-} == --help ]]; then
    sed -n 's/^#\/ \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit
  fi
  local packages=()
  command -v npm >/dev/null || packages+=(nodejs npm)
  python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
  ((${#packages[@]})) || return 0
  export DEBIAN_FRONTEND=noninteractive
  apt-get -o DPkg::Lock::Timeout=600 update
  apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "${packages[@]}"
}

main "$@"
