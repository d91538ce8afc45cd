-- The part of GitLab's schema that our scripts touch, as 13.10 has it
-- (db/structure.sql), cut down to the columns that matter, with some rows.

\ir common.sql
CREATE TABLE application_settings (
  id integer PRIMARY KEY, signup_enabled boolean, runners_registration_token_encrypted character varying,
  encrypted_ci_jwt_signing_key text, encrypted_ci_jwt_signing_key_iv text);
CREATE UNIQUE INDEX ON namespaces (runners_token);
CREATE TABLE routes (
  id integer PRIMARY KEY, source_id integer NOT NULL, source_type character varying NOT NULL, path character varying NOT NULL);
CREATE TABLE ci_runners (
  id integer PRIMARY KEY, token character varying, token_encrypted character varying, description character varying,
  contacted_at timestamp without time zone, runner_type smallint NOT NULL);
CREATE TABLE ci_builds (
  id integer PRIMARY KEY, status character varying, token character varying, token_encrypted character varying);
CREATE TABLE ci_group_variables (
  id integer PRIMARY KEY, key character varying NOT NULL, value text, encrypted_value text, encrypted_value_iv character varying,
  group_id integer NOT NULL REFERENCES namespaces);
CREATE TABLE ci_pipeline_schedule_variables (
  id integer PRIMARY KEY, key character varying NOT NULL, encrypted_value text, pipeline_schedule_id integer NOT NULL);
CREATE TABLE services (id integer PRIMARY KEY, type character varying, project_id integer REFERENCES projects, properties text);
CREATE TABLE chat_names (id integer PRIMARY KEY, service_id integer NOT NULL REFERENCES services, team_id character varying NOT NULL);
CREATE TABLE jira_tracker_data (id bigint PRIMARY KEY, service_id integer NOT NULL REFERENCES services, encrypted_password text);
CREATE TABLE web_hooks (id integer PRIMARY KEY, project_id integer REFERENCES projects, service_id integer REFERENCES services, encrypted_url text);
CREATE TABLE web_hook_logs (id integer PRIMARY KEY, web_hook_id integer NOT NULL REFERENCES web_hooks ON DELETE CASCADE, url character varying);

INSERT INTO services VALUES (1, 'JiraService', NULL, '{}');
INSERT INTO chat_names VALUES (1, 1, 'team');
INSERT INTO jira_tracker_data VALUES (1, 1, 'x');
\ir tokens.sql
\ir rows.sql
INSERT INTO web_hooks VALUES (1, 1, NULL, 'x'), (2, NULL, 1, 'y');
INSERT INTO web_hook_logs VALUES (1, 1, 'https://hook.example.com');
