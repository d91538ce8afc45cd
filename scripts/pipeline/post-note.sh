#!/usr/bin/env bash
#/ Usage: scripts/pipeline/post-note.sh FILE
#/
#/ Shows FILE as a note of the merge request that the pipeline belongs to. There
#/ is one note for an environment: the next push changes it instead of adding
#/ another. A longer one than 200,000 characters is cut, and says so.
#/
#/ Reads REVIEW_NOTE_TOKEN (a project access token with scope api and role
#/ Reporter, as a masked variable), ENVIRONMENT, and GitLab's own CI_API_V4_URL,
#/ CI_PROJECT_ID and CI_MERGE_REQUEST_IID. A job's own CI_JOB_TOKEN may not write
#/ notes: https://docs.gitlab.com/ci/jobs/ci_job_token/
#/ Exit status: 0 done; 1 GitLab refused it; 2 something is missing.

set -Eeuo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=scripts/pipeline/common.sh
source "$ROOT/scripts/pipeline/common.sh"

# GitLab takes a note of a million characters, and a reader far less.
MAX_NOTE=200000

# A merge request with more notes gets a new one instead of an endless search.
MAX_PAGES=20

main() {
  case ${1-} in
    -h | --help)
      sed -n 's/^#\/ \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit
      ;;
    '') bad_usage "want the file with the note" ;;
  esac
  local file=$1 name missing=
  [[ -s $file ]] || bad_usage "$file is empty or missing"
  for name in REVIEW_NOTE_TOKEN ENVIRONMENT CI_API_V4_URL CI_PROJECT_ID CI_MERGE_REQUEST_IID; do
    [[ -n ${!name-} ]] || missing+=" $name"
  done
  [[ -z $missing ]] || bad_usage "not set:$missing"
  need curl node

  WORK=$(mktemp -d "${TMPDIR:-/tmp}/post-note.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  NOTES=$CI_API_V4_URL/projects/$CI_PROJECT_ID/merge_requests/$CI_MERGE_REQUEST_IID/notes
  MARK="<!-- gitlab-codedeploy: changes in $ENVIRONMENT -->"
  write_body "$file"
  find_note
  if [[ -n $NOTE ]]; then
    call PUT "$NOTES/$NOTE"
    log "note $NOTE of merge request $CI_MERGE_REQUEST_IID shows the changes in $ENVIRONMENT"
  else
    call POST "$NOTES"
    log "merge request $CI_MERGE_REQUEST_IID has a new note with the changes in $ENVIRONMENT"
  fi
}

# call METHOD URL sends the note, or reads with GET. The token goes through a
# pipe: arguments are there for every process to see.
call() {
  local method=$1 url=$2 status body=()
  [[ $method == GET ]] || body=(--header 'Content-Type: application/json' --data-binary "@$WORK/body.json")
  status=$(curl --silent --show-error --max-time 60 --retry 3 --request "$method" \
    --header @- --output "$WORK/answer.json" --write-out '%{http_code}' ${body[@]+"${body[@]}"} "$url" \
    <<<"PRIVATE-TOKEN: $REVIEW_NOTE_TOKEN") || die "$method $url: no answer"
  [[ $status == 20[01] ]] ||
    die "$method $url: GitLab answers $status: $(head -c 300 "$WORK/answer.json"). REVIEW_NOTE_TOKEN needs scope api and role Reporter"
}

# At the end of a note that is cut, its remark could stand in an open block of code.
write_body() {
  # shellcheck disable=SC2016 # JavaScript
  node -e '
    const [file, mark, limit] = process.argv.slice(1);
    const name = require("path").basename(file);
    let note = require("fs").readFileSync(file, "utf8");
    if (note.length > limit) {
      note = `**Cut after ${limit} characters:** ${name} among the artifacts of the job is whole.\n\n${note.slice(0, limit)}`;
    }
    console.log(JSON.stringify({ body: `${mark}\n${note}` }));
  ' "$1" "$MARK" "$MAX_NOTE" >"$WORK/body.json"
}

# find_note sets NOTE to the id of the note that an earlier pipeline wrote: it
# begins with the mark, and is the token's own, since nobody can change another's.
find_note() {
  local page me found
  NOTE=
  call GET "$CI_API_V4_URL/user"
  me=$(answer 'answer.id')
  for ((page = 1; page <= MAX_PAGES; page++)); do
    call GET "$NOTES?per_page=100&page=$page&sort=asc&order_by=created_at"
    # shellcheck disable=SC2016 # JavaScript
    found=$(answer '`${answer.find(n => n.author.id === Number(process.argv[2]) && n.body.startsWith(process.argv[3]))?.id ?? "-"} ${answer.length}`' "$me" "$MARK")
    NOTE=${found% *}
    [[ $NOTE == - ]] || return 0
    NOTE=
    ((${found#* } == 100)) || return 0
  done
}

# answer EXPRESSION [ARGUMENT ...] evaluates JavaScript on GitLab's answer.
answer() {
  local expression=$1
  shift
  node -e "
    const answer = JSON.parse(require('fs').readFileSync(process.argv[1], 'utf8'));
    console.log($expression);
  " "$WORK/answer.json" "$@"
}

main "$@"
