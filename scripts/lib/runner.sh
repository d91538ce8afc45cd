# The registration of a GitLab Runner, on its host and on the server. Source it
# after common.sh and host.sh, do not run it. Keep it to bash 4.2, like common.sh.
# shellcheck shell=bash disable=SC2034 # the scripts use them

RUNNER_CONFIG=${RUNNER_CONFIG:-/etc/gitlab-runner/config.toml}

# check_runner_name VALUE takes what may stand in TOML, Ruby and SQL.
check_runner_name() {
  check_argument --name "$1" '[A-Za-z0-9][A-Za-z0-9._-]{0,62}' 'a name of letters, digits and . _ -'
}

# check_token_parameter NAME REGION takes the SSM parameter that a token travels in.
check_token_parameter() {
  check_argument --parameter "$1" '/[A-Za-z0-9/._-]+' 'the name of an SSM parameter, from /'
  check_argument --region "$2" '[a-z]{2}(-[a-z]+)+-[0-9]' 'a region such as ap-northeast-1'
}

check_job_tags() {
  check_argument --tags "$1" '([A-Za-z0-9][A-Za-z0-9._-]*(,[A-Za-z0-9][A-Za-z0-9._-]*)*)?' 'tags of letters, digits and . _ -, with commas between them'
}

# is_registered NAME is true when the configuration has a runner of that name.
is_registered() {
  [[ -e $RUNNER_CONFIG ]] && grep -Fxq "  name = \"$1\"" "$RUNNER_CONFIG"
}

# read_state NAME sets RUNNER_STATE: none, alive, removed (GitLab does not know its
# token), or unknown when GitLab could not be asked. The exit status does not
# tell these apart: verify takes an unreachable GitLab for a living runner.
read_state() {
  RUNNER_STATE=none
  is_registered "$1" || return 0
  VERIFIED=$(timeout 60 gitlab-runner verify --name "$1" 2>&1 </dev/null 9>&-) || true
  case $VERIFIED in
    *'is removed'* | *'is not valid'*) RUNNER_STATE=removed ;;
    *'is alive'* | *'is valid'*) RUNNER_STATE=alive ;;
    *) RUNNER_STATE=unknown ;;
  esac
}

# die_unknown ends the script when GitLab does not answer the runner. The
# message's runner= field is the beginning of its token, which GitLab shows.
die_unknown() {
  die "GitLab cannot be asked about the runner: $(tail -n 1 <<<"$VERIFIED")"
}

# forget_removed NAME takes a runner out of the configuration that GitLab does
# not know: unregister would fail for it, and keep it.
forget_removed() {
  log "GitLab does not know the runner '$1' of this host: it is taken out of $RUNNER_CONFIG"
  logged timeout 60 gitlab-runner verify --delete --name "$1" || true
  ! is_registered "$1" || die "$RUNNER_CONFIG still has the runner '$1': $(last_logged)"
}

# The folder of the project's programs (scripts/lib/program.sh) in each job.
JOB_PROGRAMS=/opt/gitlab-codedeploy/bin
JOB_PROGRAMS_VOLUME=$JOB_PROGRAMS:$JOB_PROGRAMS:ro

# with_job_programs prints the configuration in which the jobs of each runner have
# that folder. It fails for volumes that are not written as gitlab-runner does, in
# one line, and for another mount at that place.
with_job_programs() {
  awk -v volume="\"$JOB_PROGRAMS_VOLUME\"" -v place=":$JOB_PROGRAMS" '
    function end_of_table() { if (docker && !volumes) print "    volumes = [" volume "]"; docker = 0 }
    /^[ \t]*\[/ {
      end_of_table()
      docker = /^[ \t]*\[runners\.docker\][ \t]*(#.*)?$/
      volumes = 0
    }
    docker && /^[ \t]*volumes[ \t]*=/ {
      volumes = 1
      if (!index($0, volume)) {
        if (index($0, place) || !/\][ \t]*$/) { strange = 1; exit 1 }
        if (/\[[ \t]*\][ \t]*$/) sub(/\[[ \t]*\][ \t]*$/, "[" volume "]")
        else sub(/[ \t]*,?[ \t]*\][ \t]*$/, ", " volume "]")
      }
    }
    { print }
    END { if (!strange) end_of_table() }' "$RUNNER_CONFIG"
}

# jobs_have_programs is true as well while no runner is registered:
# register-runner gives the volume to one that will be.
jobs_have_programs() {
  local config
  [[ -e $RUNNER_CONFIG ]] || return 0
  config=$(with_job_programs) && [[ $config == "$(cat "$RUNNER_CONFIG")" ]]
}

# give_jobs_programs changes the configuration of runners that were registered
# before. The service reads it by itself.
give_jobs_programs() {
  local config
  ! jobs_have_programs || return 0
  config=$(with_job_programs) ||
    die "$RUNNER_CONFIG: 'volumes' is not one line, or mounts something else at $JOB_PROGRAMS: write \"$JOB_PROGRAMS_VOLUME\" into it by hand"
  printf '%s\n' "$config" | write_file "$RUNNER_CONFIG" 600
  log "jobs have $JOB_PROGRAMS from now on"
}
