#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2119 # text for shells on the host
# Backups, on a stand-in host: real tar, gzip and hashes, the real AWS CLI
# against the emulator, and a GitLab that fails as the real one does.

load helper
load fixtures/host/host
load fixtures/host/gitlab-data

setup_file() {
  require_host
  make_host_package
  start_s3
}

teardown_file() { stop_s3; }

setup() {
  require_host
  start_host
  install_data
  reach_s3
}

teardown() {
  stop_data
  stop_host
}

backup() {
  run --separate-stderr on_host ${SESSION:-} "$ROOT/scripts/server/backup-gitlab.sh" --bucket "$BUCKET" --region ap-northeast-1 "$@"
  echo "$output"
  echo "$stderr"
}

# nothing_complete asserts that no backup can be listed.
nothing_complete() {
  objects >"$BATS_TEST_TMPDIR/objects"
  run ! grep manifest "$BATS_TEST_TMPDIR/objects"
}

# failed REASON asserts a failed run that left nothing which looks complete.
failed() {
  [ "$status" -eq 1 ]
  [[ ${stderr##*$'\n'} == *"error: $1"* ]] || {
    echo "no '$1' in the last line"
    return 1
  }
  [ -z "$output" ]
  nothing_complete
}

@test "S10: a backup holds what gitlab-backup makes and what it leaves out, and the manifest comes last" {
  backup
  [ "$status" -eq 0 ]
  local id
  id=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["backup"])' "$output")
  [[ $id =~ ^[0-9]{10}_[0-9]{4}_[0-9]{2}_[0-9]{2}_13\.10\.2$ ]]
  diff <(objects) - <<END
backups/$id/${id}_gitlab_backup.tar
backups/$id/manifest.json
backups/$id/shared.tar.gz
secrets/$id/gitlab-secrets.json
secrets/$id/gitlab.rb
secrets/$id/ssh_host_ed25519_key
END
  here s3 cp --recursive --only-show-errors "s3://$BUCKET" "$BATS_TEST_TMPDIR/stored"
  # Plain JSON, whose hashes are right.
  python3 - "$BATS_TEST_TMPDIR/stored" "$id" <<'END'
import hashlib, json, pathlib, sys
root, backup = pathlib.Path(sys.argv[1]), sys.argv[2]
manifest = json.loads((root / f"backups/{backup}/manifest.json").read_text())
assert (manifest["id"], manifest["version"], manifest["edition"]) == (backup, "13.10.2", "ce")
parts = [part for part in manifest["parts"] if part]
assert len(parts) == 5, parts
for part in parts:
    data = (root / part["key"]).read_bytes()
    assert len(data) == part["size"] and hashlib.sha256(data).hexdigest() == part["sha256"], part
END
  tar -tf "$BATS_TEST_TMPDIR/stored/backups/$id/shared.tar.gz" | grep -qx packages/ab/package
  on_host cat /etc/gitlab/gitlab-secrets.json | cmp - "$BATS_TEST_TMPDIR/stored/secrets/$id/gitlab-secrets.json"
  # Sent last, and nothing of it stays on the disk.
  [[ $(grep '^aws s3' "$CALLS" | tail -n 1) == *put-object*manifest.json* ]]
  [ -z "$(on_host ls /var/opt/gitlab/backups)" ]
}
