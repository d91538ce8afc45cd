#!/usr/bin/env bash
#/ Usage: scripts/pipeline/review-notes.sh
#/
#/ Writes the note about what a deploy would change into each open merge request of
#/ the default branch. It is for a scheduled pipeline of that branch: what compares,
#/ and what holds the token, is then the default branch's. From the branch under
#/ review come only the templates that its job "synth" has made, as data.
#/
#/ Reads the profiles of aws-profiles.sh review, what post-note.sh reads but for
#/ CI_MERGE_REQUEST_IID, ASSEMBLY (the folder of the synthesis) and CI_DEFAULT_BRANCH.
#/ Each note is also left as review-notes/<number>.md.
#/ Exit status: 0 done; 1 a note could not be written, and the others were; 2
#/ something is missing.

set -Eeuo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/pipeline/common.sh
source "$ROOT/scripts/pipeline/common.sh"

# Beyond these somebody should close merge requests, or nobody reads templates.
MAX_MERGE_REQUESTS=100
MAX_BYTES=20000000

main() {
  if [[ ${1-} == -h || ${1-} == --help ]]; then
    sed -n 's/^#\/ \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit
  fi
  local name missing='' iid status=0
  for name in REVIEW_NOTE_TOKEN ENVIRONMENT ASSEMBLY CI_API_V4_URL CI_PROJECT_ID CI_DEFAULT_BRANCH; do
    [[ -n ${!name-} ]] || missing+=" $name"
  done
  [[ -z $missing ]] || bad_usage "not set:$missing"
  need curl node
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/review-notes.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  # Not for what compares the templates.
  TOKEN=$REVIEW_NOTE_TOKEN
  export -n REVIEW_NOTE_TOKEN
  mkdir -p review-notes

  get "merge_requests?state=opened&per_page=$MAX_MERGE_REQUESTS&target_branch=$(node -p 'encodeURIComponent(process.argv[1])' "$CI_DEFAULT_BRANCH")" "$WORK/open" ||
    die "reading the open merge requests: $REASON. REVIEW_NOTE_TOKEN needs scope api and role Reporter"
  answer "$WORK/open" 'answer.map(m => m.iid).join("\n")' >"$WORK/iids"
  while read -r iid; do
    [[ -n $iid ]] || continue
    note_of "$iid" || {
      log "error: merge request $iid: $REASON"
      status=1
    }
  done <"$WORK/iids"
  exit "$status"
}

# note_of IID is 0 also for a merge request that has no templates yet.
note_of() {
  local pipeline job file
  REASON="what it has made cannot be compared; the reason stands above"
  rm -rf "$WORK/assembly"
  mkdir "$WORK/assembly"
  get "merge_requests/$1" "$WORK/one" || return 1
  # Another project's: a fork's pipeline is for the fork's own runners and tokens.
  pipeline=$(answer "$WORK/one" 'answer.head_pipeline?.project_id === Number(process.argv[2]) ? answer.head_pipeline.id : ""' "$CI_PROJECT_ID")
  [[ $pipeline =~ ^[0-9]+$ ]] || {
    log "merge request $1 has no pipeline of this project"
    return 0
  }
  get "pipelines/$pipeline/jobs?scope[]=success&per_page=100" "$WORK/jobs" || return 1
  job=$(answer "$WORK/jobs" 'answer.find(j => j.name === "synth")?.id ?? ""')
  [[ $job =~ ^[0-9]+$ ]] || {
    log "merge request $1 has no templates: synth of its pipeline $pipeline has not succeeded"
    return 0
  }
  for file in manifest.json "GitLab-$ENVIRONMENT.template.json" "Deploy-$ENVIRONMENT.template.json"; do
    get "jobs/$job/artifacts/$ASSEMBLY/$file" "$WORK/assembly/$file" || return 1
  done
  "$ROOT/scripts/ops" diff --env "$ENVIRONMENT" --profile-a gitlab-account --profile-b deploy-account --assembly "$WORK/assembly" >"$WORK/note" || return 1
  {
    cat "$WORK/note"
    printf '\nCompared by the tool of %s. The templates are those that job %s of this branch has made.\n' "\`$CI_DEFAULT_BRANCH\`" "$job"
  } >"review-notes/$1.md"
  REASON="its note could not be written; the reason stands above"
  REVIEW_NOTE_TOKEN=$TOKEN CI_MERGE_REQUEST_IID=$1 "$ROOT/scripts/pipeline/post-note.sh" "review-notes/$1.md"
}

# get PATH FILE reads from the project's API. The token goes through a pipe:
# arguments are there for every process to see.
get() {
  local status
  status=$(curl --silent --show-error --globoff --max-time 60 --max-filesize "$MAX_BYTES" --retry 3 --header @- --output "$2" --write-out '%{http_code}' \
    "$CI_API_V4_URL/projects/$CI_PROJECT_ID/$1" <<<"PRIVATE-TOKEN: $TOKEN") || {
    REASON="$1: no answer, or more than $MAX_BYTES bytes"
    return 1
  }
  [[ $status == 200 ]] || {
    REASON="$1: GitLab answers $status"
    return 1
  }
}

# answer FILE EXPRESSION [ARGUMENT ...] evaluates JavaScript on GitLab's answer.
answer() {
  local file=$1 expression=$2
  shift 2
  node -e "
    const answer = JSON.parse(require('fs').readFileSync(process.argv[1], 'utf8'));
    console.log($expression);
  " "$file" "$@"
}

main "$@"
