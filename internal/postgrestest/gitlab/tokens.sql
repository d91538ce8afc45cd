-- Tokens beside those that GitLab's page on lost secrets names. A table may want a value.
CREATE TABLE deploy_tokens (id integer PRIMARY KEY, name character varying NOT NULL, token character varying, token_encrypted character varying(255));
CREATE TABLE cluster_agent_tokens (id bigint PRIMARY KEY, token_encrypted text NOT NULL);
CREATE TABLE operations_feature_flags_clients (id bigint PRIMARY KEY, project_id integer NOT NULL, token_encrypted character varying);
INSERT INTO deploy_tokens (id, name, token_encrypted) VALUES (1, 'a', 'x'), (2, 'b', 'y'), (3, 'c', 'z'), (7, 'new', 'readable');
INSERT INTO cluster_agent_tokens (id, token_encrypted) VALUES (1, 'x');
INSERT INTO operations_feature_flags_clients (id, project_id, token_encrypted) VALUES (5, 1, 'x');
