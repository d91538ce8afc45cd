#!/usr/bin/env bash
#/ Usage: upload-artifact.sh --bucket NAME --application NAME --deployment-group NAME
#/                           [--source DIR] [--key KEY] [--exclude PATTERN]...
#/                           [--wait [--timeout SECONDS]] [--dry-run]
#/
#/ Packs a folder as a CodeDeploy bundle (a gzip-compressed tar with appspec.yml
#/ at its root) and puts it into the artifact bucket, which starts a blue/green
#/ deployment; with --wait, tells how that ends. This file is all there is: copy
#/ it into any repository.
#/
#/ OPTIONS, and the variable that each one takes the place of:
#/   --bucket NAME            ARTIFACT_BUCKET        Artifact bucket.
#/   --application NAME       APPLICATION_NAME       CodeDeploy application.
#/   --deployment-group NAME  DEPLOYMENT_GROUP_NAME  Its blue/green deployment group.
#/   --source DIR             DEPLOY_SOURCE          Folder to pack. Default: .
#/   --key KEY                ARTIFACT_KEY           Object key; ends in .gz, .tgz or .tar.gz.
#/                            Default: artifacts/<application>/artifact.gz
#/   --exclude PATTERN        What tar leaves out, besides .git. Repeatable.
#/   --wait                   DEPLOY_WAIT=true       Wait for the deployment's end and tell
#/                            its states on stderr, with the time since the upload.
#/   --timeout SECONDS        DEPLOY_TIMEOUT         How long --wait waits. Default: 3600.
#/                            What the group itself waits for counts too: an earlier
#/                            deployment, or a person who lets the traffic over.
#/   --dry-run                Check and pack, send nothing. Needs no AWS CLI.
#/   -h, --help               Show this message.
#/
#/ Variables without an option:
#/   ARTIFACT_PREFIX      What keys begin with; the bucket refuses others. Default: artifacts/
#/   ARTIFACT_PART_BYTES  Size of a part, and the largest artifact that is sent
#/                        whole. Default: 100000000; it grows by itself when more
#/                        than 10,000 parts would be needed. Only tests change it.
#/   AWS_REGION, AWS_DEFAULT_REGION
#/                        Region of the links to the CodeDeploy console.
#/   DEPLOY_POLL_SECONDS  Pause between --wait's first looks at the state, 0.001 to
#/                        60; it grows to 7.5 times as much. Default: 2. For tests.
#/   TMPDIR               Holds the compressed artifact until it is sent.
#/
#/ Prints one line of JSON on stdout; progress goes to stderr:
#/   {"uploadId","bucket","key","versionId","eTag","sha256","size","application","deploymentGroup"}
#/ sha256 is that of the whole artifact in hex, size is in bytes, versionId is
#/ null in a bucket without versions. --wait adds "state","deploymentId","reason",
#/ each null while unknown; the line then comes at the end of the wait, whatever
#/ that end is. A dry run adds "dryRun":true, and knows no versionId and eTag.
#/
#/ States: Waiting (for an earlier deployment), Created, InProgress, Ready; at the
#/ end Succeeded, Failed, Stopped, Rejected (not deployed: the reason tells what
#/ to change) or Superseded (not deployed: a newer upload took its place).
#/
#/ Exit codes: 0 uploaded; with --wait, Succeeded or Superseded. 1 S3 refused, the
#/ transfer or the packing failed, and what was begun is taken back; with --wait
#/ also Failed, Stopped, Rejected, or the state may not be read. 2 wrong use or
#/ wrong content; nothing was sent. 3 no end within the time-out. Whatever ends
#/ the wait, a deployment that was started goes on.

set -Eeuo pipefail

# Ranges such as [a-z] mean ASCII only in this locale.
export LC_ALL=C
# The AWS CLI v2 would open a pager on a terminal.
export AWS_PAGER=''

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
readonly MAX_PARTS=10000 MAX_PART_BYTES=5000000000
# Each part in flight is a process of the AWS CLI of about 60 MB.
readonly PARALLEL_PARTS=4
# Where account B's functions keep the state of each upload; of what size at most.
readonly STATUS_PREFIX=deployments/ MAX_STATUS_BYTES=16384

main() {
  trap unexpected ERR
  parse_arguments "$@"
  check_arguments
  check_tools
  check_source
  check_appspec

  work=$(mktemp -d)
  multipart_id='' packer='' reportable=false following=false
  state='' deployment_id='' reason=''
  trap on_exit EXIT
  trap 'interrupted 129' HUP
  trap 'interrupted 130' INT
  trap 'interrupted 143' TERM

  pack
  describe
  version_id='' etag=''
  if [[ $dry_run == true ]]; then
    log "dry run: would send ${#parts[@]} part(s), $size bytes, to s3://$bucket/$key with metadata $metadata"
  elif ((${#parts[@]} == 1)); then
    send_whole
  else
    send_parts
  fi
  # From here on, on_exit prints the result, also when a signal ends the wait.
  reportable=true
  if [[ $wait_for_end == true && $dry_run == false ]]; then
    follow
  fi
}

log() { printf '%s %s\n' "$(date -u +%FT%TZ)" "$*" >&2; }

die() {
  log "error: $*"
  exit 1
}

bad_usage() {
  log "error: $* (see --help)"
  exit 2
}

bad_content() {
  log "error: $*; nothing was uploaded"
  exit 2
}

# unexpected keeps a stray exit status of some command from looking like ours.
unexpected() {
  log "error: line ${BASH_LINENO[0]} of upload-artifact.sh failed"
  exit 1
}

usage() { sed -n 's|^#/ \{0,1\}||p' "${BASH_SOURCE[0]}"; }

parse_arguments() {
  bucket=${ARTIFACT_BUCKET:-}
  application=${APPLICATION_NAME:-}
  deployment_group=${DEPLOYMENT_GROUP_NAME:-}
  source_dir=${DEPLOY_SOURCE:-.}
  key=${ARTIFACT_KEY:-}
  prefix=${ARTIFACT_PREFIX:-artifacts/}
  part_bytes=${ARTIFACT_PART_BYTES:-100000000}
  wait_for_end=${DEPLOY_WAIT:-false}
  timeout=${DEPLOY_TIMEOUT:-3600}
  poll_seconds=${DEPLOY_POLL_SECONDS:-2}
  dry_run=false
  excludes=(--exclude=.git)
  patterns=0
  while (($#)); do
    case $1 in
      --bucket | --application | --deployment-group | --source | --key | --exclude | --timeout)
        [[ -n ${2:-} ]] || bad_usage "$1 needs a value"
        ;;
    esac
    case $1 in
      --bucket) bucket=$2 ;;
      --application) application=$2 ;;
      --deployment-group) deployment_group=$2 ;;
      --source) source_dir=$2 ;;
      --key) key=$2 ;;
      --exclude) excludes+=("--exclude=$2") patterns=$((patterns + 1)) ;;
      --timeout) timeout=$2 ;;
      --wait)
        wait_for_end=true
        shift
        continue
        ;;
      --dry-run)
        dry_run=true
        shift
        continue
        ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) bad_usage "unknown argument: $1" ;;
    esac
    shift 2
  done
}

