# For the scripts that operators start: an operation runs on by itself,
# whatever becomes of the session or the laptop that started it. Source it
# after common.sh and host.sh, do not run it. Keep it to bash 4.2, like common.sh.
#
# A script ends with `operate NAME main "$@"` instead of `main "$@"`:
#
# - Run by hand, main runs in the foreground.
# - As an SSM document, with the RUN_ID that the document exports, the script
#   starts a copy of itself as a systemd unit and returns at once. RUN_ID is made
#   by who starts it, so that a command that is sent twice starts nothing twice;
#   "nightly" makes one here. The hosts' program shows what becomes of it.
#   The copy is alone in its folder: only a document's script, which has its
#   libraries in it, can be run like this.
#
# main keeps to this: progress on stderr (log, die), the result on stdout, once
# and at the end, as one line of JSON or a table for people; exit status 0
# done, 1 failed, 2 wrong use. No secret in arguments, log or result:
# refuse_trace comes first in every script that touches one. Whoever changes
# the host calls `exclusive NAME` after checking its arguments.
#
# A run is the folder OPERATION_RUNS/<RUN_ID>, readable by root only:
#   operation  the name           started  its time, UTC
#   script     what is run        unit     its systemd unit, once that was started
#   log        stderr             result   stdout
#   status     the exit status: written last, so that a run without one is
#              under way, or was lost when its unit is not active
# shellcheck shell=bash

# Both for tests.
OPERATION_RUNS=${OPERATION_RUNS:-/var/lib/gitlab-codedeploy/runs}
OPERATION_LOCK=${OPERATION_LOCK:-/run/gitlab-codedeploy.lock}

# How many runs are kept, the newest ones.
OPERATION_KEPT=50

# A run's id sorts by time and cannot be guessed into another one's: such as
# 20261124T185436-0a1b2c3d.
RUN_ID_PATTERN='[0-9]{8}T[0-9]{6}-[0-9a-f]{8}'

# operate NAME FUNCTION ARGUMENT… runs the function, or starts the unit that
# does. Nothing may come after it in the script.
operate() {
  local operation=$1 function=$2
  shift 2
  if [[ -n ${OPERATION_UNIT-} ]]; then
    supervise "$OPERATION_UNIT"
  elif [[ -n ${OPERATION_RUN-} || -z ${RUN_ID-} ]]; then
    "$function" "$@"
  else
    start_operation "$operation"
  fi
}

# exclusive NAME lets one operation at a time change the host; a second one
# ends at once. The lock is held until the script ends, on descriptor 9:
# commands that start services get 9>&-, for a service that inherits it would
# hold it for ever. (logged, of host.sh, does that.)
exclusive() {
  local holder
  exec 9>>"$OPERATION_LOCK"
  if ! flock --nonblock 9; then
    holder=$(head -n 1 "$OPERATION_LOCK") || true
    die "${holder:-another operation} is under way on this host: nothing was done"
  fi
  printf '%s (%s), since %s,\n' "$1" "$(run_or_process)" "$(date -u +%FT%TZ)" >"$OPERATION_LOCK"
}

# run_or_process tells one run from another, for people.
run_or_process() {
  if [[ -n ${OPERATION_RUN-} ]]; then echo "run $OPERATION_RUN"; else echo "process $$"; fi
}

# start_operation NAME makes the folder of the run and starts its unit.
start_operation() {
  local operation=$1 run=$RUN_ID folder unit message status=0
  ((EUID == 0)) || die "run this as root"
  need flock systemctl systemd-run
  [[ $run != nightly ]] || run=$(new_run_id)
  [[ $run =~ ^$RUN_ID_PATTERN$ ]] || bad_usage "RUN_ID: got '$run', want such as 20261124T185436-0a1b2c3d, or nightly"
  folder=$OPERATION_RUNS/$run
  # The names of units are unique, so that one that failed stands in nobody's way.
  unit=gitlab-codedeploy-$operation-$run

  claim_run "$operation" "$folder" || {
    echo "run $run was started already"
    return
  }
  forget_old_runs
  # What --wait and --pipe would do, which systemd 219 lacks, is done by
  # supervise. The arguments stand in the script: the document sets them there.
  message=$(systemd-run --unit "$unit" --description "gitlab-codedeploy: $operation" \
    --setenv "OPERATION_UNIT=$run" --setenv "HOME=${HOME:-/root}" --setenv "PATH=$PATH" \
    "$BASH" "$folder/script" 2>&1 </dev/null) || status=$?
  if ((status != 0)); then
    printf '%s\n' "$message" >>"$folder/log"
    end_run "$folder" 1
    die "systemd-run could not start $unit: $message"
  fi
  printf '%s\n' "$unit" >"$folder/unit"
  echo "run $run of $operation is started"
}

# new_run_id prints an id for a run that begins now.
new_run_id() { printf '%s-%s\n' "$(date -u +%Y%m%dT%H%M%S)" "$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')"; }

# claim_run NAME FOLDER makes the folder with all it needs in one step, or
# fails when there is one: then this run was started before.
claim_run() {
  local new=$2.new.$$
  # The document's file goes when the document ends, so the unit needs a copy.
  (
    umask 077
    mkdir -p "$OPERATION_RUNS" "$new"
    cp "$0" "$new/script"
    printf '%s\n' "$1" >"$new/operation"
    date -u +%FT%TZ >"$new/started"
    : >"$new/log"
    : >"$new/result"
  ) || die "cannot make $new"
  # Renaming onto a folder that holds something fails.
  mv -T "$new" "$2" 2>/dev/null && return
  rm -rf "$new"
  [[ -e $2/operation ]] || die "cannot make $2"
  return 1
}

# forget_old_runs removes all but the newest runs, and none that is under way.
forget_old_runs() {
  local run kept=0
  # By the host's own time: ids carry that of the laptops.
  while IFS= read -r run; do
    ((++kept > OPERATION_KEPT)) || continue
    [[ -e $OPERATION_RUNS/$run/status ]] || ! is_active "$OPERATION_RUNS/$run" || continue
    rm -rf "${OPERATION_RUNS:?}/$run"
  done < <(runs_by_age)
}

# runs_by_age prints the ids of all runs, the newest first.
runs_by_age() {
  local file
  for file in "$OPERATION_RUNS"/*/started; do
    [[ ! -e $file ]] || printf '%s\n' "$file"
  done | xargs -r -d '\n' ls -1t -- | sed 's|/started$||; s|.*/||' | grep -Ex "$RUN_ID_PATTERN" || true
}

# is_active FOLDER is true when the run's unit lives.
is_active() {
  local unit
  [[ -e $1/unit ]] || return 1
  read -r unit <"$1/unit"
  systemctl is-active --quiet "$unit"
}

# supervise RUN is the unit: it runs the script once more, keeps what that
# prints, and notes how it ended. A process of its own, so that a script that is
# killed has a status, too.
supervise() {
  local folder=$OPERATION_RUNS/$1 status=0
  # systemd stops all processes of a unit at once. This one waits for the
  # script; an ignored signal would be ignored by the script as well.
  trap : HUP INT TERM
  env -u OPERATION_UNIT OPERATION_RUN="$1" "$BASH" "$folder/script" \
    </dev/null >"$folder/result" 2>>"$folder/log" || status=$?
  end_run "$folder" "$status"
}

end_run() {
  printf '%s\n' "$2" >"$1/status.new"
  mv "$1/status.new" "$1/status"
}
