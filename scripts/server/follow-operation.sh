#!/usr/bin/env bash
#/ Usage: follow-operation.sh --run <id|operation> [--log-from <n>] [--result-from <n>] [--wait <seconds>]
#/
#/ Shows how a run that operation.sh started is getting on: what its log says
#/ from a place on, and at its end the result. It returns as soon as there is
#/ something new. It changes nothing. Run it as root.
#/
#/ OPTIONS:
#/   --run <id|operation>  The run's id, or an operation, such as backup, for
#/                         the newest run of it.
#/   --log-from <n>        Where to go on in the log: bytes. Default: 0.
#/   --result-from <n>     Where to go on in the result: bytes. Default: 0.
#/   --wait <seconds>      Longest time to wait for something new. Default: 0.
#/   -h, --help            Show this message.
#/
#/ The first line on stdout is one JSON object:
#/   {"run", "operation", "started", "state", "exit", "log", "result", "more"}
#/ state is running, ended, lost (it ended without a status: killed, or the host
#/ was restarted), or none (there is no such run); exit is its exit status or
#/ null; log and result are where to go on; more is true when there is more to
#/ read at once. Then come lines of the log and, when all of that is out, of the
#/ result, each after two characters: "| " a line of the log, "> " of the
#/ result; "|+" and ">+" a piece of one that goes on. Control characters but
#/ tabs are "?", carriage returns end a line. It prints 20,000 bytes at most, for
#/ Systems Manager keeps 24,000 characters.
#/
#/ Exit status: 0 shown, 2 wrong use.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/host.sh"
# shellcheck source=scripts/lib/operation.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/operation.sh"

# Bytes on stdout but for the first line, which has some 250.
FOLLOW_BYTES=19700
# Seconds between two looks.
FOLLOW_POLL=${FOLLOW_POLL:-0.5}
# A line of the log that gets this long is shown before its end.
LONG_LINE=2000

main() {
  parse_arguments "$@"
  find_run
  if [[ -z $RUN ]]; then
    print_state none '' '' null false
    return
  fi
  wait_for_news
  BODY=$(mktemp)
  trap 'rm -f "$BODY"' EXIT
  read_pieces
  print_state "$RUN_STATE" "$(<"$FOLDER/operation")" "$(<"$FOLDER/started")" "$EXIT" "$MORE"
  cat "$BODY"
}

