-- What PostgreSQL has written down of the C library: its own collations from 13 on, each
-- database from 15 on. Older ones do not have these columns: hence as JSON.
SELECT 'database', datname, coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'), datcollate, coalesce(to_jsonb(d) ->> 'datcollversion', '')
FROM pg_database d WHERE datallowconn AND NOT datistemplate
UNION ALL
SELECT DISTINCT 'collation', '', 'c', '', collversion FROM pg_collation WHERE collprovider = 'c' AND collversion IS NOT NULL
ORDER BY 1, 2, 5;
