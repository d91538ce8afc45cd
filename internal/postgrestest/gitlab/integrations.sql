-- From 14.1 on: services became integrations, and the log of webhooks is
-- partitioned by month.
CREATE TABLE integrations (id integer PRIMARY KEY, type_new text, project_id integer REFERENCES projects, encrypted_properties bytea);
CREATE TABLE chat_names (id integer PRIMARY KEY, integration_id integer NOT NULL REFERENCES integrations, team_id character varying NOT NULL);
CREATE TABLE issue_tracker_data (id bigint PRIMARY KEY, integration_id integer NOT NULL REFERENCES integrations, encrypted_project_url text);
CREATE TABLE jira_tracker_data (id bigint PRIMARY KEY, integration_id integer NOT NULL REFERENCES integrations, encrypted_password text);
CREATE TABLE open_project_tracker_data (id bigint PRIMARY KEY, integration_id integer NOT NULL REFERENCES integrations, encrypted_token text);
CREATE TABLE slack_integrations (id integer PRIMARY KEY, integration_id integer NOT NULL REFERENCES integrations, team_id character varying NOT NULL);
CREATE TABLE zentao_tracker_data (id bigint PRIMARY KEY, integration_id bigint NOT NULL REFERENCES integrations, encrypted_api_token bytea);
CREATE TABLE web_hooks (id integer PRIMARY KEY, project_id integer REFERENCES projects, integration_id integer REFERENCES integrations, encrypted_url text);
CREATE TABLE web_hook_logs (
  id bigint NOT NULL, web_hook_id integer NOT NULL REFERENCES web_hooks ON DELETE CASCADE, url character varying,
  created_at timestamp without time zone NOT NULL, PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at);
CREATE SCHEMA gitlab_partitions_dynamic;
CREATE TABLE gitlab_partitions_dynamic.web_hook_logs_202611 PARTITION OF web_hook_logs FOR VALUES FROM ('2026-11-01') TO ('2026-12-01');

INSERT INTO integrations VALUES (1, 'Integrations::Jira', NULL, 'x');
INSERT INTO chat_names VALUES (1, 1, 'team');
INSERT INTO jira_tracker_data VALUES (1, 1, 'x');
INSERT INTO open_project_tracker_data VALUES (1, 1, 'x');
