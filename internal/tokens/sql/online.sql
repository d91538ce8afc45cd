-- How long ago GitLab has heard from a runner of that name, in seconds, and -1 for never. Of
-- several the latest: a dead registration of the same name does not count.
SELECT coalesce(min(extract(epoch FROM (now() AT TIME ZONE 'UTC') - contacted_at))::bigint, -1) FROM ci_runners WHERE description = '{{.}}';
