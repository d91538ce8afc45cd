-- An index keeps its number when it is rebuilt. One that has gone meanwhile is left out.
SET lock_timeout = '5min';
SET maintenance_work_mem = '256MB';
DO $$
DECLARE
  one oid;
BEGIN
  FOREACH one IN ARRAY '{0}'::oid[] LOOP
    IF EXISTS (SELECT FROM pg_class WHERE oid = one AND relkind = 'i') THEN
      EXECUTE format('REINDEX INDEX %s', one::regclass);
    END IF;
  END LOOP;
END
$$;
