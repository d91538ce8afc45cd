# Reports how a script ended to a CloudFormation wait condition; source it
# after common.sh, do not run it. Keep it to bash 4.2, like common.sh.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-waitcondition.html
# shellcheck shell=bash

SIGNAL_ATTEMPTS=${SIGNAL_ATTEMPTS:-5}
# Seconds between two attempts.
SIGNAL_PAUSE=${SIGNAL_PAUSE:-5}

# report_outcome URL ID makes every way out of the script send SUCCESS, or
# FAILURE with the last log line as the reason, and then end with the script's
# own status. ID is alphanumeric; without a URL only unexpected errors are logged.
report_outcome() {
  local LC_ALL=C # keeps [a-z] to those 26 letters
  local pattern='(https://[A-Za-z0-9.-]+|http://localhost:[0-9]+)/[A-Za-z0-9%?&=._~:/+-]+'
  [[ -z $1 || $1 =~ ^$pattern$ ]] ||
    bad_usage "--signal-url: got '$1', want the presigned URL of a wait condition handle"
  SIGNAL_URL=$1
  SIGNAL_ID=$2
  trap 'unexpected "$?" "$LINENO" "$BASH_COMMAND"' ERR
  trap 'end_with "$?"' EXIT
  trap 'die "stopped by a signal"' HUP INT TERM
}

# unexpected names the command that "set -e" stops at.
unexpected() {
  # A subshell's log line would not reach end_with.
  ((BASH_SUBSHELL == 0)) || return 0
  log "error: line $2 ended with status $1: $3"
}

end_with() {
  local status=$1
  trap - ERR EXIT
  trap '' HUP INT TERM
  set +e
  if [[ -n $SIGNAL_URL ]]; then
    if ((status == 0)); then
      send_signal SUCCESS "${LOG_LAST-}"
    else
      send_signal FAILURE "${LOG_LAST:-ended with status $status}"
    fi
  fi
  exit "$status"
}

# send_signal SUCCESS|FAILURE REASON puts the signal. Not getting it through is
# logged and nothing more: a later run's wait condition is long over.
send_signal() {
  local outcome=$1 text answer attempt
  text=$(json_text "$2")
  for ((attempt = 1; attempt <= SIGNAL_ATTEMPTS; attempt++)); do
    ((attempt == 1)) || sleep "$SIGNAL_PAUSE"
    # The signature covers an empty Content-Type.
    answer=$(curl --silent --show-error --max-time 30 --output /dev/null --write-out '%{http_code}' \
      --request PUT --header 'Content-Type:' \
      --data-binary "{\"Status\":\"$outcome\",\"Reason\":\"$text\",\"UniqueId\":\"$SIGNAL_ID\",\"Data\":\"$text\"}" \
      "$SIGNAL_URL")
    case $answer in
      2??)
        log "signalled $outcome"
        return
        ;;
      4??) break ;;
    esac
  done
  log "warning: could not signal $outcome (last answer: HTTP ${answer:-none})"
}

# json_text prints a text as the inside of a JSON string, cut to 256
# characters and to ASCII.
json_text() {
  printf '%s' "$1" | LC_ALL=C tr '\001-\037\177' ' ' | LC_ALL=C tr '\200-\377' '?' |
    cut -c1-256 | sed 's/[\\"]/\\&/g'
}
