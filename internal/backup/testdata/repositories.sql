-- The part of GitLab's tables that a backup is compared with: db/structure.sql of
-- v13.10.2 and v18.11.13, where integers are bigints.
ALTER TABLE projects ADD COLUMN repository_storage character varying DEFAULT 'default'::character varying NOT NULL;
ALTER TABLE projects ADD COLUMN pending_delete boolean DEFAULT false;
CREATE TABLE shards (id integer PRIMARY KEY, name character varying NOT NULL);
CREATE TABLE project_repositories (id bigint PRIMARY KEY, shard_id integer NOT NULL REFERENCES shards, disk_path character varying NOT NULL, project_id integer NOT NULL REFERENCES projects);
CREATE TABLE project_statistics (id integer PRIMARY KEY, project_id integer NOT NULL REFERENCES projects, namespace_id integer NOT NULL, commit_count bigint DEFAULT 0 NOT NULL, storage_size bigint DEFAULT 0 NOT NULL);
CREATE TABLE snippet_repositories (shard_id bigint NOT NULL REFERENCES shards, snippet_id bigint PRIMARY KEY, disk_path character varying(80) NOT NULL);
CREATE TABLE group_wiki_repositories (shard_id bigint NOT NULL REFERENCES shards, group_id bigint PRIMARY KEY, disk_path text NOT NULL);
CREATE TABLE uploads (id integer PRIMARY KEY, path character varying(511) NOT NULL, store integer DEFAULT 1);
CREATE TABLE lfs_objects (id integer PRIMARY KEY, oid character varying NOT NULL, file_store integer DEFAULT 1);

INSERT INTO shards VALUES (1, 'default');
INSERT INTO project_repositories SELECT id, 1, CASE id WHEN (SELECT min(id) FROM projects) THEN
 '@hashed/d4/73/d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35' ELSE '@hashed/00/00/' || id END, id FROM projects;
INSERT INTO project_statistics SELECT id, id, 1, CASE id WHEN (SELECT min(id) FROM projects) THEN 3 ELSE 0 END FROM projects;
INSERT INTO uploads VALUES (1, E'a tab \t, a line end \n, a backslash \\ and \\. in a name', 1), (2, 'elsewhere', 2);
INSERT INTO lfs_objects VALUES (1, 'abc', NULL), (2, 'def', 2);
INSERT INTO group_wiki_repositories VALUES (1, 1, '@groups/6b/86/6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b');
