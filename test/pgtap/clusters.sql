-- What sessions left behind in a cluster: setting one, and every step of a collection as session-reconciler-gc calls it.
BEGIN;
SET LOCAL client_min_messages = error;
CREATE EXTENSION session_reconciler;
SELECT * FROM no_plan();

CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, assigned_agent_id text, platform_resource_id text, terminated_at timestamptz,
                       created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
SELECT throws_ok($$ SELECT set_cluster('main') $$, '55000', 'no sessions table is attached', 'a cluster has sessions');
SELECT lives_ok($$ SELECT attach_sessions('sessions', 'standard', '{"mode": "enforce"}') $$, 'attached');

-- Setting it.
CREATE FUNCTION pg_temp.plane() RETURNS text LANGUAGE sql AS $$ SELECT system || '-' || database FROM reconciler.server_identity() $$;
SELECT is(set_cluster('main'), 'cluster "main" set for public.sessions: mode report, deployments.apps, services, pods, persistentvolumeclaims; only objects with the label session-reconciler.io/control-plane=' ||
  pg_temp.plane() || ' are ours; the server connects to none, session-reconciler-gc does', 'set; deletes nothing');
SELECT is((SELECT kinds->0 FROM reconciler.cluster), '{"group": "apps", "version": "v1", "resource": "deployments", "namespaces": ["default"], "selector": "session-reconciler.io/session"}', 'a kind');
SELECT throws_ok($$ SELECT set_cluster(' ') $$, '22023', 'a cluster needs a name', 'no name');
SELECT throws_ok($$ SELECT set_cluster('main', 'ftp://x') $$, '22023', NULL, 'no such address');
SELECT throws_ok($$ SELECT set_cluster('main', NULL, '{"modus": "enforce"}') $$, '22023', 'set_cluster() has no option "modus"', 'an option that is not known');
SELECT throws_ok($$ SELECT set_cluster('main', NULL, '{"mode": "kill"}') $$, '22023', 'option "mode" is not valid', 'another mode');
SELECT throws_ok($$ SELECT set_cluster('main', NULL, '{"preset": "openshift"}') $$, '22023', 'there is no preset "openshift"', 'another preset');
SELECT throws_ok($$ SELECT set_cluster('main', NULL, '{"kinds": [{"group": "apps"}]}') $$, '22023', 'option "kinds" can''t be used: "version" is missing', 'half a kind');
SELECT throws_ok($$ SELECT set_cluster('main', NULL, '{"kinds": [{"version": "v1", "resource": "pods", "name": "x"}]}') $$, '22023', 'a kind has no "name"', 'too much of a kind');
SELECT throws_ok($$ SELECT set_cluster('main', NULL, '{"kinds": ["pods"]}') $$, '22023', 'option "kinds" must be a list of objects', 'no kind');
SELECT throws_ok($$ SELECT set_cluster('main', NULL, '{"control_plane": "a b"}') $$, '22023', 'option "control_plane" is not valid', 'no label has it');
SELECT throws_ok($$ SELECT set_cluster('main', NULL, '{"references": [{"table": "warm", "column": "id"}]}') $$, '42P01', 'table "warm" does not exist', 'no such table');
CREATE TABLE warm (sandbox_id text);
SELECT throws_ok($$ SELECT set_cluster('main', NULL, '{"references": [{"table": "warm", "column": "id"}]}') $$, '42703', 'column "id" of table public.warm does not exist', 'no such column');
SELECT lives_ok($$ SELECT set_cluster('main', NULL, '{"references": [{"table": "warm", "column": "sandbox_id"}], "namespaces": ["ns"], "control_plane": "cp"}') $$, 'changed');
SELECT is((SELECT jsonb_path_query_array(kinds, '$[*].namespaces') || reference_columns FROM reconciler.cluster), '[["ns"], ["ns"], ["ns"], ["ns"], {"table": "public.warm", "column": "sandbox_id"}]', 'as it was said');
SELECT is((SELECT count(*) FROM reconciler.event WHERE kind = 'policy_changed' AND rule = 'set_cluster' AND evidence->>'cluster' = 'main'), 2::bigint, 'an event each time');
SELECT throws_ok($$ UPDATE reconciler.cluster SET api_url = 'https://user:secret@host' $$, '23514', NULL, 'no credential comes in by hand');
UPDATE reconciler.cluster SET grace = '20 min';
SELECT is((SELECT evidence->>'cluster' FROM reconciler.event WHERE rule = 'by hand' ORDER BY id DESC LIMIT 1), 'main', 'what is edited by hand is an event');
UPDATE reconciler.cluster SET grace = '15 min';
SELECT set_cluster('agents', NULL, '{"preset": "centaur"}');
SELECT is((SELECT kinds->0->>'selector' || coalesce(session_label, ', rows decide') FROM reconciler.cluster WHERE name = 'agents'), 'centaur.ai/managed=true,centaur.ai/component!=workflow-run, rows decide',
  'workflow runs are nobody''s leftover');
