-- Tables that are the same in every version.
CREATE TABLE namespaces (
  id integer PRIMARY KEY, name character varying NOT NULL, path character varying NOT NULL, type character varying,
  runners_token character varying, runners_token_encrypted character varying);
CREATE TABLE projects (
  id integer PRIMARY KEY, name character varying, path character varying, namespace_id integer NOT NULL REFERENCES namespaces,
  runners_token character varying, runners_token_encrypted character varying);
CREATE TABLE ci_variables (
  id integer PRIMARY KEY, key character varying NOT NULL, value text, encrypted_value text, encrypted_value_iv character varying,
  project_id integer NOT NULL REFERENCES projects, environment_scope character varying DEFAULT '*' NOT NULL);
CREATE TABLE ci_instance_variables (id bigint PRIMARY KEY, key text NOT NULL, encrypted_value text, encrypted_value_iv text);
