-- As gitlab-13.10.sql, for 14.9.

CREATE TABLE application_settings (
  id integer PRIMARY KEY, signup_enabled boolean, runners_registration_token_encrypted character varying,
  encrypted_ci_jwt_signing_key text, encrypted_ci_jwt_signing_key_iv text,
  encrypted_customers_dot_jwt_signing_key bytea, encrypted_customers_dot_jwt_signing_key_iv bytea);
CREATE TABLE namespaces (
  id integer PRIMARY KEY, name character varying NOT NULL, path character varying NOT NULL, type character varying,
  runners_token character varying, runners_token_encrypted character varying);
CREATE TABLE projects (
  id integer PRIMARY KEY, name character varying, path character varying, namespace_id integer NOT NULL REFERENCES namespaces,
  runners_token character varying, runners_token_encrypted character varying);
CREATE TABLE routes (
  id integer PRIMARY KEY, source_id integer NOT NULL, source_type character varying NOT NULL, path character varying NOT NULL, namespace_id bigint);
CREATE TABLE ci_runners (
  id integer PRIMARY KEY, token character varying, token_encrypted character varying, description character varying,
  contacted_at timestamp without time zone, runner_type smallint NOT NULL, executor_type smallint);
CREATE TABLE ci_builds (
  id bigint PRIMARY KEY, status character varying, token character varying, token_encrypted character varying);
CREATE TABLE ci_variables (
  id integer PRIMARY KEY, key character varying NOT NULL, value text, encrypted_value text, encrypted_value_iv character varying,
  project_id integer NOT NULL REFERENCES projects, environment_scope character varying DEFAULT '*' NOT NULL);
CREATE TABLE ci_group_variables (
  id integer PRIMARY KEY, key character varying NOT NULL, value text, encrypted_value text, encrypted_value_iv character varying,
  group_id integer NOT NULL REFERENCES namespaces, environment_scope text DEFAULT '*' NOT NULL);
CREATE TABLE ci_instance_variables (id bigint PRIMARY KEY, key text NOT NULL, encrypted_value text, encrypted_value_iv text);
CREATE TABLE ci_pipeline_schedule_variables (
  id integer PRIMARY KEY, key character varying NOT NULL, encrypted_value text, pipeline_schedule_id integer NOT NULL);
\ir tokens.sql
\ir rows.sql
\ir integrations.sql
INSERT INTO web_hooks VALUES (1, 1, NULL, 'x'), (2, NULL, 1, 'y');
INSERT INTO web_hook_logs VALUES (1, 1, 'https://hook.example.com', '2026-11-24');
