{{- /* How many of the keys that sign jobs' tokens are gone. */ -}}
SELECT count(*) FROM application_settings WHERE {{range $i, $c := .}}{{if $i}} OR {{end}}{{$c}} IS NULL{{end}};
