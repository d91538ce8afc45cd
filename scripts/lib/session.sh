# For the commands of scripts/ops that open a session with Session Manager;
# source it after remote.sh, do not run it. Needs bash 3.2.
# shellcheck shell=bash

PLUGIN_PAGE=https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html

# need_plugin ends the script when the AWS CLI's plug-in for sessions is missing.
need_plugin() {
  [[ -n $DRY_RUN ]] || command -v session-manager-plugin >/dev/null ||
    bad_usage "session-manager-plugin is not installed; without it the AWS CLI opens no session: $PLUGIN_PAGE"
}

# open_session INSTANCE [OPTION …] becomes the session, which has the terminal
# and its signals for itself from then on.
open_session() {
  aws_command ssm start-session --target "$1" "${@:2}"
  if [[ -n $DRY_RUN ]]; then
    print_command
    return
  fi
  trap - EXIT INT TERM HUP
  rm -rf "$WORK"
  exec "${CMD[@]}"
}
