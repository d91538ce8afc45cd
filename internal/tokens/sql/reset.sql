-- Rather fail than stand in the way of everybody else.
SET LOCAL lock_timeout = '30s';
{{range .Targets}}
{{- if eq .How "clear"}}
-- Rows without a value are not touched: there may be millions of jobs.
UPDATE {{.Table}} SET {{template "empty" .}} WHERE {{template "rows" .}};
{{- else if eq .How "clear-if-allowed"}}
-- What the doctor named. A table may insist on a value: then the row stays, and is told.
DO $$ BEGIN
  UPDATE {{.Table}} SET {{template "empty" .}} WHERE {{template "rows" .}};
EXCEPTION WHEN not_null_violation OR check_violation THEN NULL;
END $$;
{{- else if eq .How "delete"}}
-- The ones whose names were kept, and no others.
LOCK TABLE {{.Table}} IN SHARE ROW EXCLUSIVE MODE;
DO $$ BEGIN
  IF (SELECT count(*) FROM {{.Table}}) <> {{.Before}} THEN
    RAISE EXCEPTION '{{.Table}} changed since its names were written: run this again';
  END IF;
END $$;
DELETE FROM {{.Table}};
{{- end}}
{{end}}
{{- with .Truncated}}
-- In one statement: they refer to each other.
TRUNCATE {{range $i, $t := .}}{{if $i}}, {{end}}{{$t}}{{end}};
{{end}}
{{- define "empty"}}{{range $i, $c := .Columns}}{{if $i}}, {{end}}{{$c}} = NULL{{end}}{{end}}
