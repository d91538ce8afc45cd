#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2119,SC2120 # text for shells on the host; optional arguments
# The installation of GitLab, on a stand-in host (fixtures/host/host.bash):
# real dnf, rpm with signatures, mkfs, mount and HTTP; packages that behave as
# GitLab's do around the first reconfigure.

load helper
load fixtures/host/host

# The characters are those that Ruby, JSON or a shell would write differently.
PASSWORD='Pa$s"w\o#r`d 1'

setup_file() {
  require_host
  make_key
  make_host_package
  local spec=$BATS_TEST_DIRNAME/fixtures/host/gitlab.spec key=gitlab-gitlab-ce-3D645A26AB9FBD22.pub.gpg
  make_package gitlab-ce 13.10.2 ce.0.el7 "$spec" gitlab/gitlab-ce/el/7/x86_64
  make_package gitlab-ce 13.12.15 ce.0.el7 "$spec" gitlab/gitlab-ce/el/7/x86_64
  make_package gitlab-ce 14.9.5 ce.0.amazon2 "$spec" gitlab/gitlab-ce/amazon/2/x86_64
  make_package gitlab-ee 13.10.2 ee.0.el7 "$spec" gitlab/gitlab-ee/el/7/x86_64
  make_package gitlab-ce 13.10.2 ce.0.el7 "$spec" unsigned/gitlab-ce/el/7/x86_64 unsigned
  for folder in gitlab/gitlab-ce/{el/7,amazon/2} gitlab/gitlab-ee/el/7 unsigned/gitlab-ce/el/7; do
    make_repository "$folder/x86_64"
  done
  mkdir "$BATS_FILE_TMPDIR/www/base"
  make_repository base
  cp -r "$BATS_FILE_TMPDIR/www/gitlab" "$BATS_FILE_TMPDIR/www/keyless"
  publish_key {gitlab,unsigned}/gitlab-ce/gpgkey/$key gitlab/gitlab-ee/gpgkey/${key//-ce-/-ee-}
}

setup() {
  require_host
  start_host
  printf '%s' "$PASSWORD" >"$STATE/secret"
  stub aws 'cat "$STATE/secret"'
}

teardown() { stop_host; }

install_gitlab() {
  on_host "$ROOT/scripts/server/install-gitlab.sh" --version 13.10.2 --edition ce \
    --repository-url "$HOST_URL/gitlab" --external-url https://gitlab.example.com --data-volume "$VOLUME" \
    --root-password-secret arn:aws:secretsmanager:ap-northeast-1:111111111111:secret:GitLabRoot-AbCdEf \
    --region ap-northeast-1 --signal-url "$HOST_URL/wait%3Acondition?Signature=a%2Bb&Expires=1" "$@"
}

# failed REASON asserts a failed run whose reason has reached CloudFormation.
failed() {
  [ "$status" -eq "${2:-1}" ]
  [ "$(signals)" -eq 1 ]
  [ "$(signal 1 Status)" = FAILURE ]
  [[ $(signal 1 Reason) == *"$1"* ]]
}

nothing_installed() {
  [ -z "$(on_host rpm -qa 'gitlab-*')" ]
  run ! on_host test -e /opt/gitlab
}

@test "S5: a blank host ends with GitLab on its data volume and its sign-in page open" {
  attach_volume
  run install_gitlab
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$(on_host rpm -q gitlab-ce)" = gitlab-ce-13.10.2-ce.0.el7.noarch ]
  [ "$(on_host findmnt -n -o FSTYPE /var/opt/gitlab)" = xfs ]
  on_host test -e /var/opt/gitlab/postgresql/data/PG_VERSION
  [ "$(signals)" -eq 1 ]
  [ "$(signal 1 Status)" = SUCCESS ]
  [[ $(signal 1 Data) == *"gitlab-ce-13.10.2-ce.0.el7 is installed and answers at https://gitlab.example.com"* ]]
  # The package's own reconfigure was right the first time: it found its line
  # in gitlab.rb, and the script had nothing to add.
  [[ $output != *"configuring gitlab-ce"* ]]
  [ "$(on_host cat /var/opt/gitlab/reconfigures)" = reconfigure ]
  run ! on_host test -e /var/lib/gitlab-codedeploy/installing
}

@test "S5: the volume is mounted again after a boot: by UUID, never stopping the boot, and before GitLab" {
  attach_volume
  install_gitlab
  local uuid entry
  uuid=$(blkid -p -s UUID -o value "$LOOP")
  entry="UUID=$uuid /var/opt/gitlab xfs defaults,noatime,nofail 0 2"
  [ "$(on_host tail -n 2 /etc/fstab)" = "$entry
/var/opt/gitlab/etc-gitlab /etc/gitlab none bind,nofail 0 0" ]
  [ "$(on_host sed -n 2p /etc/fstab)" = '/dev/xvda1 / xfs defaults 1 1' ]
  on_host grep -qx 'RequiresMountsFor=/var/opt/gitlab /etc/gitlab' /etc/systemd/system/gitlab-runsvdir.service.d/data-volume.conf
  grep -qx 'systemctl daemon-reload' "$CALLS"
  on_host umount /etc/gitlab /var/opt/gitlab
  on_host mount /var/opt/gitlab
  on_host mount /etc/gitlab
  on_host test -e /var/opt/gitlab/postgresql/data/PG_VERSION
  on_host test -e /etc/gitlab/gitlab-secrets.json
}

@test "S5: secrets and settings are on the data volume, and none stay on the host's own" {
  attach_volume
  on_host bash -c 'mkdir -p /etc/gitlab/trusted-certs && echo mine >/etc/gitlab/trusted-certs/ca.crt && chmod 640 /etc/gitlab/trusted-certs/ca.crt'
  install_gitlab
  on_host test -e /var/opt/gitlab/etc-gitlab/gitlab-secrets.json
  [ "$(on_host cat /etc/gitlab/trusted-certs/ca.crt)" = mine ]
  [ "$(on_host stat -c %a /etc/gitlab/trusted-certs/ca.crt)" = 640 ]
  on_host umount /etc/gitlab
  [ -z "$(on_host ls -A /etc/gitlab)" ]
}

@test "S5: a new server goes on with the volume of a lost one, secrets and users' numbers as they were" {
  attach_volume
  install_gitlab
  on_host bash -c 'echo "{\"key\": \"of the database\"}" >/etc/gitlab/gitlab-secrets.json && echo "# mine" | cat - /etc/gitlab/gitlab.rb >/tmp/rb && cp /tmp/rb /etc/gitlab/gitlab.rb'
  local settings
  settings=$(on_host sha256sum /etc/gitlab/gitlab.rb /etc/gitlab/gitlab-codedeploy.rb)
  stop_host
  rm "$SIGNALS"/*

  start_host
  printf 'another password' >"$STATE/secret"
  stub aws 'cat "$STATE/secret"'
  attach_volume
  run install_gitlab
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$(signal 1 Status)" = SUCCESS ]
  [[ $output == *"holds an xfs filesystem, which is kept"* ]]
  [ "$(on_host cat /etc/gitlab/gitlab-secrets.json)" = '{"key": "of the database"}' ]
  [ "$(on_host sha256sum /etc/gitlab/gitlab.rb /etc/gitlab/gitlab-codedeploy.rb)" = "$settings" ]
  [ "$(on_host cat /var/opt/gitlab/seed)" = "$(printf '%s' "$PASSWORD" | sha256sum | cut -d' ' -f1)" ]
  [ "$(on_host cat /var/opt/gitlab/reconfigures)" = $'reconfigure\nreconfigure' ]
  for user in user web_server redis postgresql registry prometheus; do
    on_host grep -Eqx "$user\['uid'\] = 88[0-5]" /etc/gitlab/gitlab-codedeploy.rb
    on_host grep -Eqx "$user\['gid'\] = 88[0-5]" /etc/gitlab/gitlab-codedeploy.rb
  done
  [ "$(on_host grep -c "= 88[0-5]$" /etc/gitlab/gitlab-codedeploy.rb)" -eq 12 ]
}

@test "S5: settings on the host that differ from the volume's stop the run, and neither is touched" {
  attach_volume
  mkfs.xfs -q "$LOOP"
  on_host bash -c 'mkdir -p /var/opt/gitlab /etc/gitlab && mount /dev/nvme1n1 /var/opt/gitlab && mkdir /var/opt/gitlab/etc-gitlab &&
    echo old >/var/opt/gitlab/etc-gitlab/gitlab-secrets.json && umount /var/opt/gitlab && echo new >/etc/gitlab/gitlab-secrets.json'
  run install_gitlab
  failed "/etc/gitlab and /var/opt/gitlab/etc-gitlab ($VOLUME) hold different settings"
  nothing_installed
  [ "$(on_host cat /etc/gitlab/gitlab-secrets.json)" = new ]
  [ "$(on_host cat /var/opt/gitlab/etc-gitlab/gitlab-secrets.json)" = old ]
}

@test "S5: another mount at /etc/gitlab stops the run" {
  attach_volume
  on_host bash -c 'mkdir -p /etc/gitlab && mount -t tmpfs tmpfs /etc/gitlab'
  run install_gitlab
  failed '/etc/gitlab is a mount of something else than /var/opt/gitlab/etc-gitlab'
  nothing_installed
}

@test "S6: GitLab's settings are for TLS that ends at the load balancer, in an included file, readable by root only" {
  attach_volume
  install_gitlab
  for file in gitlab.rb gitlab-codedeploy.rb; do
    [ "$(on_host stat -c %a "/etc/gitlab/$file")" = 600 ]
    [[ $(on_host head -n 1 "/etc/gitlab/$file") == '# Written by gitlab-codedeploy'* ]]
    on_host grep -qx "external_url 'https://gitlab.example.com'" "/etc/gitlab/$file"
  done
  [ "$(on_host tail -n 1 /etc/gitlab/gitlab.rb)" = "from_file '/etc/gitlab/gitlab-codedeploy.rb'" ]
  on_host grep -qx "nginx\['listen_port'\] = 80" /etc/gitlab/gitlab-codedeploy.rb
  on_host grep -qx "nginx\['listen_https'\] = false" /etc/gitlab/gitlab-codedeploy.rb
}

@test "S5: the second run changes nothing at all and reports success" {
  attach_volume
  install_gitlab
  local before
  before=$(host_state)
  : >"$CALLS"
  # Another version, another volume: whatever is asked for.
  run install_gitlab --version 13.12.15 --data-volume vol-00000000000000000
  [ "$status" -eq 0 ]
  [[ $output == *"gitlab-ce-13.10.2-ce.0.el7 is installed already and stays as it is"* ]]
  [ "$(host_state)" = "$before" ]
  run ! grep -v '^uname -m' "$CALLS"
  [ "$(signals)" -eq 2 ]
  [ "$(signal 2 Status)" = SUCCESS ]
}

@test "S5: a GitLab that somebody else installed is left alone, another edition and one without a package too" {
  on_host bash -c 'mkdir -p /opt/gitlab && echo "gitlab-ee 12.4.0" >/opt/gitlab/version-manifest.txt'
  local before
  before=$(host_state)
  run install_gitlab
  [ "$status" -eq 0 ]
  [[ $output == *"gitlab-ee 12.4.0 in /opt/gitlab, without its package, is installed already"* ]]
  [ "$(host_state)" = "$before" ]

  on_host rm -rf /opt/gitlab
  on_host mkdir -p /var/opt/gitlab
  on_host rpm --force-debian --install --nosignature "$BATS_FILE_TMPDIR/www/gitlab/gitlab-ee/el/7/x86_64/gitlab-ee-13.10.2-ee.0.el7.rpm"
  before=$(host_state)
  run install_gitlab
  [ "$status" -eq 0 ]
  [[ $output == *"gitlab-ee-13.10.2-ee.0.el7 is installed already"* ]]
  [ "$(host_state)" = "$before" ]
  [ "$(signal 2 Status)" = SUCCESS ]
}

@test "S5: a run killed at any step is continued by the next one" {
  attach_volume
  local step
  for step in 'rpm -q' 'aws get-secret-value' 'yum list' 'rpm --import' 'blkid -p' 'mkfs.xfs -q' 'systemctl daemon-reload' \
    'mount -o' 'mountpoint -x' 'cp -a' 'diff -rq' 'mount --bind' 'yum install'; do
    case $step in
      aws*) kill_after aws get-secret-value 'cat "$STATE/secret" #' ;;
      yum*) kill_after yum "${step#* }" dnf ;;
      systemctl*) kill_after systemctl daemon-reload : ;;
      *) kill_after "${step/ */}" "${step#* }" ;;
    esac
    run killed_install
    echo "$step: $status: $output"
    [ "$status" -eq 137 ]
    [ ! -e "$STUBS/${step/ */}" ]
    stub aws 'cat "$STATE/secret"'
    stub yum 'exec dnf "$@"'
    stub systemctl
  done
  run install_gitlab
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *"an earlier run did not finish"* ]]
  [ "$(on_host rpm -q gitlab-ce)" = gitlab-ce-13.10.2-ce.0.el7.noarch ]
  [ "$(on_host grep -c ' /var/opt/gitlab ' /etc/fstab)" -eq 1 ]
  [ "$(on_host grep -c ' /etc/gitlab ' /etc/fstab)" -eq 1 ]
  [ "$(on_host cat /var/opt/gitlab/seed)" = "$(printf '%s' "$PASSWORD" | sha256sum | cut -d' ' -f1)" ]
  [ "$(signal 1 Status)" = SUCCESS ]
}

