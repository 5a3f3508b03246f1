-- The catalog has a schema of its own, whatever schema the functions go to. It must not exist yet: adopting a
-- schema that somebody else made would adopt its objects too.
DO $$
BEGIN
  IF '@extschema@' OPERATOR(pg_catalog.=) 'reconciler' THEN
    RAISE EXCEPTION 'schema reconciler is for the catalog of session_reconciler' USING ERRCODE = 'reserved_name',
      HINT = 'Choose another schema for its functions: CREATE EXTENSION session_reconciler SCHEMA ….';
  END IF;
  CREATE SCHEMA reconciler;
END
$$;
COMMENT ON SCHEMA reconciler IS 'Catalog of the extension session_reconciler: configuration, evidence, audit events.';
