#!/usr/bin/env bash
#/ Usage: install-gitlab.sh --version <x.y.z> --edition <ce|ee> --repository-url <url>
#/            --external-url <https://host> --data-volume <vol-…>
#/            --root-password-secret <arn> --region <region> [--signal-url <url>]
#/
#/ Installs GitLab on an Amazon Linux 2 host that has none: mounts the data
#/ volume at /var/opt/gitlab, keeps /etc/gitlab on it too, writes the settings for TLS that ends at a load
#/ balancer, installs exactly that version and waits for the sign-in page.
#/ A host that has GitLab already is left exactly as it is. A run that was
#/ interrupted is continued by the next one. Run it as root.
#/
#/ OPTIONS:
#/   --version <x.y.z>             Exact GitLab version, such as 13.10.2.
#/   --edition <ce|ee>             Community or Enterprise Edition.
#/   --repository-url <url>        Where the repositories gitlab-ce and gitlab-ee
#/                                 are, such as https://packages.gitlab.com/gitlab.
#/   --external-url <https://host> The address that users see.
#/   --data-volume <vol-…>         EBS volume for /var/opt/gitlab. It is formatted
#/                                 only when it is blank; a filesystem is kept,
#/                                 and an earlier server's data goes on with it.
#/   --root-password-secret <arn>  Secrets Manager secret with the first password
#/                                 of GitLab's user root, as plain text.
#/   --region <region>             AWS region of the secret.
#/   --signal-url <url>            Wait condition to tell the outcome. Optional.
#/   -h, --help                    Show this message.
#/
#/ ENVIRONMENT (seconds; for tests and by hand):
#/   INSTALL_TIMEOUT         The whole run. Default: 3300.
#/   INSTALL_VOLUME_TIMEOUT  The volume's attachment. Default: 300.
#/   INSTALL_READY_TIMEOUT   The sign-in page, once installed. Default: 900.
#/   INSTALL_POLL            Between two looks. Default: 5.
#/
#/ Exit status: 0 GitLab is there, 1 failed, 2 wrong use. What the packages
#/ say is in /var/log/gitlab-codedeploy-install.log.

set -Eeuo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
# shellcheck source=scripts/lib/signal.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/signal.sh"
# shellcheck source=scripts/lib/host.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/host.sh"
# shellcheck source=scripts/lib/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib/settings.sh"

INSTALL_VOLUME_TIMEOUT=${INSTALL_VOLUME_TIMEOUT:-300}
INSTALL_READY_TIMEOUT=${INSTALL_READY_TIMEOUT:-900}

DATA_DIR=/var/opt/gitlab
CONFIG_DIR=/etc/gitlab
# Where CONFIG_DIR really is, so that secrets and settings go with the data.
KEPT_CONFIG=$DATA_DIR/etc-gitlab
REPOSITORY=gitlab-codedeploy
# Exists from the first change to the host until GitLab has answered.
UNFINISHED=/var/lib/gitlab-codedeploy/installing

main() {
  refuse_trace
  parse_arguments "$@"
  check_host
  is_settled && return
  only_one_run gitlab-codedeploy-install
  is_settled && return
  check_unfinished

  # First, for a 13.x without a root password lets its first visitor set one.
  read_root_password
  printf '%s\n' "$PACKAGE" | write_file "$UNFINISHED" 600
  add_repository
  mount_data_volume
  mount_settings
  check_volume_content
  keep_gitaly_files
  write_settings
  install_package
  wait_until_ready
  rm -f "$UNFINISHED"
  log "$PACKAGE is installed and answers at $EXTERNAL_URL"
}

