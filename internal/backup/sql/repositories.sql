-- Projects whose repository has commits, and snippets, which always have some, with path
-- and storage.
SELECT r.disk_path, s.name
FROM project_repositories r
JOIN shards s ON s.id = r.shard_id
JOIN projects p ON p.id = r.project_id
JOIN project_statistics t ON t.project_id = r.project_id
WHERE t.commit_count > 0 AND p.pending_delete IS NOT TRUE
UNION ALL
SELECT r.disk_path, s.name
FROM snippet_repositories r
JOIN shards s ON s.id = r.shard_id
ORDER BY 1;
