#!/usr/bin/env bats
# shellcheck disable=SC2016 # patterns with dollar signs
# What every script for the hosts must keep to: Amazon Linux 2 has bash 4.2,
# coreutils 8.22, systemd 219, util-linux 2.30, aws-cli 1.18, and no jq.

load helper

setup() {
  cd "$ROOT" || return
  # And of scripts/lib what they source: the rest is the operator's.
  SCRIPTS=$(find scripts/server -name '*.sh' | sort)
  # shellcheck disable=SC2086
  SCRIPTS+=$'\n'$(sed -n 's/^# shellcheck source=//p' $SCRIPTS | sort -u)
}

# too_new REASON PATTERN [SOURCE] fails for lines, but for comments, that match.
too_new() {
  local found
  # shellcheck disable=SC2086
  found=$(grep -nE -e "$2" ${3:-$SCRIPTS} | grep -vE '^[^:]+:[0-9]+:[[:space:]]*#' || true)
  [[ -z $found ]] || {
    printf '%s:\n%s\n' "$1" "$found" >&2
    return 1
  }
}

# The list is applied to the scripts, and to a file of counterexamples of which
# every line must be found.
RULES=(
  'bash 4.3: name references' '(local|declare|typeset)[[:space:]]+-[A-Za-z]*n'
  'bash 4.3: wait -n' '\bwait[[:space:]]+-n'
  'bash 4.3: [[ -v name[key] ]]' '-v[[:space:]]+[A-Za-z_]+\['
  'bash 4.3: negative subscripts' '\$\{[A-Za-z_]+\[-[0-9]'
  'bash 4.4: parameter transformation' '\$\{[A-Za-z_]+(\[[@*]\])?@[A-Za-z]\}'
  'bash 4.4: mapfile -d, readarray -d' '\b(mapfile|readarray)[[:space:]]+(-[A-Za-z]+[[:space:]]+)*-[A-Za-z]*d'
  'bash 4.4: inherit_errexit' 'inherit_errexit'
  'bash 4.4: local -' '\blocal[[:space:]]+-([[:space:]]|$)'
  'bash 5: time variables' 'EPOCH(SECONDS|REALTIME)|SRANDOM|BASH_ARGV0'
  'bash before 4.4 fails for an empty "${array[@]}" under set -u: write ${array[@]+"${array[@]}"}' '(^|[^+])"\$\{[a-z_]*(options|extra|optional|args|flags)\[@\]\}"'
  'bash 5.2: & in a replacement' '\$\{[A-Za-z_]+//[^}]*/[^}]*[^\\]&[^}]*\}'
  'no jq on Amazon Linux 2' '\bjq\b'
  'python is 2.7, python3 an extra' '\bpython3?\b'
  'systemd 219: systemd-run --wait, --pipe, --collect' 'systemd-run.*--(wait|pipe|collect)'
  'systemd 219: systemctl enable --now' 'systemctl.*--now'
  'systemd 219: RandomizedDelaySec, StandardOutput=append' 'RandomizedDelaySec|StandardOutput=append'
  'coreutils 8.22: date -I after 8.30, cp --update=, numfmt --invalid, sort -R seed, b2sum, basenc' '\b(b2sum|basenc)\b|--update='
  'coreutils 8.24: dd status=progress, iflag' 'status=progress'
  'coreutils 8.22: env -S, timeout --verbose, ls --zero' 'env[[:space:]]+-S|timeout[[:space:]]+(--verbose|-v)|--zero'
  'tar 1.26: --sort, --zstd, --mtime with clamp' 'tar .*--(sort|zstd|clamp-mtime)'
  'grep 2.20 has no --no-ignore-case; xargs 4.5 no --open-tty' '--no-ignore-case|--open-tty'
  'curl 7.61: no --fail-with-body, --retry-all-errors, --json' '--(fail-with-body|retry-all-errors|json)\b'
  'aws-cli 1.18: no conditional writes, no checksums' '--(if-none-match|if-match|checksum-algorithm|checksum-sha256|checksum-mode)\b'
  'aws-cli 1.18 is version 1: no --cli-binary-format, no sso, no --no-cli-pager' '--(cli-binary-format|no-cli-pager)|aws sso'
  'dnf is not there: yum is, and on Amazon Linux 2023 it is dnf' '^[^"]*\bdnf[[:space:]]'
)

@test "S5: host scripts use nothing that is newer than Amazon Linux 2" {
  local i bad=0
  for ((i = 0; i < ${#RULES[@]}; i += 2)); do
    too_new "${RULES[i]}" "${RULES[i + 1]}" || bad=1
  done
  ((bad == 0))
}

@test "S5: each rule about Amazon Linux 2 finds what it is about" {
  local examples=$BATS_TEST_TMPDIR/examples i line number
  cat >"$examples" <<'END'
  local -n ref=$1
  wait -n
  [[ -v map[key] ]]
  last=${list[-1]}
  echo "${x@Q}"
  mapfile -t -d '' files
  shopt -s inherit_errexit
  local -
  now=$EPOCHSECONDS
  run "${extra[@]}"
  x=${x//a/[&]}
  jq -r .x file
  python3 -c pass
  systemd-run --unit x --wait true
  systemctl enable --now docker
  RandomizedDelaySec=60
  b2sum file
  dd if=a of=b status=progress
  timeout --verbose 5 true
  tar -cf x --sort=name .
  grep --no-ignore-case x
  curl --fail-with-body url
  aws s3api put-object --if-none-match '*'
  aws s3 ls --no-cli-pager
  dnf -y install x
END
  for ((i = 0; i < ${#RULES[@]}; i += 2)); do
    number=$((i / 2 + 1))
    line=$(sed -n "${number}p" "$examples")
    grep -qE -e "${RULES[i + 1]}" <<<"$line" || {
      echo "'${RULES[i]}' does not find: $line"
      return 1
    }
  done
  [ "$(wc -l <"$examples")" -eq $((${#RULES[@]} / 2)) ]
}

@test "S5: host scripts fit into a document: no placeholder of Systems Manager" {
  # Whether they are too long, test/documents_test.go finds out from the documents.
  local script
  for script in $SCRIPTS; do
    run ! grep -nF '{{' "$script"
  done
}

@test "S5: every source line follows the directive that documents are made by, and nothing sourced prints help" {
  local script
  for script in $SCRIPTS; do
    diff <(grep -c '^# shellcheck source=' "$script") <(grep -c '^source ' "$script")
    [[ $script != scripts/lib/* ]] || run ! grep -n '^#/' "$script"
  done
}