parse_arguments() {
  local wait=0
  WANTED='' LOG_FROM=0 RESULT_FROM=0
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      --run) WANTED=${2-} ;;
      --log-from) LOG_FROM=${2-} ;;
      --result-from) RESULT_FROM=${2-} ;;
      --wait) wait=${2-} ;;
      *) bad_usage "unknown argument '$1'" ;;
    esac
    shift $(($# > 1 ? 2 : 1))
  done
  check_argument --run "$WANTED" "$RUN_ID_PATTERN|[a-z][a-z-]{0,40}" 'the id of a run, or an operation'
  check_argument --log-from "$LOG_FROM" '[0-9]{1,12}' 'a number of bytes'
  check_argument --result-from "$RESULT_FROM" '[0-9]{1,12}' 'a number of bytes'
  check_argument --wait "$wait" '[0-9]{1,2}' 'seconds, at most 99'
  # A number that begins with 0 would be octal.
  LOG_FROM=$((10#$LOG_FROM)) RESULT_FROM=$((10#$RESULT_FROM))
  DEADLINE=$((SECONDS + 10#$wait))
}

# find_run sets RUN to the id and FOLDER to its folder, or RUN to nothing.
find_run() {
  local run
  RUN='' FOLDER=
  for run in $(runs_by_age); do
    if [[ $run == "$WANTED" || $(<"$OPERATION_RUNS/$run/operation") == "$WANTED" ]]; then
      RUN=$run FOLDER=$OPERATION_RUNS/$run
      return
    fi
  done
}

# wait_for_news returns when the run has ended, when its log has something
# new, or when it is time to answer anyway.
wait_for_news() {
  while :; do
    read_state
    if [[ $RUN_STATE != running ]] || has_news || ((SECONDS >= DEADLINE)); then
      return
    fi
    sleep "$FOLLOW_POLL"
  done
}

# read_state sets RUN_STATE and EXIT.
read_state() {
  RUN_STATE=running EXIT=null
  [[ -e $FOLDER/status ]] || ! is_under_way || return 0
  # Looked for again, since it may have been written before the unit went.
  if [[ -e $FOLDER/status ]]; then
    RUN_STATE=ended EXIT=$(<"$FOLDER/status")
  else
    RUN_STATE=lost
  fi
}

# is_under_way is true while the unit lives, and for a minute when there is no
# unit yet: systemd-run comes after the folder.
is_under_way() {
  if [[ -e $FOLDER/unit ]]; then
    is_active "$FOLDER"
  else
    (($(date +%s) - $(stat -c %Y "$FOLDER/started") < 60))
  fi
}

has_news() {
  (($(size_of "$FOLDER/log") - LOG_FROM >= LONG_LINE || $(rest "$FOLDER/log" "$LOG_FROM" | wc -l) > 0))
}

# read_pieces writes what is to be shown to the file BODY, moves LOG_FROM and
# RESULT_FROM on, and sets MORE.
read_pieces() {
  local final='' log_size result_size
  [[ $RUN_STATE == running ]] || final=1
  # Before they are read: what is written meanwhile is for the next time.
  log_size=$(size_of "$FOLDER/log") result_size=$(size_of "$FOLDER/result")
  LEFT=$FOLLOW_BYTES MORE=false
  read_piece "$FOLDER/log" "$LOG_FROM" '|' "$final"
  LOG_FROM=$NEXT
  [[ -n $final ]] || return 0
  # A lost run has no result, whatever it began to print.
  if ((LOG_FROM < log_size)); then
    MORE=true
  elif [[ $RUN_STATE == ended ]]; then
    read_piece "$FOLDER/result" "$RESULT_FROM" '>' 1
    RESULT_FROM=$NEXT
    ((RESULT_FROM >= result_size)) || MORE=true
  fi
}

# read_piece FILE FROM MARK FINAL appends to BODY what fits into LEFT bytes, and
# sets NEXT to where to go on. A line that is not ended yet is left for the
# next time, unless it is long or the last one (FINAL).
read_piece() {
  local size counts
  NEXT=$2
  size=$(($(size_of "$1") - NEXT))
  ((size > 0)) || return 0
  # What is replaced keeps its length, so that places in the file stay right.
  # The characters of two and three bytes are control characters, too, and
  # those that turn the direction of text around.
  counts=$(rest "$1" "$NEXT" | LC_ALL=C awk -v size="$((size < FOLLOW_BYTES ? size : FOLLOW_BYTES))" \
    -v left="$LEFT" -v mark="$3" -v final="$4" -v long="$LONG_LINE" -v body="$BODY" '
    over { next }
    {
      gsub(/\302[\200-\237]/, "??")
      gsub(/\342\200[\250-\256]|\342\201[\246-\251]/, "???")
      whole = read + length($0) + 1 <= size
      if (whole && length($0) + 3 <= left) {
        printf "%s %s\n", mark, $0 >>body
        read += length($0) + 1
        left -= length($0) + 3
        next
      }
      # The beginning of a line that is not whole, or longer than all there is room for.
      over = 1
      if ((whole && read > 0) || !(whole || final || length($0) >= long)) next
      cut = length($0) + 3 <= left ? length($0) : left - 3
      while (cut > 0 && substr($0, cut + 1, 1) ~ /[\200-\277]/) cut--
      if (cut <= 0) next
      printf "%s+%s\n", mark, substr($0, 1, cut) >>body
      read += cut
      left -= cut + 3
    }
    END { print read + 0, left }')
  read -r size LEFT <<<"$counts"
  NEXT=$((NEXT + size))
}

# rest FILE FROM prints the file from there on, at most FOLLOW_BYTES, with
# carriage returns as line ends and without control characters.
rest() {
  # tail fails when head has enough.
  tail -c "+$(($2 + 1))" "$1" | head -c "$FOLLOW_BYTES" |
    LC_ALL=C tr '\r\000-\010\013\014\016-\037\177' '\n?' || true
}

size_of() { stat -c %s "$1"; }

# print_state RUN_STATE OPERATION STARTED EXIT MORE prints the first line.
print_state() {
  printf '{"run":"%s","operation":"%s","started":"%s","state":"%s","exit":%s,"log":%d,"result":%d,"more":%s}\n' \
    "$RUN" "$2" "$3" "$1" "$4" "$LOG_FROM" "$RESULT_FROM" "$5"
}

main "$@"
