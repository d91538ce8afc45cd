-- What refers to tables that are to be emptied, and is not to be emptied itself. GitLab's
-- page says CASCADE, which would empty that, too, whatever it is.
SELECT DISTINCT c.relname FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_class t ON t.oid = k.confrelid
WHERE k.contype = 'f' AND NOT c.relispartition AND t.relnamespace = current_schema()::regnamespace
AND t.relname IN ({{template "list" .}}) AND c.relname NOT IN ({{template "list" .}}) ORDER BY 1;
{{define "list"}}{{range $i, $t := .Truncated}}{{if $i}}, {{end}}'{{$t}}'{{end}}{{end}}