parse_arguments() {
  local version='' repository_url='' signal_url='' unknown=''
  EDITION='' EXTERNAL_URL='' DATA_VOLUME='' SECRET='' REGION=''
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        exit
        ;;
      --version) version=${2-} ;;
      --edition) EDITION=${2-} ;;
      --repository-url) repository_url=${2-} ;;
      --external-url) EXTERNAL_URL=${2-} ;;
      --data-volume) DATA_VOLUME=${2-} ;;
      --root-password-secret) SECRET=${2-} ;;
      --region) REGION=${2-} ;;
      --signal-url) signal_url=${2-} ;;
      *)
        unknown=${unknown:-$1}
        shift
        continue
        ;;
    esac
    shift $(($# > 1 ? 2 : 1))
  done

  # Before the other checks, so that a deploy hears of a mistake in them.
  report_outcome "$signal_url" gitlab
  [[ -z $unknown ]] || bad_usage "unknown argument '$unknown'"
  check_argument --version "$version" '[0-9]+\.[0-9]+\.[0-9]+' 'an exact version such as 13.10.2'
  check_argument --edition "$EDITION" 'ce|ee' 'ce or ee'
  check_repository_url "$repository_url"
  check_external_url "$EXTERNAL_URL"
  check_argument --data-volume "$DATA_VOLUME" 'vol-[0-9a-f]{8,17}' 'the id of an EBS volume such as vol-0123456789abcdef0'
  check_argument --root-password-secret "$SECRET" \
    'arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+' 'the ARN of a secret'
  check_argument --region "$REGION" '[a-z]{2}(-[a-z]+)+-[0-9]' 'a region such as ap-northeast-1'

  # Packages for Amazon Linux 2 itself begin with 14.9.0; the ones before are
  # those of EL 7. GitLab's repository script guesses wrongly for some.
  # https://docs.gitlab.com/install/package/
  VERSION=$version
  NAME=gitlab-$EDITION
  REPOSITORY_BASE=${repository_url%/}/$NAME
  if version_at_least "$version" 14.9.0; then
    RELEASE=$version-$EDITION.0.amazon2
    REPOSITORY_URL=$REPOSITORY_BASE/amazon/2/$(uname -m)
  else
    RELEASE=$version-$EDITION.0.el7
    REPOSITORY_URL=$REPOSITORY_BASE/el/7/$(uname -m)
  fi
  PACKAGE=$NAME-$RELEASE
}

check_host() {
  ((EUID == 0)) || die "run this as root"
  need aws awk blkid cmp curl diff find flock mkfs.xfs mountpoint rpm systemctl timeout wipefs yum
  # Elsewhere the packages' libraries, and with them the order of PostgreSQL's
  # indexes, would differ.
  [[ $(amazon_linux) == 2 ]] || die "this is not Amazon Linux 2: $(sed -n 's/^PRETTY_NAME=//p' /etc/os-release)"
  [[ $(uname -m) == x86_64 || $RELEASE == *.amazon2 ]] ||
    die "there is no GitLab $VERSION for $(uname -m): the first one is 14.9.0"
  # The agent starts scripts without it, and Chef wants one.
  export HOME=${HOME:-/root}
}

# is_settled is true when there is a GitLab that this script has nothing to do
# with any more: State Manager runs it again whenever its document changes.
is_settled() {
  local found
  found=$(installed_gitlab)
  [[ -n $found && ! -e $UNFINISHED ]] || return 1
  log "$found is installed already and stays as it is"
}

installed_gitlab() {
  local found
  found=$(installed_package gitlab-ce gitlab-ee)
  if [[ -z $found && -e /opt/gitlab/version-manifest.txt ]]; then
    found="$(head -n 1 /opt/gitlab/version-manifest.txt) in /opt/gitlab, without its package,"
  elif [[ -z $found && -e /opt/gitlab ]]; then
    found="a GitLab of unknown version in /opt/gitlab"
  fi
  printf '%s\n' "$found"
}

check_unfinished() {
  local found
  [[ -e $UNFINISHED ]] || return 0
  found=$(installed_package gitlab-ce gitlab-ee)
  [[ -z $found || $found == "$PACKAGE" ]] ||
    die "$found is installed, by a run that did not finish, and $PACKAGE is asked for: an installed version is never changed here"
  log "an earlier run did not finish: going on with it"
}

# read_root_password sets ROOT_PASSWORD, which reaches GitLab through the
# environment of the installation and nothing else.
# https://docs.gitlab.com/omnibus/installation/#set-up-the-initial-account
read_root_password() {
  log "reading the root password from Secrets Manager"
  # A new instance's role can take a moment to work.
  wait_for 120 get_root_password || die "cannot read the secret $SECRET in $REGION (see the messages above): nothing was installed"
  [[ ${#ROOT_PASSWORD} -ge 8 && $ROOT_PASSWORD != *$'\n'* && $ROOT_PASSWORD != '{"'*'}' ]] ||
    die "the secret $SECRET is no password: want one line of at least 8 characters, not JSON"
}

get_root_password() {
  ROOT_PASSWORD=$(timeout 60 aws secretsmanager get-secret-value --region "$REGION" --secret-id "$SECRET" \
    --query SecretString --output text)
}

add_repository() {
  local keys=("$REPOSITORY_BASE/gpgkey/gitlab-$NAME-3D645A26AB9FBD22.pub.gpg")
  # The key was replaced in February 2025.
  # https://docs.gitlab.com/omnibus/update/package_signatures/
  if version_at_least "$VERSION" 17.7.0; then
    keys+=("$REPOSITORY_BASE/gpgkey/gitlab-$NAME-CB947AD886C8E8FD.pub.gpg")
  fi
  log "looking for $PACKAGE in $REPOSITORY_URL"
  write_repository "$REPOSITORY" "$REPOSITORY_URL"
  require_available "$REPOSITORY" "$REPOSITORY_URL" "$NAME" "$RELEASE"
  import_keys "${keys[@]}"
}

# mount_data_volume leaves /var/opt/gitlab as a mount of the data volume, or
# ends the script: without it the data would land on the root volume, unseen.
mount_data_volume() {
  log "waiting for $DATA_VOLUME"
  wait_for "$INSTALL_VOLUME_TIMEOUT" find_device ||
    die "$DATA_VOLUME is not attached after $INSTALL_VOLUME_TIMEOUT s"
  if ! mountpoint -q "$DATA_DIR"; then
    [[ ! -e $DATA_DIR || -z $(ls -A "$DATA_DIR") ]] ||
      die "$DATA_DIR holds files and is not a mount: move them away first"
    format_blank_volume
    record_mount
    mkdir -p "$DATA_DIR"
    # By device: by its entry in fstab, with nofail, mount would report success
    # for a volume that it does not find.
    mount -o noatime "$DEVICE" "$DATA_DIR" || die "cannot mount $DEVICE ($DATA_VOLUME) at $DATA_DIR"
    mountpoint -q "$DATA_DIR" || die "$DATA_DIR is not mounted, though mount reports success"
  fi
  [[ $(mountpoint -d "$DATA_DIR") == "$(mountpoint -x "$DEVICE")" ]] ||
    die "$DATA_DIR is a mount of something else than $DATA_VOLUME ($DEVICE)"
  log "$DATA_VOLUME ($DEVICE) is mounted at $DATA_DIR"
}

# find_device sets DEVICE. The volume's id is the serial number of its NVMe
# device; the attachment's /dev/sdf is only a wish there.
# https://docs.aws.amazon.com/ebs/latest/userguide/identify-nvme-ebs-device.html
find_device() {
  local serial=${DATA_VOLUME/-/} link file
  for link in "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_$serial"{,-ns-1}; do
    if [[ -b $link ]]; then
      DEVICE=$(readlink -f "$link")
      return
    fi
  done
  for file in /sys/block/nvme*/device/serial; do
    if [[ -r $file && $(tr -d ' \n' <"$file") == "$serial" ]]; then
      file=${file%/device/serial}
      DEVICE=/dev/${file##*/}
      [[ ! -b $DEVICE ]] || return 0
    fi
  done
  return 1
}

# format_blank_volume makes a filesystem only where there is nothing at all:
# no signature for blkid, none for wipefs, zeros at the start.
format_blank_volume() {
  local type status=0 signatures
  type=$(blkid -p -s TYPE -o value "$DEVICE") || status=$?
  case $status:$type in
    0:xfs | 0:ext4)
      log "$DATA_VOLUME holds an $type filesystem, which is kept"
      return
      ;;
    2:) ;;
    *) die "$DATA_VOLUME ($DEVICE) holds '${type:-something}' (blkid: status $status) and no filesystem of ours: it is left as it is" ;;
  esac
  signatures=$(wipefs --no-act "$DEVICE") || die "cannot look for signatures on $DEVICE"
  [[ -z $signatures ]] || die "$DATA_VOLUME ($DEVICE) is not blank: it is left as it is. $signatures"
  # A new EBS volume reads as zeros.
  cmp -s -n $((4 * 1024 * 1024)) "$DEVICE" /dev/zero ||
    die "$DATA_VOLUME ($DEVICE) has no signature and yet data: it is left as it is"
  log "formatting the blank $DATA_VOLUME ($DEVICE)"
  # Without -f, so that mkfs.xfs looks once more for itself.
  mkfs.xfs -q -L gitlab-data "$DEVICE" || die "cannot format $DEVICE"
}

# mount_settings makes /etc/gitlab a folder of the data volume, by a bind mount:
# a new server finds the secrets that fit the database. What was in /etc/gitlab
# before moves there.
mount_settings() {
  if ! mountpoint -q "$CONFIG_DIR"; then
    mkdir -p "$CONFIG_DIR"
    move_settings
    # systemd mounts it after the volume that it is on.
    # https://www.freedesktop.org/software/systemd/man/systemd.mount.html#Implicit%20Dependencies
    add_to_fstab "$KEPT_CONFIG $CONFIG_DIR none bind,nofail 0 0"
    mount --bind "$KEPT_CONFIG" "$CONFIG_DIR" || die "cannot mount $KEPT_CONFIG at $CONFIG_DIR"
  fi
  [[ $CONFIG_DIR -ef $KEPT_CONFIG ]] || die "$CONFIG_DIR is a mount of something else than $KEPT_CONFIG"
}

# move_settings copies first, and lets nothing win over what differs from it.
move_settings() {
  local differences
  if [[ ! -e $KEPT_CONFIG ]]; then
    rm -rf "$KEPT_CONFIG.new"
    cp -a "$CONFIG_DIR" "$KEPT_CONFIG.new"
    mv "$KEPT_CONFIG.new" "$KEPT_CONFIG"
  fi
  differences=$(diff -rq "$CONFIG_DIR" "$KEPT_CONFIG" | grep -v "^Only in $KEPT_CONFIG") || true
  [[ -z $differences ]] ||
    die "$CONFIG_DIR and $KEPT_CONFIG ($DATA_VOLUME) hold different settings: keep the right ones in one of the two, and empty the other: $differences"
  find "$CONFIG_DIR" -mindepth 1 -delete
}

# add_to_fstab LINE adds a line that is not there yet.
add_to_fstab() {
  if grep -Fxq "$1" /etc/fstab; then
    return
  fi
  {
    awk 1 /etc/fstab # also ends a last line that is open
    printf '%s\n' "$1"
  } | write_file /etc/fstab 644
}

# record_mount adds the volume to /etc/fstab, by UUID, for device names change
# between boots, and with nofail, for without the volume Session Manager must
# still reach the host.
record_mount() {
  local uuid type recorded
  uuid=$(blkid -p -s UUID -o value "$DEVICE")
  type=$(blkid -p -s TYPE -o value "$DEVICE")
  recorded=$(awk -v dir="$DATA_DIR" '$1 !~ /^#/ && $2 == dir { print $1 }' /etc/fstab)
  case $recorded in
    "UUID=$uuid") ;;
    '') add_to_fstab "UUID=$uuid $DATA_DIR $type defaults,noatime,nofail 0 2" ;;
    *) die "/etc/fstab mounts $recorded at $DATA_DIR, and not $DATA_VOLUME (UUID=$uuid)" ;;
  esac
  # With nofail the host boots without the volume; GitLab must not.
  write_file /etc/systemd/system/gitlab-runsvdir.service.d/data-volume.conf 644 <<END
