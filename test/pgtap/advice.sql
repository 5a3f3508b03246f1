-- What setting up refuses and advises, word for word: an advice that is pasted has to do what was meant.
BEGIN;
SET client_min_messages = warning;
CREATE SCHEMA sr;
CREATE EXTENSION session_reconciler SCHEMA sr;
CREATE SCHEMA app;
SET search_path = app, sr, public;
SELECT * FROM no_plan();

-- SQLSTATE, message, detail and hint.
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  code text; message text; detail text; advice text;
BEGIN
  EXECUTE statement;
  RETURN 'done';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, advice = PG_EXCEPTION_HINT;
  RETURN concat_ws(' / ', code, message, nullif(detail, ''), nullif(advice, ''));
END $$;

-- A policy by hand, of states that the column's type does not have.
CREATE TYPE st AS ENUM ('running', 'terminating', 'terminated');
CREATE TABLE boxes (id text PRIMARY KEY, state st, agent_id text, updated_at timestamptz);
SELECT lives_ok($$SELECT attach_sessions('boxes')$$, 'attached');
SELECT binding_id AS id FROM reconciler.binding \gset
SELECT is(pg_temp.refused(format('INSERT INTO reconciler.policy (binding_id, state) VALUES (%s, ''terminatin'')', :id)),
          '23514 / "terminatin" is no label of type app.st / Its labels: running, terminating, terminated. / Name one of them, or: ALTER TYPE app.st ADD VALUE ''terminatin''.', 'a state that can''t be');
SELECT matches(pg_temp.refused('UPDATE reconciler.policy SET ' || change), said, change) FROM (VALUES
  ($$state = 'terminatin' WHERE state = 'terminating'$$, '^23514 / "terminatin" is no label'),
  ($$becomes = 'ended' WHERE state = 'terminating'$$, '^23514 / "ended" is no label'),
  ($$completed_becomes = 'runing' WHERE state = 'terminating'$$, '^23514 / "runing" is no label'),
  ($$completed_becomes = 'running' WHERE state = 'terminating'$$, 'done'),
  ($$completed_becomes = NULL WHERE state = 'terminating'$$, 'done')) AS t(change, said);


SELECT is(pg_temp.refused($$SELECT create_control_plane('nope')$$), '3F000 / schema "nope" does not exist / CREATE SCHEMA nope; or name another.', 'a schema that is not');
SELECT matches(pg_temp.refused($$SELECT create_control_plane(NULL)$$), '^3F000 / no schema has been selected', 'none');

-- Hubs by hand.
SELECT is(pg_temp.refused(format('INSERT INTO reconciler.hub (name, base_urls, profile) VALUES (''x'', %L, ''standard'')', urls)), said, urls) FROM (VALUES
  ('{ftp://x}', '22023 / an address of hub "x" is no http or https URL / An address looks like "https://hub.example.com:8443/prefix".'),
  ('{http://x,y}', '22023 / an address of hub "x" is no http or https URL / An address looks like "https://hub.example.com:8443/prefix".'),
  ('{HTTP://x,https://y:1/z}', 'done')) AS t(urls, said);
SELECT * FROM finish();
ROLLBACK;
