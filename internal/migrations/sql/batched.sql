-- Those that are neither finished (3) nor finalized (6).
-- https://docs.gitlab.com/update/background_migrations/
SELECT id, status, job_class_name, table_name, column_name, job_arguments
FROM batched_background_migrations WHERE status NOT IN (3, 6) ORDER BY id;
