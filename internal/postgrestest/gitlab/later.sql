-- Tables of all versions since 14.
\ir common.sql
CREATE TABLE routes (
  id integer PRIMARY KEY, source_id integer NOT NULL, source_type character varying NOT NULL, path character varying NOT NULL, namespace_id bigint);
CREATE TABLE ci_group_variables (
  id integer PRIMARY KEY, key character varying NOT NULL, value text, encrypted_value text, encrypted_value_iv character varying,
  group_id integer NOT NULL REFERENCES namespaces, environment_scope text DEFAULT '*' NOT NULL);
