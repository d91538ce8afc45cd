-- All indexes of tables that somebody has made, with their sizes. PostgreSQL's own compare
-- byte by byte. Invalid ones are left behind by whoever could not make them.
SELECT i.indexrelid::bigint, pg_relation_size(i.indexrelid)
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'i' AND c.relpersistence <> 't' AND i.indisvalid
AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1;
