-- As gitlab-13.10.sql, for 18.11: jobs, runners and variables of pipelines are in partitions,
-- the log of webhooks is another table, and issue trackers have no tables of their own any more.

\ir later.sql
CREATE TABLE application_settings (
  id integer PRIMARY KEY, signup_enabled boolean, runners_registration_token_encrypted character varying,
  encrypted_ci_jwt_signing_key text, encrypted_ci_jwt_signing_key_iv text,
  encrypted_ci_job_token_signing_key bytea, encrypted_ci_job_token_signing_key_iv bytea,
  encrypted_customers_dot_jwt_signing_key bytea, encrypted_customers_dot_jwt_signing_key_iv bytea);
CREATE TABLE ci_runners (
  id bigint NOT NULL, token character varying, token_encrypted character varying, description character varying,
  contacted_at timestamp without time zone, runner_type smallint NOT NULL, PRIMARY KEY (id, runner_type)) PARTITION BY LIST (runner_type);
CREATE TABLE instance_type_ci_runners PARTITION OF ci_runners FOR VALUES IN (1);
CREATE TABLE group_type_ci_runners PARTITION OF ci_runners FOR VALUES IN (2);
CREATE TABLE project_type_ci_runners PARTITION OF ci_runners FOR VALUES IN (3);
CREATE TABLE p_ci_builds (
  id bigint NOT NULL, status character varying, token_encrypted character varying, partition_id bigint NOT NULL DEFAULT 100,
  PRIMARY KEY (id, partition_id)) PARTITION BY LIST (partition_id);
CREATE TABLE ci_builds PARTITION OF p_ci_builds FOR VALUES IN (100, 101);
CREATE SCHEMA gitlab_partitions_dynamic;
CREATE TABLE gitlab_partitions_dynamic.ci_builds_102 PARTITION OF p_ci_builds FOR VALUES IN (102);
CREATE TABLE ci_pipeline_schedule_variables (
  id integer PRIMARY KEY, key character varying NOT NULL, encrypted_value text, pipeline_schedule_id bigint NOT NULL, project_id bigint);
\ir tokens.sql
\ir rows.sql
UPDATE application_settings SET encrypted_ci_job_token_signing_key = 'x', encrypted_ci_job_token_signing_key_iv = 'x';
INSERT INTO p_ci_builds (id, status, token_encrypted, partition_id) VALUES (4, 'pending', 'job-4', 102);
CREATE TABLE integrations (id bigint PRIMARY KEY, type_new text, project_id bigint REFERENCES projects, encrypted_properties bytea);
CREATE TABLE chat_names (id bigint PRIMARY KEY, integration_id bigint REFERENCES integrations, team_id character varying NOT NULL);
CREATE TABLE issue_tracker_data (id bigint PRIMARY KEY, integration_id bigint REFERENCES integrations, encrypted_project_url text);
CREATE TABLE jira_tracker_data (id bigint PRIMARY KEY, integration_id bigint REFERENCES integrations, encrypted_password text);
CREATE TABLE slack_integrations (id bigint PRIMARY KEY, integration_id bigint REFERENCES integrations, team_id character varying NOT NULL);
CREATE TABLE slack_integrations_scopes (id bigint PRIMARY KEY, slack_integration_id bigint NOT NULL REFERENCES slack_integrations ON DELETE CASCADE);
CREATE TABLE zentao_tracker_data (id bigint PRIMARY KEY, integration_id bigint REFERENCES integrations, encrypted_api_token bytea);
CREATE TABLE web_hooks (id bigint PRIMARY KEY, project_id bigint REFERENCES projects, integration_id bigint REFERENCES integrations, encrypted_url text);
CREATE TABLE web_hook_logs_daily (
  id bigint NOT NULL, web_hook_id bigint NOT NULL, url text,
  created_at timestamp with time zone NOT NULL, PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at);
CREATE TABLE gitlab_partitions_dynamic.web_hook_logs_daily_20261124 PARTITION OF web_hook_logs_daily FOR VALUES FROM ('2026-11-24') TO ('2026-11-25');

INSERT INTO integrations VALUES (1, 'Integrations::Jira', NULL, 'x');
INSERT INTO chat_names VALUES (1, 1, 'team');
INSERT INTO jira_tracker_data VALUES (1, 1, 'x');
INSERT INTO slack_integrations VALUES (1, 1, 'team');
INSERT INTO slack_integrations_scopes VALUES (1, 1);
INSERT INTO web_hooks VALUES (1, 1, NULL, 'x'), (2, NULL, 1, 'y');
INSERT INTO web_hook_logs_daily VALUES (1, 1, 'https://hook.example.com', '2026-11-24');
