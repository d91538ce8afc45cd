-- PostgreSQL writes down that its indexes are of the C library of now: for collations from
-- 13 on, for databases from 15 on, also those that new ones are made from.
DO $$
DECLARE
  one record;
BEGIN
  FOR one IN SELECT n.nspname, c.collname FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
    WHERE c.collprovider = 'c' AND c.collversion <> pg_collation_actual_version(c.oid)
  LOOP
    EXECUTE format('ALTER COLLATION %I.%I REFRESH VERSION', one.nspname, one.collname);
  END LOOP;
  IF current_setting('server_version_num')::int >= 150000 THEN
    FOR one IN EXECUTE 'SELECT datname FROM pg_database WHERE datcollversion <> pg_database_collation_actual_version(oid)' LOOP
      EXECUTE format('ALTER DATABASE %I REFRESH COLLATION VERSION', one.datname);
    END LOOP;
  END IF;
END
$$;
