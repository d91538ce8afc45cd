-- Rows of every version. Three projects have a token, one group of two, and
-- one user; names are as hostile as GitLab and its API let them be.
INSERT INTO application_settings (id, signup_enabled, runners_registration_token_encrypted, encrypted_ci_jwt_signing_key, encrypted_ci_jwt_signing_key_iv)
  VALUES (1, true, 'instance', 'key', 'iv');
INSERT INTO namespaces (id, name, path, type, runners_token, runners_token_encrypted) VALUES
  (1, 'root', 'root', NULL, NULL, NULL), (2, 'Team "A''; DROP TABLE projects; --', 'team', 'Group', NULL, 'group-1'), (3, 'old', 'old', 'Group', 'plain', NULL);
INSERT INTO projects (id, name, path, namespace_id, runners_token, runners_token_encrypted) VALUES
  (1, 'web $(id) `id`', 'web', 2, NULL, 'project-1'), (2, E'tab\there\nline', 'api', 2, 'plain', 'project-2'), (3, 'old', 'old', 3, 'plain-2', NULL),
  (4, 'none', 'none', 1, NULL, NULL);
INSERT INTO routes (id, source_id, source_type, path) VALUES
  (1, 1, 'Project', 'team/web'), (2, 2, 'Namespace', 'team'), (3, 1, 'Namespace', 'root');
INSERT INTO ci_runners (id, token_encrypted, description, contacted_at, runner_type) VALUES
  (1, 'runner-1', 'a runner', '2026-01-01', 1), (2, 'runner-2', 'another', NULL, 3);
INSERT INTO ci_builds (id, status, token_encrypted) VALUES (1, 'success', NULL), (2, 'running', 'job-2'), (3, 'pending', 'job-3');
INSERT INTO ci_variables (id, key, encrypted_value, project_id, environment_scope) VALUES
  (1, 'AWS_KEY', 'secret-value', 1, '*'), (2, 'PASSWORD', 'secret-value', 4, E'review/\t$(id)''\n');
INSERT INTO ci_group_variables (id, key, encrypted_value, group_id) VALUES (1, 'GROUP_KEY', 'secret-value', 2);
INSERT INTO ci_instance_variables (id, key, encrypted_value) VALUES (1, 'INSTANCE_KEY', 'secret-value');
INSERT INTO ci_pipeline_schedule_variables (id, key, encrypted_value, pipeline_schedule_id) VALUES (1, 'NIGHTLY', 'secret-value', 7);
