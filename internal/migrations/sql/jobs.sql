-- Jobs that are followed in the database and were not done, by class. Their runs are in
-- Redis, which no backup has.
SELECT regexp_replace(class_name, '^.*::', ''), count(*)
FROM background_migration_jobs WHERE status = 0 GROUP BY 1 ORDER BY 1;
