{{- /* Which variables there are, without their values: kind, owner, key and scope, as COPY writes text. */ -}}
{{range .}}COPY (SELECT '{{.Table}}', {{if .Routes}}coalesce((SELECT max(r.path) FROM routes r WHERE r.source_type = '{{.Routes}}' AND r.source_id = v.{{.Owner}}), '{{.Owner}}=' || v.{{.Owner}}){{else if .Owner}}'{{.Owner}}=' || v.{{.Owner}}{{else}}''{{end}}, v.key, {{if .Scoped}}v.environment_scope{{else}}''{{end}} FROM {{.Table}} v ORDER BY v.id) TO STDOUT;
{{end}}