# killed_install runs in a process group of its own, which kill_after kills.
killed_install() {
  on_host setsid --wait "$ROOT/scripts/server/install-gitlab.sh" --version 13.10.2 --edition ce \
    --repository-url "$HOST_URL/gitlab" --external-url https://gitlab.example.com --data-volume "$VOLUME" \
    --root-password-secret arn:aws:secretsmanager:ap-northeast-1:111111111111:secret:GitLabRoot-AbCdEf --region ap-northeast-1
}

@test "S5: a run killed during the package's first reconfigure is continued, with the root password" {
  attach_volume
  on_host bash -c 'mkdir -p /etc/gitlab/test && touch /etc/gitlab/test/hang-reconfigure'
  killed_install 2>"$BATS_TEST_TMPDIR/killed" &
  local deadline=$((SECONDS + 30))
  until on_host test -e /var/opt/gitlab/bootstrapped; do
    ((SECONDS < deadline))
    sleep 0.1
  done
  on_host pkill -KILL -f 'install-gitlab.sh|gitlab-ctl|dnf'
  wait $! || true
  on_host rm /etc/gitlab/test/hang-reconfigure
  # To rpm it is installed, and yet there is no database.
  [ "$(on_host rpm -q gitlab-ce)" = gitlab-ce-13.10.2-ce.0.el7.noarch ]
  run ! on_host test -e /var/opt/gitlab/seed

  run install_gitlab --version 13.12.15
  failed 'gitlab-ce-13.10.2-ce.0.el7 is installed, by a run that did not finish, and gitlab-ce-13.12.15-ce.0.el7 is asked for'
  run install_gitlab
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$(on_host cat /var/opt/gitlab/seed)" = "$(printf '%s' "$PASSWORD" | sha256sum | cut -d' ' -f1)" ]
  [ "$(signal 2 Status)" = SUCCESS ]
}

