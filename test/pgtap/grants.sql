-- Who may call what: every function of the extension has a level, and PUBLIC has nothing.
BEGIN;
SET client_min_messages = warning;
CREATE SCHEMA sr;
CREATE EXTENSION session_reconciler SCHEMA sr;
SET search_path = sr, public;
SELECT * FROM no_plan();

CREATE TEMPORARY VIEW ours AS
  SELECT p.oid, CASE WHEN p.pronamespace = e.extnamespace THEN p.proname ELSE 'reconciler.' || p.proname END AS name, p.prokind, p.proacl, p.proowner
  FROM pg_extension e JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
  JOIN pg_proc p ON p.oid = d.objid WHERE e.extname = 'session_reconciler';

SELECT set_eq('SELECT DISTINCT name::text FROM ours', 'SELECT function_name FROM reconciler.level_of()',
              'every function is in the list of levels, and nothing else is');
SELECT is_empty('SELECT function_name FROM reconciler.level_of() GROUP BY 1 HAVING count(*) > 1', 'none is in it twice');
SELECT is_empty($$SELECT level FROM reconciler.level_of() WHERE level NOT IN ('viewer', 'operator', 'admin', 'evidence', 'collector', 'owner')$$, 'there is no other level');

SELECT is_empty('SELECT o.name FROM ours o, aclexplode(coalesce(o.proacl, acldefault(''f'', o.proowner))) a WHERE a.grantee = 0',
                'PUBLIC may call nothing');
SELECT is_empty($$SELECT c.relname FROM pg_depend d JOIN pg_class c ON c.oid = d.objid, aclexplode(c.relacl) a
  WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'session_reconciler')
    AND d.classid = 'pg_class'::regclass AND a.grantee = 0$$, 'PUBLIC may read no table');
SELECT is_empty($$SELECT 1 FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'reconciler' AND a.grantee = 0$$, 'PUBLIC may not use the catalog''s schema');
SELECT is_empty('SELECT name FROM ours WHERE obj_description(oid, ''pg_proc'') IS NULL', 'every function has a comment');

-- Monitoring.
SELECT set_eq($$SELECT name FROM ours WHERE has_function_privilege('pg_monitor', oid, 'EXECUTE')$$,
              ARRAY['reconciler_status', 'reconciler_metrics', 'reconciler_metrics_text', 'preflight'], 'pg_monitor sees state, metrics and preflight, no session');
SELECT ok(has_schema_privilege('pg_monitor', 'sr', 'USAGE'), 'pg_monitor reaches them in a schema of their own');

-- Each level contains the one before.
CREATE ROLE "Tap Viewer";
CREATE ROLE tap_operator;
CREATE ROLE tap_admin;
CREATE ROLE tap_evidence;
SELECT matches(reconciler_grant('Tap Viewer', 'viewer'), '^"Tap Viewer" is viewer now: \d+ functions$', 'a name as it stands in pg_roles');
SELECT lives_ok($$SELECT reconciler_grant('TAP_OPERATOR', 'operator')$$, 'a name as it is written in SQL');
SELECT isnt(reconciler_grant('tap_admin', 'admin'), NULL, 'tap_admin admin');
SELECT isnt(reconciler_grant('tap_evidence', 'evidence'), NULL, 'tap_evidence evidence');
CREATE TEMPORARY VIEW may AS
  SELECT r.rolname, l.level FROM pg_roles r, ours o JOIN reconciler.level_of() l ON l.function_name = o.name
  WHERE r.rolname IN ('Tap Viewer', 'tap_operator', 'tap_admin', 'tap_evidence') AND has_function_privilege(r.oid, o.oid, 'EXECUTE');
SELECT set_eq($$SELECT DISTINCT level FROM may WHERE rolname = 'Tap Viewer'$$, ARRAY['viewer'], 'a viewer looks');
SELECT set_eq($$SELECT DISTINCT level FROM may WHERE rolname = 'tap_operator'$$, ARRAY['viewer', 'operator'], 'an operator also acts');
SELECT set_eq($$SELECT DISTINCT level FROM may WHERE rolname = 'tap_admin'$$, ARRAY['viewer', 'operator', 'admin'], 'an admin also sets up');
SELECT is_empty($$SELECT 1 FROM may WHERE rolname = 'tap_evidence' AND level <> 'evidence'$$, 'evidence is nothing else');