# Written by gitlab-codedeploy: GitLab starts only when its data is mounted.
[Unit]
RequiresMountsFor=$DATA_DIR $CONFIG_DIR
END
  systemctl daemon-reload
}

# check_volume_content stops before the package is installed on the data of
# an earlier server that it does not fit.
check_volume_content() {
  local version=''
  [[ -e $DATA_DIR/postgresql/data/PG_VERSION ]] || return 0
  [[ -s $CONFIG_DIR/gitlab-secrets.json ]] ||
    die "$DATA_VOLUME holds the data of an earlier server and not its secrets: put its gitlab-secrets.json into $CONFIG_DIR (a backup's secrets hold it) and run this again; with new secrets, what is encrypted in the database would be lost"
  if [[ -r $DATA_DIR/gitlab-workhorse/VERSION ]]; then
    # Workhorse carries GitLab's version since they share a repository; before, it had 8.x.
    version=$(grep -Eo '[0-9]{2}\.[0-9]+\.[0-9]+' "$DATA_DIR/gitlab-workhorse/VERSION" | head -n 1) || version=''
  fi
  [[ -z $version || $version == "$VERSION" ]] ||
    die "$DATA_VOLUME holds the data of GitLab $version, and $VERSION is asked for: install the same version (gitlab.server.version)"
}

