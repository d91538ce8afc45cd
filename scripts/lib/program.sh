# The project's own programs on a host: fetched once, and only the build whose
# hash the document names. Source it after common.sh and host.sh, do not run it.
# Keep it to bash 4.2, like common.sh.
# shellcheck shell=bash disable=SC2034 # the scripts use them

# PROGRAMS/<SHA-256>/<name> is a program. PROGRAMS/bin holds those that jobs get.
PROGRAMS=${PROGRAMS:-/opt/gitlab-codedeploy}
# A new right reaches S3 some seconds after it is given.
FETCH_TIMEOUT=${FETCH_TIMEOUT:-300}

check_program_arguments() { # NAME SHA256 BUCKET KEY REGION
  check_argument --name "$1" '[a-z][a-z0-9-]{0,30}' 'the name of a program'
  check_argument --sha256 "$2" '[0-9a-f]{64}' 'a SHA-256 of 64 hexadecimal digits'
  check_argument --bucket "$3" '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]' 'the name of a bucket'
  check_argument --key "$4" '[A-Za-z0-9][A-Za-z0-9._/-]*' 'the key of an object'
  check_argument --region "$5" '[a-z]{2}(-[a-z]+)+-[0-9]' 'a region such as ap-northeast-1'
}

# fetch_program NAME SHA256 BUCKET KEY REGION sets PROGRAM to the path of that
# build, and fetches it when it is not there, or is not what it was.
fetch_program() {
  PROGRAM=$PROGRAMS/$2/$1
  ! has_hash "$PROGRAM" "$2" || return 0
  log "fetching $1 from s3://$3/$4"
  (umask 022 && mkdir -p "$PROGRAMS/$2")
  FETCHED=$PROGRAM.new
  # What S3 sends is not run before its hash is known, nor left lying about.
  wait_for "$FETCH_TIMEOUT" fetch_once "$FETCHED" "$3" "$4" "$5" || {
    rm -f "$FETCHED"
    die "cannot fetch $1 from s3://$3/$4: ${FETCH_MESSAGE:-no answer}"
  }
  has_hash "$FETCHED" "$2" || {
    FETCH_MESSAGE=$(sha256 "$FETCHED")
    rm -f "$FETCHED"
    die "s3://$3/$4 has the SHA-256 $FETCH_MESSAGE, want $2"
  }
  chmod 755 "$FETCHED"
  mv -fT "$FETCHED" "$PROGRAM"
}

fetch_once() {
  FETCH_MESSAGE=$(timeout 300 aws s3api get-object --region "$4" --bucket "$2" --key "$3" "$1" 2>&1 >/dev/null 9>&-)
}

sha256() { sha256sum <"$1" | cut -d ' ' -f 1; }

has_hash() { [[ -f $1 && $(sha256 "$1") == "$2" ]]; }

# forget_other_builds NAME SHA256 removes the builds of a program but that one. A
# process that runs one of them is not disturbed.
forget_other_builds() {
  local folder
  for folder in "$PROGRAMS"/*/; do
    folder=${folder%/}
    [[ ${folder##*/} =~ ^[0-9a-f]{64}$ && ${folder##*/} != "$2" ]] || continue
    rm -f "$folder/$1" "$folder/$1.new"
    rmdir "$folder" 2>/dev/null || true
  done
}