check_arguments() {
  [[ -n $bucket ]] || bad_usage "--bucket or ARTIFACT_BUCKET is required"
  [[ -n $application ]] || bad_usage "--application or APPLICATION_NAME is required"
  [[ -n $deployment_group ]] || bad_usage "--deployment-group or DEPLOYMENT_GROUP_NAME is required"

  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
  [[ $bucket =~ ^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$ && $bucket != *..* && ! $bucket =~ ^[0-9]+(\.[0-9]+){3}$ ]] ||
    bad_usage "bucket: got '$bucket', want 3 to 63 of a-z 0-9 . - and not an IP address"

  # https://docs.aws.amazon.com/codedeploy/latest/userguide/limits.html
  local name_pattern='^[A-Za-z0-9._+=,@-]{1,100}$'
  [[ $application =~ $name_pattern ]] ||
    bad_usage "application: got '$application', want 1 to 100 of A-Z a-z 0-9 . _ + = , @ -"
  [[ $deployment_group =~ $name_pattern ]] ||
    bad_usage "deployment group: got '$deployment_group', want 1 to 100 of A-Z a-z 0-9 . _ + = , @ -"

  [[ $prefix =~ ^[A-Za-z0-9][A-Za-z0-9._/-]*/$ ]] ||
    bad_usage "ARTIFACT_PREFIX: got '$prefix', want a folder such as artifacts/"
  key=${key:-$prefix$application/artifact.gz}
  [[ $key == "$prefix"?* ]] ||
    bad_usage "key: got '$key', want one under $prefix, which is all that the bucket takes"
  [[ $key =~ ^[A-Za-z0-9._+=,@/-]{1,1024}$ && /$key/ != *//* && /$key/ != */./* && /$key/ != */../* ]] ||
    bad_usage "key: got '$key', want up to 1,024 of A-Z a-z 0-9 . _ + = , @ - / without empty, . or .. steps"
  # The suffix is what tells the deployment's side that this is a tar in gzip.
  [[ $key =~ [^/]\.(gz|tgz)$ ]] ||
    bad_usage "key: got '$key', want one that ends in .gz, .tgz or .tar.gz"

  [[ $part_bytes =~ ^[1-9][0-9]{0,9}$ && $part_bytes -le $MAX_PART_BYTES ]] ||
    bad_usage "ARTIFACT_PART_BYTES: got '$part_bytes', want 1 to $MAX_PART_BYTES"

  [[ $wait_for_end == true || $wait_for_end == false ]] ||
    bad_usage "DEPLOY_WAIT: got '$wait_for_end', want true or false"
  [[ $timeout =~ ^[1-9][0-9]{0,5}$ ]] ||
    bad_usage "timeout: got '$timeout', want 1 to 999999 seconds"
  [[ $poll_seconds =~ ^([0-9]{1,2})(\.([0-9]{1,3}))?$ ]] ||
    bad_usage "DEPLOY_POLL_SECONDS: got '$poll_seconds', want 0.001 to 60 seconds"
  local fraction=${BASH_REMATCH[3]}000
  poll_ms=$((10#${BASH_REMATCH[1]} * 1000 + 10#${fraction:0:3}))
  ((poll_ms >= 1 && poll_ms <= 60000)) ||
    bad_usage "DEPLOY_POLL_SECONDS: got '$poll_seconds', want 0.001 to 60 seconds"
}

check_tools() {
  local tool missing=''
  local -a tools=(tar split sha256sum md5sum base64 readlink mktemp du wc)
  [[ $dry_run == true ]] || tools+=(aws)
  [[ $wait_for_end == false ]] || tools+=(cut sleep timeout tr)
  compressor=pigz
  command -v pigz >/dev/null || {
    compressor=gzip
    tools+=(gzip)
  }
  for tool in "${tools[@]}"; do
    command -v "$tool" >/dev/null || missing+=" $tool"
  done
  [[ -z $missing ]] ||
    bad_usage "not installed here:$missing; the job's image needs bash, coreutils, tar, gzip and the AWS CLI"
  [[ $dry_run == true ]] || choose_checksum
}

# choose_checksum: S3 has kept SHA-256 since February 2022. An older CLI has no
# option for it; then Content-MD5 guards the way and the ETag is its proof.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
choose_checksum() {
  local version
  version=$(aws --version 2>&1) || die "aws does not run here: $version"
  [[ $version =~ aws-cli/([0-9]+)\.([0-9]+)\.([0-9]+) ]] || die "aws --version: got '$version', want aws-cli/..."
  local -i release=$((BASH_REMATCH[1] * 1000000 + BASH_REMATCH[2] * 1000 + BASH_REMATCH[3]))
  checksum=md5
  if ((release >= 2005000 || (release >= 1022062 && release < 2000000))); then
    checksum=sha256
  fi
}

check_source() {
  [[ -d $source_dir ]] || bad_usage "source: there is no folder '$source_dir' in $PWD"
  root=$(cd -- "$source_dir" && pwd -P) || bad_usage "source: cannot enter '$source_dir'"
  [[ $root != / ]] || bad_usage "source: / is not a folder to deploy"
  local hint=''
  if [[ ! -f $root/appspec.yml ]]; then
    [[ ! -e $root/appspec.yaml ]] || hint=" (appspec.yaml is there: rename it)"
    bad_content "no appspec.yml at the root of $source_dir$hint"
  fi
}

# check_appspec reads the YAML that an AppSpec file for EC2 consists of, line by
# line: block mappings and lists, plain and quoted text, {one: line} mappings.
# What it cannot read, it refuses: a guess would only fail later, on an instance.
# https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure.html
check_appspec() {
  local line problem number=0 seen=' ' section='' event='' events=' ' one_line=false started=false
  # Columns: of the top level's keys, of hooks' events, of a list's dashes, of
  # the open entry's keys. -1 while not known, and for "no dash", "no entry".
  local top=-1 event_column=-1 list_column=-1 entry_column=-1
  local rest indent dash entry_line=0 entry_keys=''
  problems=() named=0 other_platform=false

  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    line=${line%$'\r'}
    [[ $number -gt 1 ]] || line=${line#$'\xef\xbb\xbf'}
    [[ ! $line =~ ^[[:space:]]*(#.*)?$ ]] || continue
    # The document's start, and its end or the start of another one.
    if [[ $top -lt 0 && $started == false && $line =~ ^---([[:space:]]+#.*|[[:space:]]*)$ ]]; then
      started=true
      continue
    fi
    [[ ! $line =~ ^(---|\.\.\.)([[:space:]]|$) ]] || break
    measure "$line"
    read_line
  done <"$root/appspec.yml"
  end_entry

  [[ $other_platform == false ]] ||
    bad_content "appspec.yml has Resources: it is for Amazon ECS or Lambda, and a bundle of files deploys to EC2"
  number=0
  [[ $seen == *' version '* ]] || report "version is missing, want 0.0"
  [[ $seen == *' os '* ]] || report "os is missing, want linux"
  check_not_excluded appspec.yml
  if ((${#problems[@]})); then
    for problem in "${problems[@]}"; do
      log "error: $problem"
    done
    bad_content "$source_dir/appspec.yml is not right"
  fi
  log "appspec.yml names $named path(s), all there"
}

# measure LINE sets rest, the text without indentation and dash, the column of
# that text in indent, and the column of a list's dash, or -1, in dash.
measure() {
  rest=${1#"${1%%[! ]*}"}
  indent=$((${#1} - ${#rest}))
  dash=-1
  if [[ $rest == - || $rest == -[[:space:]]* ]]; then
    dash=$indent
    rest=${rest#-}
    rest=${rest#"${rest%%[![:space:]]*}"}
    indent=$((${#1} - ${#rest}))
    [[ $rest != '#'* ]] || rest=''
  fi
  [[ $top -ge 0 ]] || top=$indent
}

# read_line gives the line to the part of the file that it belongs to.
read_line() {
  if [[ $rest == $'\t'* ]]; then
    report "a tab in the indentation; YAML wants spaces"
  elif [[ $dash -lt 0 && $indent -le $top ]]; then
    end_entry
    in_column "$indent" "$top" "a key of the top level"
    begin_section
  elif [[ $one_line == true ]]; then
    report "'$rest' is not understood: $section ends on its own line"
  elif [[ $section != files && $section != hooks ]]; then
    return
  elif [[ $dash -ge 0 ]]; then
    end_entry
    begin_entry
  elif [[ $entry_line -gt 0 && $indent -gt $list_column ]]; then
    [[ $entry_column -ge 0 ]] || entry_column=$indent
    in_column "$indent" "$entry_column" "a key of an entry"
    read_entry
  elif [[ $section == files ]]; then
    report "files is a list: begin each entry with '- source:'"
  else
    end_entry
    begin_event
  fi
}

# in_column: YAML takes a line that stands a column off for something else.
in_column() {
  [[ $1 -eq $2 ]] || report "$3 in column $(($1 + 1)), want column $(($2 + 1)) like the first one"
}

# report notes a problem of the line that is being read; all are shown at once.
report() {
  if ((number)); then
    problems+=("appspec.yml:$number: $*")
  else
    problems+=("appspec.yml: $*")
  fi
}

begin_section() {
  if ! split_entry "$rest"; then
    section=''
    report "'$rest' is not understood, want 'key: value'"
    return
  fi
  section=$entry_key event='' event_column=-1 list_column=-1
  [[ $seen != *" $section "* ]] || report "$section stands there twice"
  seen+="$section "
  one_line=false
  [[ $entry_kind != plain && $entry_kind != quoted ]] || one_line=true
  case $section in
    version)
      # The agent compares with the number: "0.0" in quotes is another value.
      [[ $entry_value =~ ^0(\.0+)?$ && $entry_kind == plain ]] || report "version: got $rest, want 0.0 without quotes"
      ;;
    os)
      # https://docs.aws.amazon.com/codedeploy/latest/userguide/deployments-create-cli.html
      [[ $entry_value != windows ]] || {
        report "os: windows: CodeDeploy unpacks no tar archives on Windows"
        return
      }
      [[ $entry_value == linux ]] || report "os: got '$entry_value', want linux"
      ;;
    files | hooks)
      [[ $entry_kind == empty || $entry_value == '[]' || $entry_value == '{}' ]] ||
        report "$section: write its entries on lines of their own"
      ;;
    file_exists_behavior)
      [[ $entry_value == DISALLOW || $entry_value == OVERWRITE || $entry_value == RETAIN ]] ||
        report "file_exists_behavior: got '$entry_value', want DISALLOW, OVERWRITE or RETAIN"
      ;;
    permissions) ;;
    Resources | resources) other_platform=true ;;
    # The agent passes over keys that it does not know, so that "hook:" runs nothing.
    *) report "unknown key $section, want version, os, files, hooks, permissions or file_exists_behavior" ;;
  esac
}

begin_event() {
  [[ $event_column -ge 0 ]] || event_column=$indent
  in_column "$indent" "$event_column" "a lifecycle event"
  list_column=-1
  if ! split_entry "$rest"; then
    report "'$rest' is not understood, want a lifecycle event such as AfterInstall:"
    return
  fi
  event=$entry_key
  [[ $events != *" $event "* ]] || report "$event stands there twice"
  events+="$event "
  [[ $entry_kind == empty || $entry_value == '[]' ]] ||
    report "$event: want a list of scripts, each beginning with '- location:'"
}

begin_entry() {
  [[ $section == files || -n $event ]] || report "a list where hooks has lifecycle events such as AfterInstall:"
  [[ $list_column -ge 0 ]] || list_column=$dash
  in_column "$dash" "$list_column" "the dash of an entry"
  local least=$top
  [[ $section == files ]] || least=$event_column
  [[ $dash -ge $least ]] || report "a list that stands left of what it belongs to"
  entry_line=$number entry_keys=' ' entry_column=-1
  if [[ -n $rest ]]; then
    entry_column=$indent
    read_entry
  fi
}

# read_entry takes "key: value" or "{key: value, …}" of one entry of a list.
read_entry() {
  local text=$rest item quote=$'\'' pair
  if [[ $text != '{'* ]]; then
    take_pair "$text"
    return
  fi
  local closed='^\{(.*)\}([[:space:]]+#.*|[[:space:]]*)$'
  if [[ ! $text =~ $closed || ${BASH_REMATCH[1]} == *[[:space:]]#* ]]; then
    report "'$text' is not understood, want the whole {…} on one line"
    return
  fi
  text=${BASH_REMATCH[1]}
  # One pair: quoted strings and whatever else is not a comma or a bracket.
  item='^[[:space:]]*(("([^"\]|\\.)*"|'$quote'([^'$quote']|'$quote$quote')*'$quote'|[^]["'$quote',{}])+)(,|$)'
  while [[ $text =~ [^[:space:]] ]]; do
    if [[ ! $text =~ $item ]]; then
      report "'$text' is not understood, want 'key: value' pairs with commas between"
      return
    fi
    pair=${BASH_REMATCH[1]}
    text=${text:${#BASH_REMATCH[0]}}
    take_pair "${pair%"${pair##*[![:space:]]}"}"
  done
}

take_pair() {
  if ! split_entry "$1"; then
    report "'$1' is not understood, want 'key: value' with a space after the colon"
    return
  fi
  [[ $entry_keys != *" $entry_key "* ]] || report "$entry_key stands twice in this entry"
  entry_keys+="$entry_key "
  case $section:$entry_key in
    files:source | hooks:location) ;;
    files:destination)
      [[ $entry_kind != empty ]] || report "destination is empty"
      return
      ;;
    *:'<<')
      report "merge keys (<<) are not followed: write the entry out"
      return
      ;;
    *) return ;;
  esac
  case $entry_kind in
    empty) report "$entry_key has no value on its line" ;;
    other) report "$entry_key: got '$entry_value', want a plain or quoted path on this line" ;;
    *) check_path "$entry_key" "$entry_value" ;;
  esac
}

end_entry() {
  [[ $entry_line -gt 0 ]] || return 0
  local number=$entry_line
  if [[ $section == files ]]; then
    [[ $entry_keys == *' source '* ]] || report "an entry of files without source"
    [[ $entry_keys == *' destination '* ]] || report "an entry of files without destination"
  else
    [[ $entry_keys == *' location '* ]] || report "a script of $event without location"
  fi
  entry_line=0
}

# split_entry TEXT sets entry_key, entry_value and entry_kind: plain, quoted,
# empty, or other for YAML that is beyond one line of text.
split_entry() {
  local quote=$'\'' pattern
  pattern='^("([^"\]+)"|'$quote'([^'$quote']+)'$quote'|([A-Za-z_<][A-Za-z0-9_.<-]*))[[:space:]]*:([[:space:]]+(.*))?$'
  [[ $1 =~ $pattern ]] || return 1
  entry_key=${BASH_REMATCH[2]}${BASH_REMATCH[3]}${BASH_REMATCH[4]}
  entry_value=${BASH_REMATCH[6]}

  local double='^"(([^"\]|\\["\/])*)"([[:space:]]+#.*|[[:space:]]*)$'
  local single='^'$quote'(([^'$quote']|'$quote$quote')*)'$quote'([[:space:]]+#.*|[[:space:]]*)$'
  entry_kind=quoted
  if [[ $entry_value =~ $double ]]; then
    entry_value=${BASH_REMATCH[1]}
    entry_value=$(unescape "$entry_value")
  elif [[ $entry_value =~ $single ]]; then
    entry_value=${BASH_REMATCH[1]}
    entry_value=${entry_value//"$quote$quote"/"$quote"}
  else
    entry_kind=plain
    [[ $entry_value != '#'* ]] || entry_value=''
    entry_value=${entry_value%%[[:space:]]#*}
    entry_value=${entry_value%"${entry_value##*[![:space:]]}"}
    case $entry_value in
      '' | '~' | null | Null | NULL) entry_kind=empty ;;
      [\"\'\&*!\|\>%@\`\{\}\[\]]* | *:[[:space:]]* | *:) entry_kind=other ;;
    esac
  fi
  [[ $entry_kind != quoted || -n $entry_value ]] || entry_kind=empty
}

# unescape TEXT takes the backslash from \\ \" \/, the escapes that paths need.
unescape() {
  local text=$1 out=''
  while [[ $text == *$'\\'* ]]; do
    out+=${text%%$'\\'*}
    text=${text#*$'\\'}
    out+=${text:0:1}
    text=${text:1}
  done
  printf '%s' "$out$text"
}

# check_path looks a path up as CodeDeploy's agent does: joined to the root of
# the bundle, so that a leading slash means that root and nothing on this disk.
# A hook need not be executable: the agent makes it so before it runs it.
# https://github.com/aws/aws-codedeploy-agent, hook_executor.rb
check_path() {
  local what=$1 path=$2 step depth=0 real
  local -a steps
  named=$((named + 1))
  IFS=/ read -r -a steps <<<"$path"
  for step in ${steps[@]+"${steps[@]}"}; do
    case $step in
      '' | .) ;;
      ..) depth=$((depth - 1)) ;;
      *) depth=$((depth + 1)) ;;
    esac
    if ((depth < 0)); then
      report "$what '$path' leaves the folder"
      return
    fi
  done
  if [[ $what == location && $path == *[[:space:]]* ]]; then
    report "location '$path' has a space, and the agent hands it to a shell as it is"
  elif [[ ! -e $root/$path ]]; then
    report "$what '$path' does not exist in $source_dir"
  elif [[ $what == location && ! -f $root/$path ]]; then
    report "location '$path' is not a file"
  else
    real=$(readlink -f -- "$root/$path")
    if [[ $real != "$root" && $real != "$root"/* ]]; then
      report "$what '$path' is a link that leaves the folder"
    else
      check_not_excluded "$path"
    fi
  fi
}

# check_not_excluded asks tar itself whether a path would be in the bundle.
check_not_excluded() {
  ((patterns)) || return 0
  local member=$1
  while [[ $member == /* || $member == ./* ]]; do member=${member#.} member=${member#/}; done
  [[ -n $(tar -c -v -f /dev/null "${excludes[@]}" --no-recursion -C "$root" -- "./$member") ]] ||
    report "'$1' is needed, but --exclude leaves it out"
}

# pack writes the bundle to $work in parts of $part_bytes: only the compressed
# artifact is ever on the disk, and nothing of it in memory.
pack() {
  local option
  local -a options=()
  # The same content shall give the same archive as far as this tar can: 1.26
  # has no --sort. Owners mean nothing on the instances.
  for option in --sort=name --owner=0 --group=0 --numeric-owner; do
    if tar -c -f /dev/null "$option" -T /dev/null 2>/dev/null; then
      options+=("$option")
    fi
  done
  case $work in
    "$root"/*) excludes+=("--exclude=./${work#"$root"/}") ;;
  esac
  size_parts

  log "packing $source_dir with tar and $compressor"
  # In the background, because bash handles a signal only between commands and
  # while it waits; with job control, because on_exit ends the whole pipe then.
  set -m
  { tar -c -f - ${options[@]+"${options[@]}"} "${excludes[@]}" -C "$root" . && : >"$work/done.tar"; } |
    # Level 4 takes half of the default's time for a twentieth more of size.
    { "$compressor" -4 -n -c && : >"$work/done.$compressor"; } |
    split -d -a 5 -b "$part_bytes" - "$work/part." &
  set +m
  packer=$(jobs -p)
  if wait $!; then : >"$work/done.split"; fi
  packer=''

  # Marks of success, because a mark of failure may find no room on a full disk.
  [[ -e $work/done.tar && -e $work/done.$compressor && -e $work/done.split ]] ||
    die "packing failed, as it says above (the compressed artifact needs room in ${TMPDIR:-/tmp})"
  parts=("$work"/part.*)
  ((${#parts[@]} <= MAX_PARTS)) || die "packing gave ${#parts[@]} parts, and S3 takes $MAX_PARTS"
}

# size_parts lets the parts grow where the folder, compressed not at all, would
# need more of them than S3 takes.
size_parts() {
  local total
  total=$(du -s -b -- "$root")
  total=${total%%[[:space:]]*}
  ((total / part_bytes > MAX_PARTS * 9 / 10)) || return 0
  part_bytes=$((total / (MAX_PARTS * 9 / 10) + 1))
  ((part_bytes <= MAX_PART_BYTES)) || bad_content "$source_dir has $total bytes, more than S3 takes as one object"
}

# describe settles what is said of the artifact: its size, checksum and metadata.
describe() {
  # All parts but the last are full.
  size=$(wc -c <"${parts[${#parts[@]} - 1]}")
  size=$((size + (${#parts[@]} - 1) * part_bytes))
  sha256=$(cat -- "${parts[@]}" | sha256sum)
  sha256=${sha256%% *}
  upload_id=$(new_upload_id)

  # As JSON: in the CLI's short form a comma would begin the next pair. Values
  # from outside go in only when they need no escaping; S3 takes 2 KB of ASCII.
  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
  metadata="{\"application-name\":\"$application\",\"deploymentgroup-name\":\"$deployment_group\",\"upload-id\":\"$upload_id\""
  if [[ ${CI_COMMIT_SHA:-} =~ ^[0-9a-f]{7,64}$ ]]; then
    metadata+=",\"commit-sha\":\"$CI_COMMIT_SHA\""
  fi
  if [[ ${CI_PIPELINE_URL:-} =~ ^https?://[A-Za-z0-9._~:/?#@!$\&()*+,\;=%-]+$ && ${#CI_PIPELINE_URL} -le 1024 ]]; then
    metadata+=",\"pipeline-url\":\"$CI_PIPELINE_URL\""
  elif [[ -n ${CI_PIPELINE_URL:-} ]]; then
    log "leaving pipeline-url out: CI_PIPELINE_URL is not a URL of up to 1,024 ASCII characters"
  fi
  metadata+='}'
}

# new_upload_id names this upload: by pipeline and job for people, with random
# digits so that a retried job is another upload. [A-Za-z0-9-], up to 64.
new_upload_id() {
  local random id=''
  random=$(</proc/sys/kernel/random/uuid)
  if [[ ${CI_PIPELINE_ID:-} =~ ^[0-9]{1,20}$ && ${CI_JOB_ID:-} =~ ^[0-9]{1,20}$ ]]; then
    id=$CI_PIPELINE_ID-$CI_JOB_ID-${random:24}
  fi
  printf '%s' "${id:-$random}"
}

send_whole() {
  local sha md5
  sha=$(base64_of "$sha256")
  md5=$(md5_of "${parts[0]}")
  log "uploading $size bytes to s3://$bucket/$key"
  local -a guard=(--checksum-sha256 "$sha")
  [[ $checksum == sha256 ]] || guard=(--content-md5 "$(base64_of "$md5")")
  s3 "$work/reply" put-object --bucket "$bucket" --key "$key" --body "${parts[0]}" --content-type application/gzip \
    --metadata "$metadata" "${guard[@]}" --query '[ETag,VersionId,ChecksumSHA256]' || refused "$work/reply"
  take_reply "$sha" "$md5"
}

# send_parts is a multipart upload: nothing shows in the bucket before the last
# call, and on_exit takes the parts back when it is not reached.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
send_parts() {
  local count=${#parts[@]} index list='' separator=''
  local -a algorithm=(--checksum-algorithm SHA256)
  [[ $checksum == sha256 ]] || algorithm=()
  log "uploading $size bytes to s3://$bucket/$key in $count parts"
  s3 "$work/reply" create-multipart-upload --bucket "$bucket" --key "$key" --content-type application/gzip \
    --metadata "$metadata" ${algorithm[@]+"${algorithm[@]}"} --query UploadId || refused "$work/reply"
  multipart_id=$(<"$work/reply")

  # A window of parts in flight; bash 4.2 cannot wait for whichever ends first.
  local -a jobs=()
  for ((index = 0; index < count + PARALLEL_PARTS; index++)); do
    if ((index >= PARALLEL_PARTS)); then
      finish_part $((index - PARALLEL_PARTS)) "${jobs[index - PARALLEL_PARTS]}"
      list+="$separator$completed"
      separator=,
    fi
    if ((index < count)); then
      start_part "$index"
      jobs+=("$!")
    fi
  done

  printf '{"Parts":[%s]}' "$list" >"$work/parts.json"
  s3 "$work/reply" complete-multipart-upload --bucket "$bucket" --key "$key" --upload-id "$multipart_id" \
    --multipart-upload "file://$work/parts.json" --query '[ETag,VersionId,ChecksumSHA256]' || refused "$work/reply"
  multipart_id=''

  # Of parts, S3 tells the checksum of their checksums, with their number.
  local sha md5
  sha=$(sha256sum <"$work/sha256s")
  md5=$(md5_of "$work/md5s")
  take_reply "$(base64_of "${sha%% *}")-$count" "$md5-$count"
}

# start_part INDEX begins to send one part and notes its checksums.
start_part() {
  local part=${parts[$1]} sha md5
  sha=$(sha256sum <"$part")
  sha=${sha%% *}
  md5=$(md5_of "$part")
  to_bytes "$sha" >>"$work/sha256s"
  to_bytes "$md5" >>"$work/md5s"
  part_sha[$1]=$(base64_of "$sha")
  part_md5[$1]=$md5
  local -a guard=(--checksum-sha256 "${part_sha[$1]}")
  [[ $checksum == sha256 ]] || guard=(--content-md5 "$(base64_of "$md5")")
  aws s3api upload-part --bucket "$bucket" --key "$key" --upload-id "$multipart_id" --part-number $(($1 + 1)) \
    --body "$part" "${guard[@]}" --query '[ETag,ChecksumSHA256]' --output text >"$part.reply" 2>"$part.reply.err" &
}

# finish_part INDEX PID waits for a part and sets completed to what the last
# call says of it.
finish_part() {
  local part=${parts[$1]} number=$(($1 + 1)) part_etag sha
  wait "$2" || refused "$part.reply"
  IFS=$'\t' read -r part_etag sha <"$part.reply" || :
  part_etag=${part_etag//\"/}
  landed "${part_sha[$1]}" "${part_md5[$1]}" "$sha" "$part_etag" ||
    die "S3 did not store part $number as it was sent (ETag $part_etag, SHA-256 $sha); the upload is taken back"
  completed="{\"PartNumber\":$number,\"ETag\":\"\\\"$part_etag\\\"\""
  [[ $checksum != sha256 ]] || completed+=",\"ChecksumSHA256\":\"${part_sha[$1]}\""
  completed+='}'
  rm -f -- "$part"
  log "part $number of ${#parts[@]} is there"
}

# take_reply SHA ETAG reads what S3 says of the object and compares.
take_reply() {
  local sha
  IFS=$'\t' read -r etag version_id sha <"$work/reply" || :
  etag=${etag//\"/}
  [[ $version_id != None && $version_id != null ]] || version_id=''
  landed "$1" "$2" "$sha" "$etag" ||
    die "S3 did not store s3://$bucket/$key as it was sent: got ETag $etag, SHA-256 $sha in version ${version_id:-none}; want ETag $2, SHA-256 $1. Do not deploy it; upload again"
  uploaded_at=$SECONDS
  log "uploaded as version ${version_id:-none}, upload id $upload_id"
}

# landed WANT_SHA WANT_ETAG SHA ETAG: by the SHA-256 where S3 tells it, else by
# the ETag, which is an MD5 in a bucket with SSE-S3, as ours is. It takes the
# upload's own reply, because the runner may put and not read.
landed() {
  if [[ -n $3 && $3 != None ]]; then
    [[ $3 == "$1" || $3 == "${1%-*}" ]]
  else
    [[ $4 == "$2" ]]
  fi
}

# s3 FILE OPERATION… keeps the reply in FILE. In the background as in pack.
s3() {
  local reply=$1
  shift
  aws s3api "$@" --output text >"$reply" 2>"$reply.err" &
  wait $!
}

# follow looks at the state of this upload until the deployment has ended, or
# until the time is up.
follow() {
  local pause=$poll_ms left
  following=true
  status_key=$STATUS_PREFIX$upload_id.json
  other_ids=''
  if [[ -n $version_id ]]; then
    [[ ! $version_id =~ ^[A-Za-z0-9._-]{1,128}$ ]] || other_ids="$version_id "
    other_ids+="sha256.$(printf '%s\0%s' "$key" "$version_id" | sha256sum | cut -c1-64) "
  fi
  seen_etag='' told='' refused_right='' trouble=''
  console=$(console_region)
  log "waiting up to $timeout s for the deployment"
  while :; do
    look
    left=$((timeout - (SECONDS - uploaded_at)))
    ((left > 0)) || timed_out
    nap "$pause" "$left"
    pause=$((pause * 3 / 2))
    ((pause <= poll_ms * 15 / 2)) || pause=$((poll_ms * 15 / 2))
  done
}

# nap PAUSE LEFT sleeps about PAUSE ms and at most LEFT s. Jitter keeps the jobs
# of many projects from asking in step.
nap() {
  local -i ms=$(($1 * (75 + RANDOM % 51) / 100))
  ((ms <= $2 * 1000)) || ms=$(($2 * 1000))
  sleep "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))" &
  wait $!
}

# look reads the state where it changed. It lists first: of a key that is not
# there yet, GET says 403 to a role that may not list all of the bucket, and
# that would look like a refusal.
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
look() {
  local found found_etag bytes
  if ! ask list-objects-v2 --bucket "$bucket" --prefix "$status_key" --max-keys 1 --no-paginate \
    --query 'Contents[0].[Key,ETag,Size]'; then
    unseen "s3:ListBucket with s3:prefix $STATUS_PREFIX*"
    return
  fi
  IFS=$'\t' read -r found found_etag bytes <"$work/reply" || :
  if [[ $found == "$status_key" && $found_etag != "$seen_etag" ]]; then
    if [[ $bytes =~ ^[0-9]{1,9}$ ]] && ((bytes <= MAX_STATUS_BYTES)); then
      if ! ask get-object --bucket "$bucket" --key "$status_key" "$work/status" --query ETag; then
        unseen "s3:GetObject on $STATUS_PREFIX*"
        return
      fi
      take_status "$work/status"
    else
      log "s3://$bucket/$status_key is no state, it has ${bytes:0:20} bytes; waiting on"
    fi
    seen_etag=$found_etag
  fi
  refused_right='' trouble=''
}

# ask OPERATION… keeps the reply like s3, but not for longer than the time that
# is left, so that an S3 that does not answer cannot hold the job.
ask() {
  local -i limit=$((timeout - (SECONDS - uploaded_at)))
  ((limit >= 5)) || limit=5
  ((limit <= 60)) || limit=60
  timeout "$limit" aws s3api "$@" --output text >"$work/reply" 2>"$work/reply.err" &
  wait $!
}

# unseen RIGHT deals with a look that S3 did not allow. A refusal counts when it
# comes twice in a row: a right takes seconds to be in force everywhere.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html
unseen() {
  local message
  message=$(printable <"$work/reply.err")
  message=${message# }
  message=${message:-no answer in time}
  if [[ $message != *'(AccessDenied)'* && $message != *'(403)'* ]]; then
    refused_right=''
    [[ $message == "$trouble" ]] || log "the state cannot be seen, trying again: $message"
    trouble=$message
  elif [[ $refused_right != "$1" ]]; then
    refused_right=$1
    log "S3 refuses to tell the state, trying once more: $message"
  else
    die "the state may not be read: the role of the runner's host lacks $1, by its own policy or by the bucket's, which wants account A's S3 endpoint; $(what_goes_on) (aws said: $message)"
  fi
}

# take_status FILE reads a state, tells it where it is new, and ends the script
# where it is the last one.
take_status() {
  local -A said=([state]='' [deploymentId]='' [key]='' [versionId]='' [reason]='')
  if ! read_status "$1"; then
    log "s3://$bucket/$status_key is not in the form of a state; waiting on"
    return
  fi
  # Whoever uploads chooses the upload id. Where ours was taken, the functions
  # went on to the version id, and then to a digest that no other upload has.
  if [[ ${said[key]:-$key} != "$key" || (-n $version_id && ${said[versionId]:-$version_id} != "$version_id") ]]; then
    log "s3://$bucket/$status_key tells of another upload, version ${said[versionId]:0:100} of ${said[key]:0:200}; ignored"
    if [[ -n $other_ids ]]; then
      status_key=$STATUS_PREFIX${other_ids%% *}.json
      other_ids=${other_ids#* }
    fi
    return
  fi
  if [[ ${said[deploymentId]} =~ ^[A-Za-z0-9-]{1,64}$ && ${said[deploymentId]} != "$deployment_id" ]]; then
    deployment_id=${said[deploymentId]}
    log "deployment $deployment_id, $(where_to_see)"
  fi
  state=${said[state]}
  reason=${said[reason]:0:1000}
  [[ $told != "$state $reason" ]] || return 0
  told="$state $reason"
  case $state in
    Waiting | Created | InProgress | Ready) log "$state after $(elapsed)${reason:+: $reason}" ;;
    Succeeded)
      log "$state after $(elapsed)${reason:+: $reason}"
      exit 0
      ;;
    Superseded)
      log "$state after $(elapsed)${reason:+: $reason}; this upload is not deployed, a newer one took its place, and the newer one's pipeline tells how that ends"
      exit 0
      ;;
    Rejected) die "$state after $(elapsed), nothing is deployed: ${reason:-no reason was given}" ;;
    Failed | Stopped)
      die "$state after $(elapsed)${deployment_id:+, deployment $deployment_id}: ${reason:-no reason was given}"
      ;;
    *) log "$state after $(elapsed)${reason:+: $reason}; a state that this script does not know, waiting on" ;;
  esac
}

# read_status FILE sets said, an array of the caller's, to texts of a JSON object.
# It fails on all that is not one, and where there is no state.
read_status() {
  local text token name
  text=$(printable <"$1")
  take_token '{' || return 1
  while :; do
    take_text || return 1
    name=$token
    take_token ':' || return 1
    take_value || return 1
    case $name in
      state | deploymentId | key | versionId | reason) said[$name]=$token ;;
    esac
    take_token ',' || break
  done
  take_token '}' && [[ -z ${text// /} && ${said[state]} =~ ^[A-Za-z]{1,40}$ ]]
}

# take_token CHARACTER takes it and the spaces before it from text.
take_token() {
  text=${text#"${text%%[! ]*}"}
  [[ ${text:0:1} == "$1" ]] || return 1
  text=${text:1}
}

# take_value takes the JSON value at the start of text, and sets token to it where
# it is a text, else to nothing.
take_value() {
  local before depth=0
  text=${text#"${text%%[! ]*}"}
  if [[ $text == '"'* ]]; then
    take_text
    return
  elif [[ $text =~ ^(null|true|false|-?[0-9][0-9.eE+-]*) ]]; then
    text=${text:${#BASH_REMATCH[1]}}
    token=''
    return
  fi
  # An object or an array: nothing for us, up to the bracket that closes it.
  [[ $text == ['[{']* ]] || return 1
  while :; do
    before=${text%%[][{\}\"]*}
    text=${text:${#before}}
    case $text in
      '"'*)
        take_text || return 1
        continue
        ;;
      ['[{']*) depth=$((depth + 1)) ;;
      []\}]*) depth=$((depth - 1)) ;;
      *) return 1 ;;
    esac
    text=${text:1}
    ((depth)) || break
  done
  token=''
}

# take_text sets token to the JSON text at the start of text. What is no
# printable ASCII comes out as a space or a question mark.
# https://www.rfc-editor.org/rfc/rfc8259#section-7
take_text() {
  local plain code
  take_token '"' || return 1
  token=''
  while :; do
    plain=${text%%[\"\\]*}
    token+=$plain
    text=${text:${#plain}}
    case $text in
      '"'*)
        text=${text:1}
        return
        ;;
      \\[\"\\/]*) token+=${text:1:1} text=${text:2} ;;
      \\[bfnrt]*) token+=' ' text=${text:2} ;;
      \\u[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F]*)
        code=$((16#${text:2:4}))
        text=${text:6}
        if ((code >= 0x20 && code < 0x7f)); then
          token+=$(printf '%b' "\\x$(printf '%x' "$code")")
        elif ((code < 0x80)); then
          token+=' '
        else
          token+='?'
        fi
        ;;
      *) return 1 ;;
    esac
  done
}

# printable turns control characters into spaces, as they could lead a terminal
# astray, and every character beyond ASCII into one question mark.
printable() {
  tr -d '\000\200-\277' | tr '\001-\037\177' ' ' | tr '\300-\377' '?' | tr -s ' '
}

timed_out() {
  local advice
  case $state in
    '') advice="Nothing has taken the upload up: account B's operators see why in the trigger's log and in its queue" ;;
    Waiting) advice="It is deployed as soon as its group is free" ;;
    *) advice="See where it stands $(where_to_see)" ;;
  esac
  log "error: timed out after $(elapsed) $(standing); $(what_goes_on). $advice. To wait longer, raise --timeout or DEPLOY_TIMEOUT, and the job's timeout. Running the job again uploads and deploys again${trouble:+ (the last look failed: $trouble)}"
  exit 3
}

# elapsed, standing, what_goes_on: of the time since the upload, of the last
# state, and of what no end of this script stops.
elapsed() {
  local seconds=$((SECONDS - uploaded_at))
  printf '%dm%02ds' $((seconds / 60)) $((seconds % 60))
}

standing() {
  if [[ -n $state ]]; then
    printf 'in state %s%s' "$state" "${reason:+ ($reason)}"
  else
    printf 'without a state'
  fi
}

what_goes_on() {
  if [[ -n $deployment_id ]]; then
    printf 'deployment %s goes on' "$deployment_id"
  else
    printf 'the upload stays, and may still be deployed'
  fi
}

# where_to_see tells the page of the deployment. It belongs to account B: the
# reader must be signed in there.
where_to_see() {
  printf "in account B's CodeDeploy console"
  [[ -z $console || -z $deployment_id ]] ||
    printf ': https://%s.console.aws.amazon.com/codesuite/codedeploy/deployments/%s?region=%s' \
      "$console" "$deployment_id" "$console"
}

console_region() {
  local region=${AWS_REGION:-${AWS_DEFAULT_REGION:-}}
  [[ ! $region =~ ^[a-z]{2}(-[a-z]+)+-[0-9]+$ ]] || printf '%s' "$region"
}

# refused FILE ends the script with the CLI's words and what they mean here.
refused() {
  local message hint
  message=$(tr -s '\n' ' ' <"$1.err")
  case $message in
    *'(AccessDenied)'* | *'(403)'*)
      hint="the bucket takes uploads only under its prefix, through account A's S3 endpoint and from the role of the GitLab runner's host: does this job run there, and is the bucket's name right?"
      ;;
    *'(NoSuchBucket)'* | *'(404)'*)
      hint="there is no such bucket: check ARTIFACT_BUCKET"
      ;;
    *'(PermanentRedirect)'* | *'(301)'* | *'(AuthorizationHeaderMalformed)'* | *'(IllegalLocationConstraintException)'* | *'must specify a region'*)
      hint="the bucket is in another Region: check AWS_DEFAULT_REGION"
      ;;
    *'locate credentials'* | *'(ExpiredToken)'* | *'(InvalidAccessKeyId)'*)
      hint="the job has no valid AWS credentials: on the GitLab runner's host it gets them from the host's role"
      ;;
    *'(BadDigest)'* | *'(InvalidDigest)'* | *'(XAmzContentChecksumMismatch)'* | *'checksum'*)
      hint="the data was damaged on its way: upload again"
      ;;
    *'connect to the endpoint'* | *'imeout'*)
      hint="S3 was not reached: check the runner's route to it"
      ;;
    *) hint="the upload did not happen" ;;
  esac
  message=${message# }
  die "S3 refused s3://$bucket/$key; $hint (aws said: ${message% })"
}

# interrupted STATUS ends the script at a signal, such as a cancelled job's.
interrupted() {
  [[ $following == false ]] ||
    log "interrupted after $(elapsed) $(standing); $(what_goes_on)"
  exit "$1"
}

on_exit() {
  local status=$? running
  trap - EXIT ERR
  trap '' HUP INT TERM
  # Before anything is taken back: S3 may keep a part that is still on its way.
  running=$(jobs -p)
  if [[ -n $running ]]; then
    # shellcheck disable=SC2086 # one word for each process
    kill -- ${packer:+"-$packer"} $running 2>/dev/null || :
    wait || :
  fi
  if [[ -n $multipart_id ]]; then
    if aws s3api abort-multipart-upload --bucket "$bucket" --key "$key" --upload-id "$multipart_id" >&2; then
      log "the unfinished upload is taken back"
    else
      log "the unfinished upload $multipart_id could not be taken back; the bucket's lifecycle rule will do it"
    fi
  fi
  rm -rf -- "$work"
  # A result that nobody got is no success.
  [[ $reportable == false ]] || print_result || status=$((status > 0 ? status : 1))
  exit "$status"
}

print_result() {
  local extra=''
  [[ $wait_for_end == false ]] ||
    extra=",\"state\":$(json "$state"),\"deploymentId\":$(json "$deployment_id"),\"reason\":$(json "$reason")"
  [[ $dry_run == false ]] || extra+=',"dryRun":true'
  printf '{"uploadId":%s,"bucket":%s,"key":%s,"versionId":%s,"eTag":%s,"sha256":%s,"size":%s,"application":%s,"deploymentGroup":%s%s}\n' \
    "$(json "$upload_id")" "$(json "$bucket")" "$(json "$key")" "$(json "$version_id")" "$(json "$etag")" \
    "$(json "$sha256")" "$size" "$(json "$application")" "$(json "$deployment_group")" "$extra"
}

# json TEXT prints a JSON string, or null for no text. Nothing that comes here
# has control characters: names are checked, replies are one line of text, and
# states are read as printable ASCII.
json() {
  local text=$1
  if [[ -z $text ]]; then
    printf null
    return
  fi
  text=${text//$'\\'/$'\\\\'}
  text=${text//$'"'/$'\\"'}
  printf '"%s"' "$text"
}

# to_bytes HEX writes the bytes that HEX spells.
to_bytes() {
  local hex=$1 escaped=''
  while [[ -n $hex ]]; do
    escaped+="\\x${hex:0:2}"
    hex=${hex:2}
  done
  printf '%b' "$escaped"
}

base64_of() { to_bytes "$1" | base64; }

md5_of() {
  local sum
  sum=$(md5sum <"$1")
  printf '%s' "${sum%% *}"
}

main "$@"