@test "S5: two runs at once install one GitLab, and both report success" {
  attach_volume
  install_gitlab 2>"$BATS_TEST_TMPDIR/first" &
  local first=$!
  run install_gitlab
  wait "$first"
  [ "$status" -eq 0 ]
  [ "$(on_host cat /var/opt/gitlab/reconfigures)" = reconfigure ]
  [ "$(grep -c ' install gitlab-ce' "$CALLS")" -eq 1 ]
  [ "$(signal 1 Status) $(signal 2 Status)" = 'SUCCESS SUCCESS' ]
}

@test "S5: the root password reaches GitLab's database and nothing else" {
  attach_volume
  local program
  for program in env timeout tee curl grep sed install; do
    stub "$program" "exec /usr/bin/$program \"\$@\""
  done
  run install_gitlab
  rm "$STUBS"/{env,timeout,tee,curl,grep,sed,install}
  hash -r
  [ "$status" -eq 0 ]
  [ "$(on_host cat /var/opt/gitlab/seed)" = "$(printf '%s' "$PASSWORD" | sha256sum | cut -d' ' -f1)" ]
  run ! grep -F "$PASSWORD" - <<<"$output"
  run ! grep -F "$PASSWORD" "$CALLS" "$SIGNALS"/*
  run ! on_host test -e /var/opt/gitlab/password-in-arguments
  run ! nsenter --target "$HOST_PID" --mount grep -rFl "$PASSWORD" "$HOST/upper" "$HOST/root/run" "$HOST/root/var/opt/gitlab"
  grep -q '^aws secretsmanager get-secret-value --region ap-northeast-1 --secret-id arn:aws:' "$CALLS"
}

@test "S5: a failing reconfigure, which prints its environment, does not show the root password" {
  attach_volume
  on_host bash -c 'mkdir -p /etc/gitlab/test && touch /etc/gitlab/test/fail-reconfigure'
  run install_gitlab
  failed 'gitlab-ctl reconfigure failed: There was an error running gitlab-ctl reconfigure'
  [[ $output == *'"GITLAB_ROOT_PASSWORD"=>"********"'* ]]
  run ! on_host grep -F 'Pa$s' /var/log/gitlab-codedeploy-install.log
  [ "$(on_host stat -c %a /var/log/gitlab-codedeploy-install.log)" = 600 ]

  # It was rpm that hid the failure: the next run goes on.
  on_host rm -r /etc/gitlab/test
  run install_gitlab
  [ "$status" -eq 0 ]
}

@test "S5: tracing is refused before the secret is read" {
  run on_host bash -x "$ROOT/scripts/server/install-gitlab.sh" --version 13.10.2
  [ "$status" -eq 1 ]
  [[ $output == *'tracing (set -x) is on'* ]]
  [ ! -s "$CALLS" ]
}

@test "S5: without the root password nothing is installed and nothing is written" {
  attach_volume
  local before
  stub aws 'echo "An error occurred (AccessDeniedException)" >&2; exit 254'
  before=$(host_state)
  INSTALL_TIMEOUT=1 run install_gitlab
  failed 'cannot read the secret arn:aws:secretsmanager'
  [[ $output == *AccessDeniedException* ]]
  nothing_installed
  [ "$(host_state)" = "$before" ]
}

@test "S5: a secret that is no password is refused" {
  attach_volume
  for secret in '' short None '{"username":"root","password":"long enough"}' $'two lines\nof it'; do
    rm -f "$SIGNALS"/*
    printf '%s' "$secret" >"$STATE/secret"
    run install_gitlab
    failed 'is no password: want one line of at least 8 characters'
    nothing_installed
  done
}

@test "S5: a secret that is readable only after a moment is waited for" {
  attach_volume
  stub aws '[[ -e $STATE/asked ]] || { touch "$STATE/asked"; exit 254; }; cat "$STATE/secret"'
  run install_gitlab
  [ "$status" -eq 0 ]
}

@test "S5: a volume that is not there, in time, is a failure before the package" {
  run install_gitlab
  failed "$VOLUME is not attached after 1 s"
  nothing_installed
}

@test "S5: a volume that is attached late is waited for" {
  INSTALL_VOLUME_TIMEOUT=30 install_gitlab 2>"$BATS_TEST_TMPDIR/late" &
  local deadline=$((SECONDS + 20))
  until grep -q "waiting for $VOLUME" "$BATS_TEST_TMPDIR/late"; do
    ((SECONDS < deadline))
    sleep 0.05
  done
  attach_volume
  wait $!
  on_host mountpoint -q /var/opt/gitlab
}

@test "S5: the volume is also found by its serial number alone" {
  attach_volume
  # shellcheck disable=SC2016
  on_host bash -c 'rm -r /dev/disk && mount -t tmpfs tmpfs /sys/block && mkdir -p /sys/block/nvme{0,1}n1/device &&
    echo "vol0fffffffffffffff0  " >/sys/block/nvme0n1/device/serial && printf "%-20s\n" "${1/-/}" >/sys/block/nvme1n1/device/serial' _ "$VOLUME"
  run install_gitlab
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *"$VOLUME (/dev/nvme1n1) is mounted at /var/opt/gitlab"* ]]
}

@test "S5: a filesystem of an earlier server is mounted as it is" {
  attach_volume
  mkfs.ext4 -q "$LOOP"
  on_host bash -c 'mkdir -p /mnt/v && mount /dev/nvme1n1 /mnt/v && echo kept >/mnt/v/file && umount /mnt/v'
  run install_gitlab
  [ "$status" -eq 0 ]
  [ "$(on_host cat /var/opt/gitlab/file)" = kept ]
  [ "$(on_host findmnt -n -o FSTYPE /var/opt/gitlab)" = ext4 ]
}

@test "S5: a volume that holds anything else is never formatted" {
  attach_volume 64
  local content before
  for content in swap partitions bytes; do
    wipefs --all --quiet "$LOOP"
    rm -f "$SIGNALS"/*
    case $content in
      swap) mkswap "$LOOP" >/dev/null ;;
      partitions)
        # A partition table with one Linux partition in its first entry.
        printf '\x00\x00\x02\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x00\x01\x00' | dd of="$LOOP" bs=1 seek=446 status=none
        printf '\x55\xaa' | dd of="$LOOP" bs=1 seek=510 status=none
        ;;
      bytes)
        dd if=/dev/zero of="$LOOP" bs=1M count=8 status=none
        printf 'somebody'\''s database' | dd of="$LOOP" bs=1 seek=100000 status=none
        ;;
    esac
    before=$(sha256sum <"$BATS_TEST_TMPDIR/volume")
    run install_gitlab
    echo "$content: $output"
    failed 'it is left as it is'
    sync "$LOOP"
    [ "$(sha256sum <"$BATS_TEST_TMPDIR/volume")" = "$before" ]
    nothing_installed
  done
}

@test "S5: data under /var/opt/gitlab that is not on a volume stops the run" {
  attach_volume
  on_host bash -c 'mkdir -p /var/opt/gitlab/git-data'
  run install_gitlab
  failed '/var/opt/gitlab holds files and is not a mount'
  nothing_installed
  [ -z "$(blkid -p "$LOOP")" ]
}

@test "S5: a failing mount stops the run, and another volume's mount too" {
  attach_volume
  stub mount 'exit 32'
  run install_gitlab
  failed 'cannot mount /dev/nvme1n1'
  nothing_installed
  rm "$STUBS/mount" "$SIGNALS"/*

  on_host mount -t tmpfs tmpfs /var/opt/gitlab
  run install_gitlab
  failed "/var/opt/gitlab is a mount of something else than $VOLUME"
  nothing_installed
}

@test "S5: a mount that reports success and is none stops the run" {
  attach_volume
  stub mount
  run install_gitlab
  failed "/var/opt/gitlab is not mounted, though mount reports success"
  nothing_installed
}

@test "S5: /etc/fstab with another device for the folder stops the run" {
  attach_volume
  on_host bash -c 'printf "\nLABEL=old /var/opt/gitlab ext4 defaults 0 2\n" >>/etc/fstab'
  run install_gitlab
  failed '/etc/fstab mounts LABEL=old at /var/opt/gitlab'
  nothing_installed
}

@test "S10: data of an earlier server needs its secrets and its version" {
  attach_volume
  mkfs.xfs -q "$LOOP"
  on_host bash -c 'mkdir -p /var/opt/gitlab && mount /dev/nvme1n1 /var/opt/gitlab && cd /var/opt/gitlab &&
    mkdir -p postgresql/data gitlab-workhorse && echo 12 >postgresql/data/PG_VERSION && touch bootstrapped &&
    echo a-seed >seed && echo "gitlab-workhorse v13.12.15" >gitlab-workhorse/VERSION && cd / && umount /var/opt/gitlab'
  run install_gitlab
  failed "holds the data of an earlier server and not its secrets: put its gitlab-secrets.json into /etc/gitlab"
  nothing_installed

  on_host bash -c 'mkdir -p /etc/gitlab && echo "{}" >/etc/gitlab/gitlab-secrets.json'
  rm "$SIGNALS"/*
  run install_gitlab
  failed "holds the data of GitLab 13.12.15, and 13.10.2 is asked for"
  nothing_installed

  # The package skips its reconfigure on such a volume.
  run install_gitlab --version 13.12.15
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$(on_host cat /var/opt/gitlab/reconfigures)" = reconfigure ]
  [ "$(on_host cat /var/opt/gitlab/seed)" = a-seed ]
}

@test "S10: a gitlab.rb from another server is kept when it includes ours, and else stops the run" {
  attach_volume
  on_host bash -c 'mkdir -p /etc/gitlab && echo "external_url '\''https://old.example.com'\''" >/etc/gitlab/gitlab.rb'
  run install_gitlab
  failed "/etc/gitlab/gitlab.rb is not ours and does not include our settings: add the line from_file '/etc/gitlab/gitlab-codedeploy.rb' at its end"
  nothing_installed

  on_host bash -c 'echo "from_file '\''/etc/gitlab/gitlab-codedeploy.rb'\''" >>/etc/gitlab/gitlab.rb'
  local before
  before=$(on_host sha256sum /etc/gitlab/gitlab.rb)
  run install_gitlab
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$(on_host sha256sum /etc/gitlab/gitlab.rb)" = "$before" ]
}

@test "S8: from 14.9.0 on the package is the one for Amazon Linux 2, and both editions can be had" {
  attach_volume
  run install_gitlab --version 14.9.5
  [ "$status" -eq 0 ]
  [ "$(on_host rpm -q gitlab-ce)" = gitlab-ce-14.9.5-ce.0.amazon2.noarch ]
  on_host grep -qx "baseurl=$HOST_URL/gitlab/gitlab-ce/amazon/2/x86_64" /etc/yum.repos.d/gitlab-codedeploy.repo
}

@test "S8: the Enterprise Edition comes from its own repository" {
  attach_volume
  run install_gitlab --edition ee --repository-url "$HOST_URL/gitlab/"
  [ "$status" -eq 0 ]
  [ "$(on_host rpm -q gitlab-ee)" = gitlab-ee-13.10.2-ee.0.el7.noarch ]
}

@test "S8: a plain update of the host does not move GitLab" {
  attach_volume
  install_gitlab
  on_host bash -c 'printf "[base]\nname=base\nbaseurl=%s/base\ngpgcheck=0\n" "$1" >/etc/yum.repos.d/base.repo' _ "$HOST_URL"
  on_host yum -y update
  [ "$(on_host rpm -q gitlab-ce)" = gitlab-ce-13.10.2-ce.0.el7.noarch ]
}

@test "S8: Gitaly's files in /tmp are kept from the clean-up, for the stop at 14.9" {
  attach_volume
  install_gitlab
  on_host grep -qx 'x /tmp/gitaly-hooks-\*' /etc/tmpfiles.d/gitlab-codedeploy.conf
  on_host grep -qx 'x /tmp/gitaly-git-exec-path-\*' /etc/tmpfiles.d/gitlab-codedeploy.conf
}

@test "S5: a version that the repository does not have is named with the repository" {
  attach_volume
  run install_gitlab --version 13.10.99
  failed "gitlab-ce 13.10.99-ce.0.el7 is not in $HOST_URL/gitlab/gitlab-ce/el/7/x86_64"
  nothing_installed
  [ -z "$(blkid -p "$LOOP")" ]
}

@test "S5: a repository that does not answer is named" {
  run install_gitlab --repository-url http://localhost:1/gitlab
  failed 'cannot list gitlab-ce in http://localhost:1/gitlab/gitlab-ce/el/7/x86_64'
  nothing_installed
}

@test "S5: a package without GitLab's signature is refused, and so is one whose key cannot be had" {
  attach_volume
  run install_gitlab --repository-url "$HOST_URL/unsigned"
  failed 'yum could not install gitlab-ce-13.10.2-ce.0.el7'
  nothing_installed

  rm "$SIGNALS"/*
  on_host rm -rf /root/.rpmdb
  run install_gitlab --repository-url "$HOST_URL/keyless"
  failed 'none of the package keys could be had'
  nothing_installed
}

@test "S5: a package manager that only claims success is found out" {
  attach_volume
  stub yum '[[ $* != *" install "* ]] || exit 0; exec dnf "$@"'
  run install_gitlab
  failed 'yum reports success, and gitlab-ce-13.10.2-ce.0.el7 is not installed'
}

@test "S6: a sign-in page that never answers with 200 is a failure with what it answered" {
  attach_volume
  on_host bash -c 'mkdir -p /etc/gitlab/test && touch /etc/gitlab/test/never-ready'
  INSTALL_READY_TIMEOUT=2 run install_gitlab
  failed '/users/sign_in does not answer with 200; the last answer was HTTP 502'
  # The next run picks it up.
  on_host rm -r /etc/gitlab/test
  run install_gitlab
  [ "$status" -eq 0 ]
}

@test "S6: a sign-in page that redirects says that root has no password" {
  attach_volume
  stub aws 'cat "$STATE/secret"'
  # What the package would do if the password did not reach it.
  stub yum 'unset GITLAB_ROOT_PASSWORD; exec dnf "$@"'
  INSTALL_READY_TIMEOUT=2 run install_gitlab
  failed '/users/sign_in redirects (HTTP 302), as it does while root has no password'
}

@test "S5: another Linux and an architecture without packages are refused" {
  on_host sed -i 's/"2"/"2023"/; s/Linux 2/Linux 2023/' /etc/os-release
  run install_gitlab
  failed 'this is not Amazon Linux 2: "Amazon Linux 2023"'
  on_host sed -i 's/"2023"/"2"/' /etc/os-release
  rm "$SIGNALS"/*
  stub uname 'echo aarch64'
  run install_gitlab
  failed 'there is no GitLab 13.10.2 for aarch64'
  run ! grep '^aws' "$CALLS"
}

@test "S5: arguments are checked by pattern, with exit status 2 and a signal, before anything is done" {
  local case flag value
  for case in '--version=13.10' '--version=13.10.2;id' '--version=$(id)' '--version=' '--edition=CE' \
    '--repository-url=ftp://example.com' '--repository-url=http://example.com/gitlab' "--repository-url=https://example.com/a'b" \
    '--external-url=http://gitlab.example.com' '--external-url=https://gitlab.example.com/git' "--external-url=https://a'); system('id" \
    '--data-volume=/dev/sdf' '--data-volume=vol-XYZ' '--root-password-secret=GitLabRoot' '--region=tokyo' $'--region=ap-northeast-1\nid'; do
    flag=${case%%=*}
    value=${case#*=}
    rm -f "$SIGNALS"/*
    run install_gitlab "$flag" "$value"
    echo "$case: $output"
    failed "$flag: got '" 2
    [[ $output == *"want "* ]]
  done
  rm -f "$SIGNALS"/*
  run install_gitlab --force
  failed "unknown argument '--force'" 2
  run install_gitlab --signal-url "https://example.com/' -o /etc/passwd"
  [ "$status" -eq 2 ]
  [[ $output == *"--signal-url: got"* ]]
  run ! grep -v '^uname -m' "$CALLS"
}

@test "S5: --help shows every argument" {
  run "$ROOT/scripts/server/install-gitlab.sh" --help
  [ "$status" -eq 0 ]
  for flag in --version --edition --repository-url --external-url --data-volume --root-password-secret --region --signal-url; do
    [[ $output == *"$flag"* ]]
  done
}
