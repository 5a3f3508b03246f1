-- From 0.5.0 to 0.6.0. What is new in tables stands at their end in the install script too: both ways lead to the same.
\echo Use "ALTER EXTENSION session_reconciler UPDATE" to load this file. \quit

DO $$
BEGIN
  IF string_to_array(reconciler.library_version(), '.')::integer[] < '{0,6,0}' THEN
    RAISE EXCEPTION 'the library in memory is of version %, this is the upgrade to 0.6.0', reconciler.library_version() USING ERRCODE = 'feature_not_supported',
      HINT = 'Restart the server, or connect again where it does not preload the library; then repeat ALTER EXTENSION session_reconciler UPDATE.';
  END IF;
END $$;
