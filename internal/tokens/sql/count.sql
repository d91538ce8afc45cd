{{- /* How many rows each target has that hold something, a row each: its name and the number. */ -}}
{{range .Targets}}SELECT '{{.Name}}', count(*) FROM {{.Table}} WHERE {{template "rows" .}};
{{end}}
{{- define "rows"}}{{if .Columns}}({{range $i, $c := .Columns}}{{if $i}} OR {{end}}{{$c}} IS NOT NULL{{end}}){{else}}true{{end}}{{if .IDs}} AND EXISTS (SELECT 1 FROM (VALUES {{range $i, $r := .IDs}}{{if $i}}, {{end}}({{index $r 0}}, {{index $r 1}}){{end}}) AS r (a, b) WHERE {{.Key}} BETWEEN r.a AND r.b){{end}}{{end}}
