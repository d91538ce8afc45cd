#!/usr/bin/env bats
# shellcheck disable=SC2016 # text for shells on the host
# Our settings on a server that has GitLab, on a stand-in host
# (fixtures/host/host.bash) with the gitlab-ctl of the installation's tests.

load helper
load fixtures/host/host

OURS=/etc/gitlab/gitlab-codedeploy.rb
MAIN=/etc/gitlab/gitlab.rb
INCLUDE="from_file '$OURS'"
JOURNAL=/var/lib/gitlab-codedeploy/configuring

setup_file() {
  require_host
  make_host_package
}

setup() {
  require_host
  start_host
  # GitLab as a restore leaves it: another server's gitlab.rb, a database.
  on_host bash -c '
    mkdir -p /opt/gitlab/{bin,embedded} /etc/gitlab/test /var/opt/gitlab/postgresql/data
    cp "$1/sign_in.py" /opt/gitlab/embedded/
    cp "$1/gitlab-ctl.py" /opt/gitlab/bin/ctl.py
    echo 12 >/var/opt/gitlab/postgresql/data/PG_VERSION
    echo a-seed >/var/opt/gitlab/seed
    cat >/etc/gitlab/gitlab.rb
    chmod 640 /etc/gitlab/gitlab.rb' _ "$FIXTURES" <<<"$(migrated)"
  # A reconfigure restarts what its settings concern, and keeps them in force.
  on_host bash -c 'cat >/opt/gitlab/bin/gitlab-ctl; chmod +x /opt/gitlab/bin/gitlab-ctl' <<'ENDCTL'
#!/bin/bash
pkill -f embedded/sign_in.py
cat /etc/gitlab/gitlab.rb /etc/gitlab/gitlab-codedeploy.rb >$STATE/in-force 2>/dev/null
[[ ! -e $STATE/fail-with || $(cat $STATE/in-force) != *$(cat $STATE/fail-with)* ]] || { echo "There was an error running gitlab-ctl reconfigure"; exit 1; }
exec python3 /opt/gitlab/bin/ctl.py "$@"
ENDCTL
}

teardown() { stop_host; }

migrated() { printf "external_url 'https://old.example.com'\nnginx['listen_port'] = 80\nnginx['listen_https'] = false\ngitlab_rails['smtp_password'] = 'hunter2'\n"; }

configure() {
  run --separate-stderr on_host "$ROOT/scripts/server/configure-gitlab.sh" --external-url https://gitlab.example.com "$@"
}

state() { python3 -c 'import json, sys; print(json.loads(sys.argv[1])["state"])' "$output"; }

# in_force TEXT is true when GitLab was last reconfigured with a line like that.
in_force() { grep -qxF "$1" "$STATE/in-force"; }

# is_new and is_old say which of the two states the host is in.
is_new() {
  [[ $(on_host cat $MAIN) == "$(migrated)"$'\n\n'"$INCLUDE" ]] && on_host grep -qx "external_url 'https://gitlab.example.com'" $OURS &&
    in_force "external_url 'https://gitlab.example.com'" && [[ -z $(on_host ls -A /var/lib/gitlab-codedeploy) ]]
}
is_old() {
  [[ $(on_host cat $MAIN) == "$(migrated)" ]] && ! on_host test -e $OURS && [[ -z $(on_host ls -A /var/lib/gitlab-codedeploy) ]]
}

@test "S8: a migrated gitlab.rb is kept and gets one line, which was shown before; GitLab answers at the new address" {
  configure --check yes
  echo "$stderr"
  [ "$status" -eq 0 ]
  [ "$(state)" = differs ]
  [[ $stderr == *"$MAIN does not include it. One line would be added at its end"*$'\n+'"$INCLUDE"* ]]
  [[ $stderr == *"+external_url 'https://gitlab.example.com'"* ]]
  [[ $stderr != *hunter2* ]]
  is_old

  configure --yes yes
  echo "$stderr"
  [ "$status" -eq 0 ]
  [ "$(state)" = applied ]
  is_new
  [ "$(on_host stat -c %a $MAIN $OURS)" = $'640\n600' ]

  configure --yes yes
  [ "$(state)" = unchanged ]
  [ "$(on_host cat /var/opt/gitlab/reconfigures)" = reconfigure ]
}

@test "S8: a gitlab.rb whose last line is open, and one that includes ours already, are kept too" {
  on_host bash -c "printf '%s' \"\$(cat $MAIN)\" >$MAIN.open && mv $MAIN.open $MAIN"
  configure --yes yes
  [ "$status" -eq 0 ]
  is_new
  local before
  before=$(on_host sha256sum $MAIN)
  configure --external-url https://moved.example.com --yes yes
  echo "$stderr"
  [ "$status" -eq 0 ]
  [ "$(on_host sha256sum $MAIN)" = "$before" ]
  in_force "external_url 'https://moved.example.com'"
  [[ $stderr == *"-external_url 'https://gitlab.example.com'"*"+external_url 'https://moved.example.com'"* ]]
}

@test "S8: settings that come after ours are named, and what somebody wrote into our file is shown without secrets" {
  on_host bash -c "printf '%s\n' \"$INCLUDE\" \"nginx['listen_port'] = 80\" >>$MAIN; printf '%s\n' \"gitlab_rails['smtp_password'] = 'hunter3'\" \"# a note\" >$OURS"
  configure --check yes
  echo "$stderr"
  [ "$status" -eq 0 ]
  [[ $stderr == *'settings follow after the line that includes ours'* ]]
  [[ $stderr == *"-gitlab_rails['smtp_password'] = ********"* ]]
  [[ $stderr == *'-# a note'* ]]
  [[ $stderr != *hunter* ]]
}

