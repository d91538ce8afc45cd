# GitLab's own database, for the scripts that look into it or change it. Source
# it after common.sh, do not run it. Keep it to bash 4.2, like common.sh.
# shellcheck shell=bash

# database reads statements on stdin and runs them in one transaction: the
# first error undoes all of them. It prints the rows with tabs between columns.
# gitlab-psql knows the database and its user.
# --file - is what lets psql put --single-transaction around stdin.
database() {
  timeout "${DATABASE_TIMEOUT:-600}" gitlab-psql --no-psqlrc --quiet --tuples-only --no-align \
    --field-separator=$'\t' --set ON_ERROR_STOP=1 --single-transaction --file -
}

# read_schema sets COLUMNS_THERE, a line "table.column" for each column of
# GitLab's tables: they differ between versions, and nothing is assumed.
read_schema() {
  COLUMNS_THERE=$(
    database <<'END_OF_SQL'
SELECT table_name || '.' || column_name FROM information_schema.columns
WHERE table_schema = current_schema() ORDER BY 1;
END_OF_SQL
  ) || die "GitLab's database does not answer: is PostgreSQL up (gitlab-ctl status postgresql)?"
  has_table application_settings || die "the database has no application_settings, so it is not GitLab's"
}

has_column() { grep -Fxq "$1.$2" <<<"$COLUMNS_THERE"; }

has_table() { grep -q "^$1\." <<<"$COLUMNS_THERE"; }