SELECT ok(has_table_privilege('Tap Viewer', 'reconciler.event', 'SELECT'), 'a viewer reads events');
SELECT ok(NOT has_any_column_privilege('Tap Viewer', 'reconciler.policy', 'UPDATE'), 'and changes no policy');
SELECT ok(NOT has_table_privilege('tap_operator', 'reconciler.policy', 'UPDATE'), 'nor does an operator');
SELECT ok(has_table_privilege('tap_admin', 'reconciler.policy', 'UPDATE'), 'an admin does');
SELECT ok(has_column_privilege('tap_admin', 'reconciler.binding', 'brake_floor', 'UPDATE'), 'and changes limits');
SELECT is_empty($$SELECT attname FROM pg_attribute WHERE attrelid = 'reconciler.binding'::regclass AND attnum > 0
  AND attname IN ('sessions', 'schema_name', 'table_name', 'columns', 'related', 'leftover', 'mode', 'hub', 'armed_system', 'armed_database', 'armed_name', 'paused_at')
  AND has_column_privilege('tap_admin', 'reconciler.binding', attname, 'UPDATE')$$, 'but neither mapping nor mode nor identity');
SELECT ok(NOT has_column_privilege('tap_admin', 'reconciler.hub', 'base_urls', 'UPDATE'), 'and hub addresses only through set_hub()');
SELECT ok(NOT has_table_privilege('tap_admin', 'reconciler.event', 'INSERT, UPDATE, DELETE, TRUNCATE'), 'nobody writes events by hand');

-- A row changed by an admin: the trigger writes the event in the owner's rights.
INSERT INTO reconciler.hub (name, base_urls, profile) VALUES ('tap', '{http://localhost:9}', 'standard');
SET ROLE tap_admin;
UPDATE reconciler.hub SET max_in_flight = 3;
SELECT throws_ok($$SELECT reconciler_grant('tap_operator', 'admin')$$, '42501', NULL, 'an admin makes no admins');
SELECT throws_ok('SELECT reconciler.wake_worker()', '42501', NULL, 'what functions are made of is nobody''s');
RESET ROLE;
SELECT results_eq($$SELECT kind, actor, evidence->'old'->>'max_in_flight', evidence->'new'->>'max_in_flight' FROM reconciler.event ORDER BY id DESC LIMIT 1$$,
                  $$VALUES ('policy_changed', 'tap_admin', NULL::text, '3')$$, 'a change by hand is an event with the actor');

-- Taking away.
SELECT is(reconciler_revoke('tap_operator', 'admin'), 'tap_operator was not admin', 'a level that it never had');
SELECT is(reconciler_revoke('tap_admin', 'admin'), 'tap_admin is not admin any more', 'tap_admin admin');
SELECT set_eq($$SELECT DISTINCT level FROM may WHERE rolname = 'tap_admin'$$, ARRAY['viewer', 'operator'], 'without admin an admin is an operator');
SELECT ok(NOT has_table_privilege('tap_admin', 'reconciler.policy', 'UPDATE') AND NOT has_any_column_privilege('tap_admin', 'reconciler.binding', 'UPDATE'), 'and changes nothing in the tables');
SELECT isnt(reconciler_revoke('tap_operator', 'viewer'), NULL, 'tap_operator viewer');
SELECT is_empty($$SELECT 1 FROM may WHERE rolname = 'tap_operator'$$, 'without viewer nothing is left');
SELECT ok(NOT has_table_privilege('tap_operator', 'reconciler.event', 'SELECT') AND NOT has_schema_privilege('tap_operator', 'reconciler', 'USAGE'), 'not in the tables either');

SELECT throws_ok($$SELECT reconciler_grant('tap_admin', 'root')$$, '22023', NULL, 'no such level');
SELECT throws_ok($$SELECT reconciler_grant('tap_admin', NULL)$$, '22004', 'level must not be null', 'no level at all');
SELECT throws_ok($$SELECT reconciler_grant('nobody at all', 'viewer')$$, '42704', NULL, 'no such role');
SELECT throws_ok($$SELECT reconciler_grant('public', 'viewer')$$, '42704', NULL, 'nothing to PUBLIC');

SELECT * FROM finish();
ROLLBACK;