@test "S8 configure | reconfigure fails with the new settings | the old ones are back and reconfigured" {
  echo gitlab.example.com >"$STATE/fail-with"
  configure --yes yes
  echo "$stderr"
  [ "$status" -eq 1 ]
  [ -z "$output" ]
  [[ $stderr == *'gitlab-ctl reconfigure failed: There was an error running gitlab-ctl reconfigure; the old settings are back'* ]]
  is_old
  in_force "external_url 'https://old.example.com'"
}

@test "S8 configure | the sign-in page does not come up with the new settings | the old ones are back and answer" {
  # The stand-in answers only for the host that it was configured with.
  on_host bash -c 'cat >/opt/gitlab/embedded/real.py </opt/gitlab/embedded/sign_in.py
    printf "import sys, runpy\nif \"gitlab.example.com\" in sys.argv[1]: sys.exit(1)\nrunpy.run_path(\"/opt/gitlab/embedded/real.py\", run_name=\"__main__\")\n" >/opt/gitlab/embedded/sign_in.py'
  INSTALL_READY_TIMEOUT=2 configure --yes yes
  echo "$stderr"
  [ "$status" -eq 1 ]
  [[ $stderr == *'after the change /users/sign_in does not answer with 200; the last answer was HTTP 000; the old settings are back, and GitLab answers with them'* ]]
  is_old
  in_force "external_url 'https://old.example.com'"
}

@test "S8 configure | neither the new nor the old settings work | it says so, keeps the old ones, and the next run goes on" {
  echo example.com >"$STATE/fail-with"
  configure --yes yes
  echo "$stderr"
  [ "$status" -eq 1 ]
  [[ $stderr == *'the old settings are back, but gitlab-ctl reconfigure fails with them, too'* ]]
  [ "$(on_host cat $MAIN)" = "$(migrated)" ]
  rm "$STATE/fail-with"
  configure --yes yes
  [ "$status" -eq 0 ]
  [[ $stderr == *'an earlier run did not finish'* ]]
  is_new
}

# kill_after_part NAME PART kills after a call with that in one of its arguments.
kill_after_part() {
  printf '#!/usr/bin/env bash\nPATH=$REAL_PATH\n%s "$@"\nstatus=$?\n[[ " $* " == *"%s"* ]] || exit $status\nrm "$0"\nexec pkill -KILL --session 0\n' "$1" "$2" >"$STUBS/$1"
  chmod +x "$STUBS/$1"
}

killed_configure() { on_host setsid --wait "$ROOT/scripts/server/configure-gitlab.sh" --external-url https://gitlab.example.com --yes yes; }

back_to_old() {
  on_host bash -c "rm -f $OURS; cat >$MAIN; /opt/gitlab/bin/gitlab-ctl reconfigure" <<<"$(migrated)"
}

@test "S8 configure | killed at any step | the next run ends with the new settings in force, or the old ones come back" {
  local step name
  for step in 'cp gitlab.rb' 'sync ' "mv $JOURNAL" 'mv gitlab-codedeploy.rb' 'mv gitlab.rb' 'chown 0' "mv $JOURNAL.done"; do
    name=${step%% *}
    kill_after_part "$name" "${step#* }"
    run killed_configure
    echo "$step: $status: $output"
    [ "$status" -eq 137 ]
    killed_is_gone
    [ ! -e "$STUBS/$name" ]
    # Asked for what was there before: everything comes back.
    configure --check yes
    [ "$status" -eq 0 ]
    configure --yes yes
    echo "$stderr"
    [ "$status" -eq 0 ]
    is_new
    back_to_old
  done
}

@test "S8 configure | killed during the reconfigure, and nothing differs any more | it is reconfigured all the same" {
  on_host touch /etc/gitlab/test/hang-reconfigure
  on_host rm -f /var/opt/gitlab/bootstrapped
  killed_configure 2>"$BATS_TEST_TMPDIR/killed" >/dev/null &
  local deadline=$((SECONDS + 30))
  until on_host test -e /var/opt/gitlab/bootstrapped; do
    ((SECONDS < deadline))
    sleep 0.05
  done
  on_host pkill -KILL -f 'configure-gitlab.sh|ctl.py'
  wait $! || true
  killed_is_gone
  on_host rm /etc/gitlab/test/hang-reconfigure
  on_host test -e $JOURNAL
  configure --yes yes
  echo "$stderr"
  [ "$status" -eq 0 ]
  [[ $stderr == *'an earlier run did not finish: its old settings come back first'* ]]
  is_new
}

@test "S8: without GitLab, without a terminal, with wrong arguments: refused before anything is done" {
  configure </dev/null
  [ "$status" -eq 2 ]
  [[ $stderr == *'no terminal to ask on'* ]]
  local url
  for url in http://gitlab.example.com https://a/b "https://a'; system('id" ''; do
    configure --external-url "$url" --yes yes
    [ "$status" -eq 2 ]
    [[ $stderr == *'--external-url: got'* ]]
  done
  is_old
  on_host rm -r /opt/gitlab
  configure --yes yes
  [ "$status" -eq 1 ]
  [[ $stderr == *'there is no GitLab on this host'* ]]
}

@test "S8 configure | another operation is under way | it ends at once" {
  on_host bash -c 'echo "backup (process 7), since 2026-11-24T18:54:36Z," >/run/gitlab-codedeploy.lock; exec flock /run/gitlab-codedeploy.lock sleep 60' 3>&- &
  local deadline=$((SECONDS + 10))
  until run ! on_host flock --nonblock /run/gitlab-codedeploy.lock true && [ "$status" -ne 0 ]; do
    ((SECONDS < deadline))
    sleep 0.05
  done
  configure --yes yes
  [ "$status" -eq 1 ]
  [[ $stderr == *'backup (process 7)'*'nothing was done'* ]]
  is_old
}
