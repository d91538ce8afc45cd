-- As gitlab-14.9.sql, for 15.4: jobs have no plain token any more.
\ir gitlab-14.9.sql
ALTER TABLE ci_builds DROP COLUMN token;