# keep_gitaly_files: 14.7 to 14.9 keep Gitaly's hooks and Git in /tmp, where
# Amazon Linux removes what was not touched for ten days. Whatever version
# this host begins with, its upgrades pass 14.9.
# https://gitlab.com/gitlab-org/gitaly/-/issues/4113
keep_gitaly_files() {
  write_file /etc/tmpfiles.d/gitlab-codedeploy.conf 644 <<'END'
# Written by gitlab-codedeploy: Gitaly runs from these until GitLab 14.10.
x /tmp/gitaly-hooks-*
x /tmp/gitaly-git-exec-path-*
END
}

# write_settings comes before the package, whose first reconfigure reads them.
write_settings() {
  settings_text "$EXTERNAL_URL" | write_file "$SETTINGS" 600
  if [[ -e $MAIN_SETTINGS ]]; then
    includes_settings "$MAIN_SETTINGS" ||
      die "$MAIN_SETTINGS is not ours and does not include our settings: add the line $INCLUDE_LINE at its end"
    log "$MAIN_SETTINGS is kept; it includes $SETTINGS"
    return
  fi
  write_file "$MAIN_SETTINGS" 600 <<END
$SETTINGS_HEADER
# Add settings above the last line.

# The package looks for this line here, and skips its first reconfigure
# without it. What counts is the one in the included file.
external_url '$EXTERNAL_URL'

$INCLUDE_LINE
END
}

