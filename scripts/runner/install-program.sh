#!/usr/bin/env bash
#/ Usage: install-program.sh --name <program> --sha256 <hex> --bucket <name> --key <key> --region <region>
#/
#/ Brings one of the project's programs into each job of this host: fetches the
#/ build of that hash when it is not here, checks it, puts it into
#/ /opt/gitlab-codedeploy/bin, and lets GitLab Runner mount that folder read-only
#/ into the containers of jobs. A job that runs goes on with what it has begun.
#/ Where all of it is done already, nothing is changed. Run it as root.
#/
#/ OPTIONS:
#/   --name <program>   The file's name, such as artifact.
#/   --sha256 <hex>     Hash of the build that is wanted.
#/   --bucket <name>    Where it is published, and
#/   --key <key>        by which key.
#/   --region <region>  AWS region of the bucket.
#/   -h, --help         Show this message.
#/
#/ ENVIRONMENT (seconds; for tests): FETCH_TIMEOUT, for tries to fetch it. Default: 300.
#/
#/ Exit status: 0 done, 1 failed, 2 wrong use.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/host.sh"
# shellcheck source=scripts/lib/operation.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/operation.sh"
# shellcheck source=scripts/lib/program.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/program.sh"
# shellcheck source=scripts/lib/runner.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/runner.sh"

main() {
  parse_arguments "$@"
  ((EUID == 0)) || die "run this as root"
  need aws awk cut flock grep sha256sum timeout
  only_one_run gitlab-codedeploy-program
  fetch_program "$NAME" "$SHA256" "$BUCKET" "$KEY" "$REGION"
  offer_program
  forget_other_builds "$NAME" "$SHA256"
  # Registration and removal of a runner write the same file.
  jobs_have_programs || (
    exclusive install-program
    give_jobs_programs
  )
  log "jobs have $NAME $SHA256"
}

parse_arguments() {
  NAME='' SHA256='' BUCKET='' KEY='' REGION=''
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      --name) NAME=${2-} ;;
      --sha256) SHA256=${2-} ;;
      --bucket) BUCKET=${2-} ;;
      --key) KEY=${2-} ;;
      --region) REGION=${2-} ;;
      *) bad_usage "unknown argument '$1'" ;;
    esac
    shift $(($# > 1 ? 2 : 1))
  done
  check_program_arguments "$NAME" "$SHA256" "$BUCKET" "$KEY" "$REGION"
}

# offer_program puts the program where jobs have their mount. The folder stays the
# same one, so that jobs see the new file, and the old one never is away: a link
# of the folder would be followed once, when a container is made.
offer_program() {
  local offered=$PROGRAMS/bin/$NAME
  [[ ! $offered -ef $PROGRAM ]] || return 0
  # One that is for another processor, or broken, is no reason to take the old away.
  timeout 60 "$PROGRAM" --help >/dev/null 2>&1 </dev/null 9>&- || die "$PROGRAM does not run on this host ($(uname -m))"
  (umask 022 && mkdir -p "$PROGRAMS/bin")
  ln -f "$PROGRAM" "$offered.new"
  mv -fT "$offered.new" "$offered"
}

main "$@"
