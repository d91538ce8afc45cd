-- As gitlab-13.10.sql, for 14.9.

\ir later.sql
CREATE TABLE application_settings (
  id integer PRIMARY KEY, signup_enabled boolean, runners_registration_token_encrypted character varying,
  encrypted_ci_jwt_signing_key text, encrypted_ci_jwt_signing_key_iv text,
  encrypted_customers_dot_jwt_signing_key bytea, encrypted_customers_dot_jwt_signing_key_iv bytea);
CREATE TABLE ci_runners (
  id integer PRIMARY KEY, token character varying, token_encrypted character varying, description character varying,
  contacted_at timestamp without time zone, runner_type smallint NOT NULL, executor_type smallint);
CREATE TABLE ci_builds (
  id bigint PRIMARY KEY, status character varying, token character varying, token_encrypted character varying);
CREATE TABLE ci_pipeline_schedule_variables (
  id integer PRIMARY KEY, key character varying NOT NULL, encrypted_value text, pipeline_schedule_id integer NOT NULL);
\ir tokens.sql
\ir rows.sql
\ir integrations.sql
INSERT INTO web_hooks VALUES (1, 1, NULL, 'x'), (2, NULL, 1, 'y');
INSERT INTO web_hook_logs VALUES (1, 1, 'https://hook.example.com', '2026-11-24');