install_package() {
  local reconfigure=''
  # The package skips the first reconfigure when it finds this file, which the
  # volume of an earlier server has.
  [[ ! -e $DATA_DIR/bootstrapped ]] || reconfigure=1
  if [[ -z $(installed_package "$NAME") ]]; then
    log "installing $PACKAGE; this takes ten minutes and more"
    with_root_password yum -y --enablerepo="$REPOSITORY" install "$PACKAGE" ||
      die "yum could not install $PACKAGE: $(last_logged)"
    [[ $(installed_package "$NAME") == "$PACKAGE" ]] ||
      die "yum reports success, and $PACKAGE is not installed: $(last_logged)"
    # rpm only warns of it, and the reconfigure runs in such a scriptlet.
    if grep -q 'scriptlet failed' "$INSTALL_LOG"; then
      reconfigure=1
    fi
  else
    reconfigure=1
  fi
  if [[ -n $reconfigure || ! -e $DATA_DIR/bootstrapped ]]; then
    log "configuring $PACKAGE"
    with_root_password /opt/gitlab/bin/gitlab-ctl reconfigure || die "gitlab-ctl reconfigure failed: $(last_logged)"
  fi
}

# with_root_password runs a command that may seed GitLab's database.
with_root_password() {
  GITLAB_ROOT_PASSWORD=$ROOT_PASSWORD REDACT=$ROOT_PASSWORD logged timeout "$(seconds_left)" "$@"
}

wait_until_ready() {
  log "waiting for the sign-in page"
  wait_for "$INSTALL_READY_TIMEOUT" answers_sign_in "$EXTERNAL_URL" && return
  case $ANSWER in
    30?) die "/users/sign_in redirects (HTTP $ANSWER), as it does while root has no password" ;;
    *) die "/users/sign_in does not answer with 200; the last answer was HTTP $ANSWER" ;;
  esac
}

main "$@"
