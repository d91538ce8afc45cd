#!/bin/sh
# GitLab's commands on a played host: gitlab.sh ctl|psql|rails|rake|backup ARGUMENT …
# Its data are below HOST_ROOT, its database is a dump; tar, gzip and git are real. What
# the test wants of it is in files of STATE.
set -eu
data=$HOST_ROOT/var/opt/gitlab
dump=$data/postgresql/data/dump.sql

service() {
  if [ -e "$STATE/down/$1" ]; then
    echo "down: $1: 12s, normally up; run: log: (pid 1) 5s"
    return 1
  fi
  echo "run: $1: (pid 1) 5s; run: log: (pid 1) 5s"
}

ctl() {
  case $* in
    status)
      bad=0
      for name in gitaly postgresql puma redis sidekiq; do service "$name" || bad=1; done
      return "$bad"
      ;;
    'status unicorn') return 1 ;;
    'status '*) service "$2" ;;
    'stop '*) mkdir -p "$STATE/down" && touch "$STATE/down/$2" ;;
    start | restart) rm -rf "$STATE/down" ;;
    reconfigure) cp "$HOST_ROOT/etc/gitlab/gitlab-secrets.json" "$STATE/applied" ;;
  esac
}

psql() {
  case $(cat) in
    *pg_roles*) printf 'extension\tpg_trgm\nrole\tgitlab\n' ;;
    *project_repositories*)
      awk -F '\t' '/^COPY/ { table = $0 } /^[0-9]/ && table ~ /project_repositories/ { path[$4] = $3; print $3 ".wiki\tdefault\tf" }
        /^[0-9]/ && table ~ /project_statistics/ { print path[$2] "\tdefault\tt" }' "$dump"
      ;;
    *pg_attribute*) printf 'application_settings\tid\nbatched_background_migrations\tid\n' ;;
    *pg_collation*) printf 'database\tgitlabhq_production\tc\ten_US.UTF-8\t2.26\n' ;;
    *signup_enabled*) cat "$STATE/sign-up" ;;
  esac
}

rails() {
  case $(cat) in
    *remaining*) echo 'gitlab-codedeploy: 0' ;;
    *) echo f >"$STATE/sign-up" && echo 'gitlab-codedeploy: closed' ;;
  esac
}

rake() { :; }

# The archives in the archive, and their folders: lib/backup of v15.4.6.
archives='uploads=uploads artifacts=shared/artifacts lfs=shared/lfs-objects packages=shared/packages terraform_state=shared/terraform_state'

backup() {
  work=$(mktemp -d "$STATE/work.XXXXXX")
  cd "$work"
  case $* in
    create) create ;;
    'restore BACKUP='*' force=yes') restore "${2#BACKUP=}" ;;
  esac
  rm -rf "$work"
}

create() {
  id=$(date -u +%s_%Y_%m_%d)_15.4.6
  while [ -e "$STATE/hold" ]; do sleep 0.05; done
  mkdir db repositories
  gzip <"$dump" >db/database.sql.gz
  for repository in "$data"/git-data/repositories/@hashed/*/*/*.git; do
    name=${repository#"$data/git-data/repositories/"}
    [ ! -e "$STATE/forget" ] || [ "$name" != "$(cat "$STATE/forget").git" ] || continue
    mkdir -p "repositories/${name%.git}/$id"
    git -C "$repository" bundle create --quiet "$PWD/repositories/${name%.git}/$id/001.bundle" --all
  done
  for archive in $archives; do tar -czf "${archive%=*}.tar.gz" -C "$data/gitlab-rails/${archive#*=}" .; done
  printf ':db_version: 20220901\n:gitlab_version: 15.4.6\n:skipped: \n' >backup_information.yml
  tar -cf "$data/backups/${id}_gitlab_backup.tar" -- *
  echo "2022-11-30 00:00:00 +0000 -- Creating backup archive: ${id}_gitlab_backup.tar ... done"
}

restore() {
  cmp "$STATE/applied" "$HOST_ROOT/etc/gitlab/gitlab-secrets.json"
  test -e "$STATE/down/puma"
  test -e "$STATE/down/sidekiq"
  tar -xf "$data/backups/$1_gitlab_backup.tar"
  gunzip <db/database.sql.gz >"$dump"
  rm -rf "$data/git-data/repositories/@hashed"
  find repositories -name 001.bundle | while read -r bundle; do
    name=${bundle#repositories/} && name=${name%/*/*}
    # Gitaly of 14.4 to 16.2 leaves an empty one where it cannot restore a bundle.
    if [ -e "$STATE/lose" ] && [ "$name" = "$(cat "$STATE/lose")" ]; then
      git init --quiet --bare "$data/git-data/repositories/$name.git"
    else
      git clone --quiet --mirror "$bundle" "$data/git-data/repositories/$name.git"
    fi
  done
  for archive in $archives; do
    find "$data/gitlab-rails/${archive#*=}" -mindepth 1 -delete
    tar -xzf "${archive%=*}.tar.gz" -C "$data/gitlab-rails/${archive#*=}"
  done
  echo "2022-11-30 00:00:00 +0000 -- Restoring backup $1 is done."
}

"$@"
