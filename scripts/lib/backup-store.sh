# Where backups of GitLab are kept, and when one counts. Source it after
# common.sh and host.sh, do not run it. Keep it to bash 4.2, like common.sh,
# and to what EL 7 and Debian of 2019 have: backup-gitlab.sh runs on the old
# server, too.
#
# A backup is what lies in a bucket, or in a folder, under its id, which is
# GitLab's own (1606734000_2020_11_30_13.10.2, with -ee at its end for that edition):
#
#   backups/<id>/<id>_gitlab_backup.tar   what gitlab-backup made
#   backups/<id>/shared.tar.gz            packages and Terraform states, before 14.7
#   secrets/<id>/gitlab-secrets.json …    gitlab.rb, our settings, SSH host keys
#   backups/<id>/manifest.json            all of these with size and SHA-256
#
# The manifest is written last and removed first: without a valid one there is
# no backup. It is JSON of a fixed form, a line for each part, that ends with
# the SHA-256 of the lines before: whoever has no jq can read it strictly.
# shellcheck shell=bash disable=SC2034 # who sources it uses what it sets

# All for tests.
BACKUP_DATA=${BACKUP_DATA:-/var/opt/gitlab}
BACKUP_CONFIG=${BACKUP_CONFIG:-/etc/gitlab}
BACKUP_STATE=${BACKUP_STATE:-/var/lib/gitlab-codedeploy}

BACKUP_REGION=

BACKUP_ID_PATTERN='[0-9]{10}_[0-9]{4}_[0-9]{2}_[0-9]{2}_[0-9]+\.[0-9]+\.[0-9]+(-ee)?'
# A part's place. No blanks, and no way up.
BACKUP_PART_PATTERN='[A-Za-z0-9_][A-Za-z0-9_.-]*'

# Exists from restore-gitlab.sh's first change until all of it went well.
BACKUP_UNFINISHED_RESTORE=$BACKUP_STATE/restoring

