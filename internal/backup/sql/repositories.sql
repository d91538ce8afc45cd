-- Repositories with path and storage. Of projects and snippets, which always have some, those
-- that have commits (t). The wikis and designs of all projects and the wikis of groups (f): in
-- which of these there is something no table says. project_wiki_repositories (from 15.10 on)
-- and design_management_repositories (from 16.0 on) have rows for projects without anything in
-- them, and neither path nor storage.
-- https://gitlab.com/gitlab-org/gitlab/-/blob/master/db/structure.sql
SELECT r.disk_path || kind.suffix, s.name, kind.suffix = ''
FROM project_repositories r
JOIN shards s ON s.id = r.shard_id
JOIN projects p ON p.id = r.project_id
CROSS JOIN (VALUES (''), ('.wiki'), ('.design')) AS kind (suffix)
LEFT JOIN project_statistics t ON t.project_id = r.project_id
WHERE p.pending_delete IS NOT TRUE AND (kind.suffix <> '' OR t.commit_count > 0)
{{- if .HasTable "snippet_repositories"}}
UNION ALL
SELECT r.disk_path, s.name, true
FROM snippet_repositories r
JOIN shards s ON s.id = r.shard_id
{{- end}}
{{- if .HasTable "group_wiki_repositories"}}
UNION ALL
SELECT r.disk_path || '.wiki', s.name, false
FROM group_wiki_repositories r
JOIN shards s ON s.id = r.shard_id
{{- end}}
ORDER BY 1;
