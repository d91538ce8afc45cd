#!/usr/bin/env bash
#/ Usage: release-operations.sh
#/
#/ Ends what hold-operations.sh began: operations may begin again. Without it,
#/ as after a restart or a hold that failed, it does nothing. It runs on the server
#/ and on the runner's host, after the weekly security updates. Run it as root.
#/
#/ OPTIONS:
#/   -h, --help  Show this message.
#/
#/ Exit status: 0 done, 1 failed, 2 wrong use.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/host.sh"
# shellcheck source=scripts/lib/held.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/held.sh"

main() {
  case ${1-} in
    '') ;;
    -h | --help)
      usage
      exit
      ;;
    *) bad_usage "unknown argument '$1'" ;;
  esac
  ((EUID == 0)) || die "run this as root"
  [[ -e $HELD ]] || {
    log "operations are not held"
    return
  }
  systemctl stop "$(<"$HELD")" || die "cannot stop $(<"$HELD")"
  rm -f "$HELD"
  log "operations may begin again"
}

main "$@"