DELETE FROM reconciler.cluster WHERE name = 'agents';

-- One collection, as the collector makes it. An object is "name session age [kind] [more]".
CREATE FUNCTION pg_temp.object(name text, session text, age interval DEFAULT '1 day', more jsonb DEFAULT '{}', plane text DEFAULT 'cp') RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('name', name, 'namespace', 'ns', 'uid', 'uid-' || name, 'resource_version', '7', 'created', to_char((reconciler.clock() - age) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
    'labels', jsonb_strip_nulls(jsonb_build_object('session-reconciler.io/session', session, 'session-reconciler.io/control-plane', plane))) || more $$;
CREATE FUNCTION pg_temp.kind(n int DEFAULT 0) RETURNS jsonb LANGUAGE sql AS $$ SELECT kinds->n FROM reconciler.cluster WHERE name = 'main' $$;
CREATE FUNCTION pg_temp.verdicts(id bigint, variadic objects jsonb[]) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(substr(uid, 5) || ' ' || verdict || ' ' || rule, ', ' ORDER BY uid) FROM gc_classify(id, pg_temp.kind(), to_jsonb(objects)) $$;
-- The other kinds have nothing.
CREATE FUNCTION pg_temp.list_rest(id bigint, outcome text DEFAULT 'complete', n bigint DEFAULT 0) RETURNS void LANGUAGE sql AS $$
  SELECT gc_listed(id, pg_temp.kind(), 'complete', n);
  SELECT gc_listed(id, pg_temp.kind(k), CASE k WHEN 3 THEN outcome ELSE 'complete' END, 0) FROM generate_series(1, 3) AS k $$;
CREATE FUNCTION pg_temp.due(id bigint) RETURNS text LANGUAGE sql AS $$ SELECT coalesce(string_agg(name || '@' || resource_version, ' ' ORDER BY resource_id), '') FROM gc_deletions(id) $$;
CREATE FUNCTION pg_temp.later(span interval) RETURNS void LANGUAGE sql AS $$
  SELECT set_config('session_reconciler.clock_offset', (extract(epoch FROM current_setting('session_reconciler.clock_offset')::interval + span) || ' s')::text, true) $$;

INSERT INTO sessions (id, state, terminated_at) VALUES ('alive', 'running', NULL), ('closed', 'terminated', now() - interval '1 hour'), ('just', 'terminated', now() - interval '5 min'), ('held', 'terminated', now() - interval '1 hour'),
  ('undated', 'terminated', NULL), ('future', 'terminated', now() + interval '1 day');
INSERT INTO reconciler.hold SELECT binding_id, 'held', 'infinity', 'looking', 'ann' FROM reconciler.binding;
INSERT INTO warm VALUES ('spare');

SELECT throws_ok($$ SELECT * FROM gc_begin('other') $$, '42704', 'cluster "other" does not exist', 'no such cluster');
CREATE TEMP TABLE begun AS SELECT * FROM gc_begin('main');
SELECT set_config('t.id', collection_id::text, true) FROM begun;
SELECT is(mode || ' ' || (kinds = (SELECT c.kinds FROM reconciler.cluster AS c)), 'report true', 'begun; it only reports') FROM begun;
SELECT matches((SELECT why_not FROM gc_begin('main')), '^collection \d+ runs, begun at .* by .*; if nothing more is heard of it another one may begin at ', 'one at a time');
SELECT is(pg_temp.verdicts(current_setting('t.id')::bigint, pg_temp.object('a', 'alive'), pg_temp.object('b', 'closed'), pg_temp.object('c', 'just'), pg_temp.object('d', 'nobody'), pg_temp.object('e', NULL),
    pg_temp.object('f', 'closed', plane => 'another'), pg_temp.object('g', 'closed', plane => NULL), pg_temp.object('h', 'closed', '10 min'), pg_temp.object('i', 'held'), pg_temp.object('spare', 'closed'),
    pg_temp.object('k', 'closed', more => '{"annotations": {"session-reconciler.io/keep": "true"}}'), pg_temp.object('l', 'closed', more => '{"controller": {"kind": "ReplicaSet", "name": "x", "uid": "y"}}'),
    pg_temp.object('m', 'undated'), pg_temp.object('n', 'future')),
  'a keep session_alive, b delete session_closed, c wait session_closed, d wait session_unknown, e keep unlabelled, f keep not_ours, g keep not_ours, h keep too_young, i keep session_alive, '
  'k keep opted_out, l keep controlled, m wait session_closed, n wait session_closed, spare keep referenced', 'each by its rule');
SELECT is((SELECT string_agg(name, ' ' ORDER BY name) FROM reconciler.resource), 'b c d e g h k l m n', 'what a living session has, or another control plane, is not written down');
SELECT pg_temp.list_rest(current_setting('t.id')::bigint, n => 14);
SELECT is(pg_temp.due(current_setting('t.id')::bigint), '', 'report: nothing is handed out');
SELECT lives_ok($$ SELECT gc_end(current_setting('t.id')::bigint) $$, 'ended');
SELECT throws_ok($$ SELECT gc_end(current_setting('t.id')::bigint) $$, '55000', NULL, 'once');
SELECT is((SELECT (ours, unlabelled, due, complete, removes)::text FROM reconciler.collection ORDER BY id DESC LIMIT 1), '(12,1,1,t,f)', 'counted');
SELECT is((SELECT string_agg(format('%s %s %s', name, next_action, blocked_by), ', ' ORDER BY name) FROM orphaned_resources('main') WHERE verdict <> 'keep'), 'b delete report_mode, c delete report_mode, d delete report_mode, m delete report_mode, n delete report_mode',
  'orphaned_resources() says what would happen');
SELECT throws_ok($$ SELECT * FROM gc_classify(0, '{}', '[]') $$, '22023', NULL, 'half a kind');
SELECT throws_ok($$ SELECT * FROM gc_classify(0, pg_temp.kind(), '[]') $$, '42704', 'there is no collection 0', 'no such collection');

-- Enforce.
UPDATE reconciler.cluster SET mode = 'enforce';
CREATE FUNCTION pg_temp.begin() RETURNS bigint LANGUAGE sql AS $$ SELECT set_config('t.id', collection_id::text, true)::bigint FROM gc_begin('main') $$;
CREATE FUNCTION pg_temp.id() RETURNS bigint LANGUAGE sql AS $$ SELECT current_setting('t.id')::bigint $$;
SELECT pg_temp.later('11 min');
SELECT pg_temp.begin();
SELECT is(pg_temp.verdicts(pg_temp.id(), pg_temp.object('b', 'closed'), pg_temp.object('c', 'just'), pg_temp.object('d', 'nobody'), pg_temp.object('m', 'undated')),
  'b delete session_closed, c delete session_closed, d delete session_unknown, m wait session_closed', 'a second look');
UPDATE sessions SET state = 'running' WHERE id = 'just';
SELECT pg_temp.list_rest(pg_temp.id(), 'forbidden');
SELECT is(pg_temp.due(pg_temp.id()), 'b@7', 'where a list failed nothing is absent; what lives again is judged again');
SELECT lives_ok($$ SELECT gc_report(pg_temp.id(), (SELECT id FROM reconciler.resource WHERE name = 'b'), 'changed', 'it is another one') $$, 'told');
SELECT is((SELECT last_result || ' ' || (removed_at IS NULL) FROM reconciler.resource WHERE name = 'b'), 'changed: it is another one true', 'and it stays');
SELECT is(pg_temp.due(pg_temp.id()), '', 'not twice in one collection');
SELECT gc_end(pg_temp.id());
SELECT is((SELECT string_agg(name, ' ' ORDER BY name) FROM reconciler.resource), 'b c d m', 'a complete list no longer names the others: they are gone');
SELECT pg_temp.begin();
SELECT pg_temp.verdicts(pg_temp.id(), pg_temp.object('b', 'closed'), pg_temp.object('d', 'nobody'));
SELECT pg_temp.list_rest(pg_temp.id());
SELECT is(pg_temp.due(pg_temp.id()), 'b@7 d@7', 'everything was listed');
SELECT gc_report(pg_temp.id(), id, CASE name WHEN 'b' THEN 'accepted' ELSE 'absent' END) FROM reconciler.resource WHERE name IN ('b', 'd');
SELECT results_eq($$ SELECT session_id, rule, evidence->>'kind', evidence->>'name', evidence->>'uid', evidence->>'outcome', table_name = 'sessions' FROM reconciler.event WHERE kind = 'resource_deleted' ORDER BY id $$,
  $$ VALUES ('closed', 'session_closed', 'deployments.apps', 'b', 'uid-b', 'accepted', true), ('nobody', 'session_unknown', 'deployments.apps', 'd', 'uid-d', 'absent', true) $$, 'each is an event');
SELECT throws_ok($$ SELECT gc_report(pg_temp.id(), 0, 'accepted') $$, '55000', NULL, 'what was not handed out');
SELECT throws_ok($$ SELECT gc_report(pg_temp.id(), 1, 'fine') $$, '22023', 'there is no outcome "fine"', 'another outcome');
SELECT gc_end(pg_temp.id());
SELECT is((SELECT value FROM reconciler_metrics() WHERE name = 'reconciler_resources_deleted_total'), 2::float8, 'counted');

-- A dry run, where a kind is not served.
SELECT pg_temp.later('20 min');
CREATE TEMP TABLE dry AS SELECT * FROM gc_begin('main', dry_run => true);
SELECT set_config('t.id', collection_id::text, true) FROM dry;
SELECT is(mode, 'report', 'a dry run deletes nothing') FROM dry;
SELECT pg_temp.verdicts(pg_temp.id(), pg_temp.object('y', 'closed'));
SELECT pg_temp.list_rest(pg_temp.id(), 'not_served');
SELECT results_eq($$ SELECT name, dry_run FROM gc_deletions(pg_temp.id()) $$, $$ VALUES ('y', true) $$, 'what would be deleted is to be checked');
SELECT gc_report(pg_temp.id(), id, 'accepted') FROM reconciler.resource WHERE name = 'y';
SELECT is((SELECT last_result || ' ' || (removed_at IS NULL) FROM reconciler.resource WHERE name = 'y'), 'dry run: accepted true', 'and is not said to be gone');
SELECT gc_end(pg_temp.id());
SELECT is((SELECT (complete, removes, dry_run, failed)::text FROM reconciler.collection ORDER BY id DESC LIMIT 1), '(t,f,t,0)', 'of a kind that is not served there is nothing');
SELECT set_config('t.id', collection_id::text, true) FROM gc_begin('main', dry_run => true);
SELECT pg_temp.verdicts(pg_temp.id(), pg_temp.object('y', 'closed'));
SELECT pg_temp.list_rest(pg_temp.id());
SELECT is(pg_temp.due(pg_temp.id()), 'y@7', 'claimed for a check, and not heard of again');
SELECT gc_end(pg_temp.id());
SELECT pg_temp.begin();
SELECT pg_temp.list_rest(pg_temp.id()), gc_end(pg_temp.id());
SELECT is((SELECT count(*) FROM reconciler.event WHERE kind = 'resource_deleted'), 2::bigint, 'when it is gone, that was not us');

-- A crash between the claim and the answer.
SELECT pg_temp.later('20 min');
SELECT pg_temp.begin();
SELECT pg_temp.verdicts(pg_temp.id(), pg_temp.object('x', 'closed'));
SELECT pg_temp.list_rest(pg_temp.id());
SELECT is(pg_temp.due(pg_temp.id()), 'x@7', 'claimed');
SELECT matches((SELECT why_not FROM gc_begin('main')), 'runs, begun at .*; if nothing more is heard of it another one may begin at ', 'it is not heard of');
SELECT pg_temp.later('11 min');
SELECT isnt(pg_temp.begin(), NULL, 'for ten minutes: another one begins');
SELECT pg_temp.list_rest(pg_temp.id());
SELECT is((SELECT evidence->>'outcome' FROM reconciler.event WHERE kind = 'resource_deleted' AND evidence->>'name' = 'x'), 'absent', 'what it had claimed is gone: that is an event, too');
SELECT gc_end(pg_temp.id());

-- The database is not what it was.
SELECT pg_temp.later('20 min');
UPDATE reconciler.cluster_state SET timeline = timeline + 1;
SELECT pg_temp.begin();
SELECT is(pg_temp.verdicts(pg_temp.id(), pg_temp.object('r', 'later')), 'r wait session_unknown', 'restored: a row that is absent proves nothing');
SELECT pg_temp.list_rest(pg_temp.id()), gc_end(pg_temp.id());
SELECT is((SELECT absent_looks FROM reconciler.resource WHERE name = 'r'), 0, 'and is not counted');
DELETE FROM reconciler.cluster_state;
SELECT pg_temp.begin();
SELECT is(pg_temp.verdicts(pg_temp.id(), pg_temp.object('r', 'later')), 'r wait session_unknown', 'nor does it after a dump was restored');
SELECT pg_temp.list_rest(pg_temp.id()), gc_end(pg_temp.id());
SELECT is(confirm_identity('it is well'), 'confirmed', 'until somebody says so');
SELECT is(confirm_identity('it is well'), 'nothing to confirm', 'once');
SELECT pg_temp.begin();
SELECT pg_temp.verdicts(pg_temp.id(), pg_temp.object('r', 'later')), pg_temp.list_rest(pg_temp.id()), gc_end(pg_temp.id());
SELECT pg_temp.later('11 min');
SELECT pg_temp.begin();
SELECT is(pg_temp.verdicts(pg_temp.id(), pg_temp.object('r', 'later')), 'r delete session_unknown', 'then two looks count again');
SELECT pg_temp.list_rest(pg_temp.id()), gc_end(pg_temp.id());

-- Too much.
CREATE FUNCTION pg_temp.many(n int) RETURNS void LANGUAGE sql AS $$
  SELECT count(*) FROM gc_classify(pg_temp.id(), pg_temp.kind(), (SELECT jsonb_agg(pg_temp.object('o' || i, 'closed')) FROM generate_series(1, n) AS i));
  SELECT pg_temp.list_rest(pg_temp.id(), n => n) $$;
SELECT pg_temp.begin();
SELECT pg_temp.many(2000);
SELECT is(pg_temp.due(pg_temp.id()), '', '2,000 orphans: none is deleted');
SELECT gc_end(pg_temp.id());
SELECT results_eq($$ SELECT reason, rule FROM reconciler.event WHERE kind = 'brake_tripped' $$,
  $$ VALUES ('2000 resources due to be deleted, of 2000 that are ours; a collection may delete 200', 'collection') $$, 'the brake has tripped');
SELECT is((SELECT DISTINCT blocked_by FROM orphaned_resources() WHERE verdict = 'delete'), 'brake', 'shown');
SELECT pg_temp.begin();
SELECT pg_temp.many(5);
SELECT is(pg_temp.due(pg_temp.id()), '', 'it latches');
SELECT gc_end(pg_temp.id());
SELECT throws_ok($$ SELECT reset_cluster_brake('main', ' ') $$, '22023', 'a reason is required', 'a reason');
SELECT throws_ok($$ SELECT reset_cluster_brake('other', 'x') $$, '42704', 'cluster "other" does not exist', 'a cluster');
SELECT is(reset_cluster_brake('main', 'a tenant left', 10), 'reset', 'let through');
SELECT is(reset_cluster_brake('main', 'a tenant left'), 'not tripped', 'once');
SELECT pg_temp.begin();
SELECT pg_temp.many(30);
SELECT is((SELECT count(*) FROM gc_deletions(pg_temp.id(), 1000)), 30::bigint, 'twenty and ten');
SELECT is((SELECT allowance FROM reconciler.cluster_state), 0::bigint, 'spent');
SELECT gc_end(pg_temp.id());

-- What a pause, observe mode and a detached table hold.
SELECT pause_reconciler('wait');
SELECT is((SELECT mode FROM gc_begin('main')), 'report', 'paused');
SELECT gc_end(id) FROM reconciler.collection ORDER BY id DESC LIMIT 1;
SELECT unpause_reconciler('go on'), set_mode('observe', 'look');
SELECT is((SELECT mode FROM gc_begin('main')), 'report', 'observe');
SELECT gc_end(id) FROM reconciler.collection ORDER BY id DESC LIMIT 1;
SELECT set_mode('enforce', 'act');

-- What a session that was closed without its agent left behind.
CREATE FUNCTION pg_temp.leftover() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(session_id || ' ' || status || ' ' || found::text, ', ') FROM leftover_resources() $$;
SELECT isnt(reconciler.note(binding_id, 'closed', 'leftover', 'agent_unavailable', '{"namespace": "ns", "resources": ["deployment/closed"], "cleanup": "kubectl …", "user_data": ["pvc/closed-home"]}'), NULL, 'forced') FROM reconciler.binding;
SELECT pg_temp.later('1 min');
SELECT pg_temp.begin();
SELECT pg_temp.verdicts(pg_temp.id(), pg_temp.object('closed', 'closed')), pg_temp.list_rest(pg_temp.id()), gc_end(pg_temp.id());
SELECT is(pg_temp.leftover(), 'closed found {deployments/ns/closed}', 'it stays on the list while there is something');
SELECT pg_temp.begin();
SELECT pg_temp.list_rest(pg_temp.id(), 'unknown'), gc_end(pg_temp.id());
SELECT is(pg_temp.leftover(), 'closed not confirmed {}', 'a list that failed proves nothing');
SELECT pg_temp.begin();
SELECT is((SELECT verdict || ' ' || rule FROM gc_classify(pg_temp.id(), pg_temp.kind(3), jsonb_build_array(pg_temp.object('closed-home', 'closed')))), 'keep volume', 'a user''s data is kept');
SELECT pg_temp.list_rest(pg_temp.id()), gc_end(pg_temp.id());
SELECT is(pg_temp.leftover(), 'closed gone {persistentvolumeclaims/ns/closed-home}', 'and does not count as left behind');
SELECT is((SELECT evidence->>'user_data' FROM reconciler.event WHERE kind = 'resources_confirmed'), '["ns/closed-home"]', 'the event says so');
SELECT pg_temp.begin();
SELECT pg_temp.verdicts(pg_temp.id(), pg_temp.object('closed', 'closed')), pg_temp.list_rest(pg_temp.id()), gc_end(pg_temp.id());
SELECT ok(pg_temp.leftover() LIKE 'closed found %', 'what is found after all is found');
SELECT isnt(reconciler.note(binding_id, 'away', 'leftover', 'agent_unavailable', '{"namespace": "elsewhere", "resources": ["deployment/away"]}'), NULL, 'forced') FROM reconciler.binding;
SELECT isnt(reconciler.note(binding_id, 'odd', 'leftover', 'agent_unavailable', '{"namespace": "ns", "resources": ["widget/odd"]}'), NULL, 'forced') FROM reconciler.binding;
SELECT pg_temp.later('1 min');
SELECT pg_temp.begin();
SELECT pg_temp.list_rest(pg_temp.id()), gc_end(pg_temp.id());
SELECT is((SELECT string_agg(status, ' ') FROM preflight() WHERE check_name = 'cluster main' AND detail LIKE 'last collected %'), 'ok', 'preflight says when it was last collected');
UPDATE reconciler.collection SET failed = 1 WHERE id = (SELECT max(id) FROM reconciler.collection);
SELECT is((SELECT string_agg(status, ' ') FROM preflight() WHERE check_name = 'cluster main' AND detail LIKE 'last collected %'), 'fail', 'and that deletions failed');
SELECT is((SELECT string_agg(session_id || ' ' || status, ', ' ORDER BY session_id) FROM leftover_resources() WHERE session_id <> 'closed'), 'away not confirmed, odd not confirmed',
          'nobody looked in that namespace, or for such a thing');

-- Rows decide where objects do not say whose they are.
INSERT INTO sessions (id, state, platform_resource_id, terminated_at) VALUES ('t1', 'running', 'pod-1', NULL), ('t2', 'gone', 'pod-2', now() - interval '1 hour');
SELECT set_cluster('agents', NULL, '{"preset": "centaur", "control_plane": "cp", "mode": "enforce"}');
SELECT set_config('t.id', collection_id::text, true) FROM gc_begin('agents');
SELECT is((SELECT string_agg(substr(uid, 5) || ' ' || verdict || ' ' || rule, ', ' ORDER BY uid) FROM gc_classify(pg_temp.id(), (SELECT kinds->0 FROM reconciler.cluster WHERE name = 'agents'),
    jsonb_build_array(pg_temp.object('pod-1', NULL), pg_temp.object('pod-2', NULL), pg_temp.object('pod-3', NULL), pg_temp.object('pod-4', NULL, '90 min', jsonb_build_object('labels',
      '{"session-reconciler.io/control-plane": "cp", "centaur.ai/warm": "true"}'::jsonb))))),
  'pod-1 keep referenced, pod-2 delete session_closed, pod-3 wait session_unknown, pod-4 keep too_young', 'by their runtime');
SELECT gc_end(pg_temp.id());

-- Ids that are no values of the key's type.
CREATE TABLE numbered (id uuid PRIMARY KEY, state text NOT NULL, assigned_agent_id text, terminated_at timestamptz, created_at timestamptz, updated_at timestamptz);
INSERT INTO numbered VALUES ('00000000-0000-0000-0000-00000000000a', 'running');
SELECT attach_sessions('numbered', 'standard', '{"mode": "enforce"}');
SELECT set_cluster('numbers', NULL, '{"sessions": "numbered", "control_plane": "cp"}');
SELECT set_config('t.id', collection_id::text, true) FROM gc_begin('numbers');
SELECT is(pg_temp.verdicts(pg_temp.id(), pg_temp.object('a', '00000000-0000-0000-0000-00000000000A'), pg_temp.object('b', 'no uuid'), pg_temp.object('c', '00000000-0000-0000-0000-00000000000b')),
  'a keep session_alive, b wait session_unknown, c wait session_unknown', 'are nobody''s');
SELECT gc_end(pg_temp.id());
SELECT detach_sessions('numbered'::regclass);
SELECT is((SELECT why_not FROM gc_begin('numbers')), 'its sessions table was detached', 'a cluster without a table is left alone');

-- Who may.
CREATE ROLE collector;
SELECT throws_ok($$ SET LOCAL ROLE collector; SELECT * FROM gc_begin('main') $$, '42501', NULL, 'nobody by default');
SELECT is(reconciler_grant('collector', 'collector'), 'collector is collector now: 6 functions', 'a level of its own');
SET LOCAL ROLE collector;
SELECT isnt((SELECT collection_id FROM gc_begin('main')), NULL, 'may collect');
SELECT throws_ok('SELECT * FROM sessions', '42501', NULL, 'and see nothing');
SELECT throws_ok($$ SELECT set_cluster('main') $$, '42501', NULL, 'nor set anything');
RESET ROLE;
SELECT is((SELECT actor FROM reconciler.collection ORDER BY id DESC LIMIT 1), 'collector', 'who it was');

SELECT * FROM finish();
ROLLBACK;
