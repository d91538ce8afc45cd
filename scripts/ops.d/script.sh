#!/usr/bin/env bash
#/ Usage: scripts/ops script NAME
#/
#/ Prints a host's script as one file, for a server that has nothing of this.
#/
#/ It is what the SSM document holds: the script with its libraries in it, by the
#/ same program. Copy it, say, to the old server, and run it there as root:
#/
#/   scripts/ops script backup-gitlab >backup-gitlab.sh
#/
#/ NAME is that of a file in scripts/server or scripts/runner, without .sh.
#/
#/ OPTIONS:
#/   --dry-run   Print the command, and do nothing else.
#/   --yes       Accepted as everywhere; nothing is asked here.
#/   -h, --help  Show this message.
#/
#/ Exit status: 0 printed; 1 failed; 2 wrong use.

# Runs on operators' laptops, macOS too: keep it to bash 3.2.
set -Eeuo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$ROOT/scripts/lib/common.sh"

main() {
  local name='' dry_run='' file
  while (($#)); do
    case $1 in
      -h | --help)
        sed -n 's/^#\/ \{0,1\}//p' "$0"
        exit
        ;;
      --dry-run) dry_run=1 ;;
      --yes) ;;
      -*) bad_usage "unknown argument '$1'" ;;
      *)
        [[ -z $name ]] || bad_usage "one name only, got '$name' and '$1'"
        name=$1
        ;;
    esac
    shift
  done
  cd "$ROOT" || exit
  file=scripts/server/$name.sh
  [[ -f $file ]] || file=scripts/runner/$name.sh
  [[ $name =~ ^[a-z][a-z-]*$ && -f $file ]] ||
    bad_usage "no script '$name': want one of $(cd scripts && printf '%s ' server/*.sh runner/*.sh | sed 's/\(server\|runner\)\///g; s/\.sh//g')"
  if [[ -n $dry_run ]]; then
    echo "go run ./internal/script/print $file"
    return
  fi
  command -v go >/dev/null || bad_usage "not installed: go"
  go run ./internal/script/print "$file"
}

main "$@"