# check_backup_store STORE REGION checks arguments: a store is s3://bucket, or the
# absolute path of a folder.
check_backup_store() {
  if [[ $1 == s3://* ]]; then
    check_argument --bucket "${1#s3://}" '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]' 'the name of a bucket'
    check_argument --region "$2" '[a-z]{2}(-[a-z]+)+-[0-9]' 'a region such as ap-northeast-1'
    need aws
    BACKUP_REGION=$2
  else
    check_argument --dir "$1" '/[A-Za-z0-9._/-]+' 'the absolute path of a folder'
  fi
}

# s3 WORD… is the AWS CLI, in the backups' region if there is one. The lock
# stays with the script.
s3() { timeout "${BACKUP_TIMEOUT:-86400}" aws "$@" ${BACKUP_REGION:+--region "$BACKUP_REGION"} 9>&- </dev/null; }

# find_backup_folder sets BACKUP_FOLDER to where GitLab puts its backups.
find_backup_folder() {
  local settings=$BACKUP_DATA/gitlab-rails/etc/gitlab.yml
  BACKUP_FOLDER=
  [[ ! -r $settings ]] || BACKUP_FOLDER=$(awk '
    /^  backup:/ { inside = 1; next }
    inside && /^  [^ #]/ { exit }
    inside && $1 == "path:" { gsub(/["'\'']/, "", $2); print $2; exit }' "$settings")
  BACKUP_FOLDER=${BACKUP_FOLDER:-$BACKUP_DATA/backups}
  [[ -d $BACKUP_FOLDER ]] || die "GitLab's folder of backups, $BACKUP_FOLDER, is not there"
}

# Files come and go while they are counted.
kib_of() { { du -skc -- "$@" 2>/dev/null || true; } | awk 'END { print $1 + 0 }'; }
kib_free() { df -Pk -- "$1" | awk 'NR == 2 { print $4 }'; }

# read_backup_information TAR sets BACKUP_FULL_VERSION, BACKUP_VERSION,
# BACKUP_EDITION and BACKUP_SKIPPED; nothing is unpacked for it.
read_backup_information() {
  local text
  text=$(tar -xOf "$1" backup_information.yml | head -c 10000) || die "$1 holds no backup_information.yml that can be read"
  BACKUP_FULL_VERSION=$(sed -n "s/^:gitlab_version:[ ]*[\"']\{0,1\}\([0-9A-Za-z.-]*\).*/\1/p" <<<"$text")
  BACKUP_SKIPPED=$(sed -n "s/^:skipped:[ ]*[\"']\{0,1\}\([a-z_,]*\).*/\1/p" <<<"$text")
  split_backup_version "$BACKUP_FULL_VERSION"
}

# split_backup_version 13.10.2[-ee]
split_backup_version() {
  [[ $1 =~ ^[0-9]+\.[0-9]+\.[0-9]+(-ee)?$ ]] || die "the backup says it is of GitLab '$1', and that is no version"
  BACKUP_VERSION=${1%-ee} BACKUP_EDITION=ce
  [[ $1 != *-ee ]] || BACKUP_EDITION=ee
}

# list_stored BUCKET PREFIX prints "key size etag", divided by tabs.
list_stored() {
  local text
  text=$(s3 s3api list-objects-v2 --bucket "$1" --prefix "$2" --query 'Contents[].[Key, Size, ETag]' --output text) || return
  [[ $text == None ]] || printf '%s\n' "$text"
}

# read_manifest FILE ID takes a manifest of that id apart: BACKUP_VERSION,
# BACKUP_EDITION, BACKUP_HOST, BACKUP_CREATED, and in PARTS a line "key size
# sha256" for each part. It fails, with the reason in MANIFEST_PROBLEM, for
# anything but what write_manifest writes.
read_manifest() {
  local file=$1 id=$2 line hash head number=0
  local part="^\{\"key\": \"((backups|secrets)/$BACKUP_ID_PATTERN/$BACKUP_PART_PATTERN)\", \"size\": ([0-9]{1,18}), \"sha256\": \"([0-9a-f]{64})\"\},$"
  BACKUP_VERSION='' BACKUP_EDITION='' BACKUP_HOST='' BACKUP_CREATED='' PARTS='' MANIFEST_PROBLEM='it is not of the form that it should have'
  [[ $(wc -c <"$file") -le 65536 ]] || return 1
  hash=$(tail -n 2 "$file" | sed -n '1s/^"sha256": "\([0-9a-f]*\)"$/\1/p')
  head=$(head -n -2 "$file" | sha256sum)
  if [[ -z $hash || ${head%% *} != "$hash" || $(tail -n 1 "$file") != '}' ]]; then
    MANIFEST_PROBLEM='it was changed, or is cut off: it does not match its own SHA-256'
    return 1
  fi
  while IFS= read -r line; do
    number=$((number + 1))
    case $number:$line in
      '1:{' | '2:"format": "gitlab-codedeploy-backup-1",' | '8:"parts": [') ;;
      "3:\"id\": \"$id\",") ;;
      3:*)
        MANIFEST_PROBLEM="it is of another backup: ${line:0:100}"
        return 1
        ;;
      4:*) BACKUP_VERSION=$(sed -n 's/^"version": "\([0-9.]*\)",$/\1/p' <<<"$line") ;;
      5:*) BACKUP_EDITION=$(sed -n 's/^"edition": "\([ce]e\)",$/\1/p' <<<"$line") ;;
      6:*) BACKUP_HOST=$(sed -n 's/^"host": "\([A-Za-z0-9.-]*\)",$/\1/p' <<<"$line") ;;
      7:*) BACKUP_CREATED=$(sed -n 's/^"createdAt": "\([0-9TZ:-]*\)",$/\1/p' <<<"$line") ;;
      *:'null],') ;;
      *)
        [[ $line =~ $part && ${BASH_REMATCH[1]} == */"$id"/* ]] || return 1
        PARTS+="${BASH_REMATCH[1]} ${BASH_REMATCH[4]} ${BASH_REMATCH[5]}"$'\n'
        ;;
    esac
  done < <(head -n -2 "$file")
  [[ -n $BACKUP_CREATED && $id == *_"$BACKUP_VERSION" && $BACKUP_EDITION == ce ||
    -n $BACKUP_CREATED && $id == *_"$BACKUP_VERSION-ee" && $BACKUP_EDITION == ee ]] || return 1
  [[ $PARTS == *"backups/$id/${id}_gitlab_backup.tar "* && $PARTS == *"secrets/$id/gitlab-secrets.json "* ]] || {
    MANIFEST_PROBLEM='it names no tar or no secrets'
    return 1
  }
}

# backup_ids BUCKET prints the ids that have a manifest, the newest first.
backup_ids() {
  s3 s3api list-objects-v2 --bucket "$1" --prefix backups/ \
    --query "Contents[?ends_with(Key, '/manifest.json')].[Key]" --output text |
    sed -nE "s|^backups/($BACKUP_ID_PATTERN)/manifest.json$|\1|p" | sort -r
}

# fetch_manifest STORE ID FILE copies a backup's manifest to a file.
fetch_manifest() {
  if [[ $1 == s3://* ]]; then
    s3 s3api get-object --bucket "${1#s3://}" --key "backups/$2/manifest.json" "$3" >/dev/null
  else
    cp "$1/backups/$2/manifest.json" "$3"
  fi
}

# check_stored_parts STORE ID: are all PARTS there, in their size? If not,
# MANIFEST_PROBLEM says which is not.
check_stored_parts() {
  local key size hash found stored='' store=$1
  if [[ $store == s3://* ]]; then
    MANIFEST_PROBLEM='its parts cannot be listed'
    stored=$(list_stored "${store#s3://}" "backups/$2/" && list_stored "${store#s3://}" "secrets/$2/") || return 1
  fi
  # shellcheck disable=SC2034 # the hash is checked once it is here
  while read -r key size hash; do
    [[ -n $key ]] || continue
    if [[ $store == s3://* ]]; then
      found=$(awk -F '\t' -v key="$key" '$1 == key { print $2 }' <<<"$stored")
    else
      found=$(stat -c %s "$store/$key" 2>/dev/null) || found=
    fi
    [[ $found == "$size" ]] && continue
    MANIFEST_PROBLEM="$key is missing"
    [[ -z $found ]] || MANIFEST_PROBLEM="$key has $found bytes, and $size were written"
    return 1
  done <<<"$PARTS"
}

# newest_backup BUCKET sets BACKUP_ID, BACKUP_AGE in seconds, BACKUP_VERSION and
# BACKUP_EDITION to those of the newest complete backup, or fails.
newest_backup() {
  local ids id file
  [[ $1 == s3://* ]] || set -- "s3://$1"
  ids=$(backup_ids "${1#s3://}") || die "cannot list the backups in $1"
  file=$(mktemp)
  for id in $ids; do
    if fetch_manifest "$1" "$id" "$file" && read_manifest "$file" "$id" && check_stored_parts "$1" "$id"; then
      rm -f "$file"
      BACKUP_ID=$id
      BACKUP_AGE=$(($(date +%s) - 10#${id%%_*}))
      return
    fi
    log "$id does not count: ${MANIFEST_PROBLEM:-its manifest cannot be read}"
  done
  rm -f "$file"
  return 1
}
