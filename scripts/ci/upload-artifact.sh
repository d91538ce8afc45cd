#!/bin/sh
# Starts the program that packs a folder and uploads it: see --help, and check
# and status. It is looked for in ARTIFACT_PROGRAM, where the runner's host has
# it, and on PATH. Any POSIX shell will do; copy this file into any repository.
set -eu

if [ -n "${ARTIFACT_PROGRAM:-}" ]; then
  program=$ARTIFACT_PROGRAM
elif [ -x /opt/gitlab-codedeploy/bin/artifact ]; then
  program=/opt/gitlab-codedeploy/bin/artifact
else
  program=$(command -v artifact || :)
fi

if [ ! -f "$program" ] || [ ! -x "$program" ]; then
  cat >&2 <<END
error: there is no program ${program:-artifact} here; nothing was uploaded.
It was looked for in ARTIFACT_PROGRAM, /opt/gitlab-codedeploy/bin and PATH.
  On the GitLab runner's host a deploy of gitlab-codedeploy brings it into each job.
  On other runners: build it by "make artifact" in a checkout of gitlab-codedeploy,
  and copy it into the job's image (docs/operations.md, The program of jobs).
END
  exit 2
fi

case ${1:-} in
  '' | -*) set -- upload ${1+"$@"} ;;
esac
exec "$program" "$@"
