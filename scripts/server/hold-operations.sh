#!/usr/bin/env bash
#/ Usage: hold-operations.sh
#/
#/ Lets no operation begin on this host for two hours, or until
#/ release-operations.sh or a restart: security updates come first, and
#/ they may restart the host. While an operation or an installation is under way
#/ it fails, and no update is made. On Amazon Linux 2023 it lets updates come of
#/ the newest release, unless somebody has chosen one. It runs on the server and on
#/ the runner's host, before the weekly updates. Run it as root.
#/
#/ OPTIONS:
#/   -h, --help  Show this message.
#/
#/ Exit status: 0 none is under way, and none will be; 1 one is; 2 wrong use.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/host.sh"
# shellcheck source=scripts/lib/operation.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/operation.sh"
# shellcheck source=scripts/lib/held.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/held.sh"

main() {
  local unit
  case ${1-} in
    '') ;;
    -h | --help)
      usage
      exit
      ;;
    *) bad_usage "unknown argument '$1'" ;;
  esac
  ((EUID == 0)) || die "run this as root"
  need flock systemctl systemd-run
  flock --nonblock "$INSTALL_LOCK" true || die "an installation is under way on this host: nothing was done"
  # Who is under way is told, and who comes now finds these words.
  exclusive security-updates
  # The unit takes the lock over. Who comes in between has it, and is let go on.
  exec 9>&-
  unit=gitlab-codedeploy-security-updates-$(new_run_id)
  systemd-run --unit "$unit" --description "gitlab-codedeploy: no operation during security updates" \
    flock --nonblock "$OPERATION_LOCK" sleep "$HOLD_SECONDS" || die "systemd-run could not start $unit"
  printf '%s\n' "$unit" | write_file "$HELD" 600
  wait_for 10 is_held || die "another operation began at the same moment: nothing was done"
  take_newest_release
  log "no operation begins here for $HOLD_SECONDS s, unless the host restarts before"
}

# take_newest_release: an image of Amazon Linux 2023 is tied to its own release,
# whose packages never change.
# https://docs.aws.amazon.com/linux/al2023/ug/deterministic-upgrades-usage.html
take_newest_release() {
  [[ $(amazon_linux) == 2023 ]] || return 0
  if [[ -e /etc/dnf/vars/releasever ]]; then
    log "updates come of the release that /etc/dnf/vars/releasever names: $(</etc/dnf/vars/releasever)"
  else
    write_file /etc/dnf/vars/releasever 644 <<<latest
  fi
}

# is_held is true when the unit has the lock. It looks at the unit last: a
# unit that did not get the lock ends.
is_held() { ! flock --nonblock "$OPERATION_LOCK" true && systemctl is-active --quiet "$(<"$HELD")"; }

main "$@"
