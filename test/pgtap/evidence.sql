-- Evidence that is pushed: what is taken, what is not, and who may.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION session_reconciler;
SELECT plan(64);

CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, assigned_agent_id text, platform_resource_id text, backend text, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO sessions VALUES ('s1', 'suspended', NULL, 'pod-1'), ('s2', 'suspended', NULL, 'pod-2'), ('s3', 'suspended', NULL, 'pod-3'), ('s4', 'suspended', NULL, 'pod-4'), ('none', 'suspended', NULL, NULL), ('run', 'running', 'a1', 'pod-9');
SELECT is(declare_backend('pod', false), 'declared', 'a backend');
SELECT is(declare_backend('pod', false, '{"sources": ["kube"]}'), 'changed', 'with a source');
SELECT is((SELECT backend FROM reconciler.evidence_source WHERE name = 'kube'), 'pod', 'which is on record');
SELECT throws_ok($$ SELECT declare_backend(' ', true) $$, '22023', 'a backend needs a name');
SELECT throws_ok($$ SELECT declare_backend('pod', true, '{"source": "x"}') $$, '22023', 'declare_backend() has no option "source"');
SELECT lives_ok($$ SELECT attach_sessions('sessions', 'standard') $$, 'attached');
SELECT ok((SELECT enabled AND judged_by = 'runtime' AND becomes = 'gone' FROM reconciler.policy WHERE state = 'suspended'), 'suspended is judged by its runtime, on with a backend declared');
SELECT is((SELECT columns->>'backend' FROM reconciler.binding), 'backend', 'the backend column is mapped');
SELECT throws_ok($$ UPDATE reconciler.policy SET retry_action = 'stop_session' WHERE state = 'suspended' $$, '23514', NULL, 'nothing is sent where runtimes judge');

CREATE FUNCTION pg_temp.rule(session text) RETURNS text LANGUAGE sql AS $$ SELECT rule FROM explain_session(session) WHERE outcome = 'decides' $$;
CREATE FUNCTION pg_temp.said(runtime text) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(source || ' ' || presence || ' ' || gone_observations, ', ' ORDER BY source) FROM reconciler.runtime_evidence WHERE runtime_id = runtime $$;

-- One by one.
SELECT is(pg_temp.rule('s1'), 'runtime_unknown', 'nobody has said anything');
SELECT is(report_evidence('resource', 'pod-1', 'gone', source => 'kube'), 'recorded', 'a runtime is gone');
SELECT is(pg_temp.rule('s1'), 'runtime_gone_waiting', 'not for long enough');
SELECT is((SELECT agent_evidence || ' ' || blocked_by FROM stuck_sessions() WHERE session_id = 's1'), 'gone observe_mode', 'stuck_sessions() shows the evidence that judges it');
SELECT is(report_evidence('resource', 'pod-1', 'present', source => 'kube'), 'ignored', 'in one transaction it is not newer by its own clock');
SELECT is(report_evidence('resource', 'pod-1', 'present', '{}', now() - interval '1 s', 'kube'), 'ignored', 'an older one changes nothing');
SELECT is(pg_temp.said('pod-1'), 'kube gone 1', 'as it was');
SELECT is(report_evidence('resource', 'pod-1', 'present', '{}', now() + interval '1 day', 'kube'), 'recorded', 'a clock that is ahead …');
SELECT is(report_evidence('resource', 'pod-1', 'gone', '{}', now() + interval '2 days', 'kube'), 'recorded', '… silences nobody');
SELECT is(pg_temp.said('pod-1'), 'kube gone 1', 'present has set it to zero between');
SELECT is(report_evidence('session', 's2', 'gone', source => 'kube'), 'recorded', 'a session''s key is as good');
SELECT is(pg_temp.said('pod-2'), 'kube gone 1', 'for the runtime that its row names now');
SELECT is(report_evidence('session', 's2', 'present', '{"platform_resource_id": "pod-0"}', now() + interval '1 s', 'kube'), 'ignored', 'a word about another runtime of it is none');
SELECT is(report_evidence('session', 'nobody', 'gone'), 'unknown_session', 'no such session');
SELECT is(report_evidence('session', 'none', 'gone'), 'no_runtime', 'one without a runtime');
SELECT is(pg_temp.rule('none'), 'runtime_unknown', 'which is shown');
SELECT is(report_evidence('resource', 'pod-1', 'present', '{"backend": "vm"}', source => 'other'), 'recorded', 'of another backend');
SELECT is(pg_temp.rule('s1'), 'runtime_gone_waiting', 'where it can''t be: that counts for nothing');
SELECT is(report_evidence('resource', 'pod-1', 'present', source => 'another'), 'recorded', 'another source of no backend by name');
SELECT is(pg_temp.rule('s1'), 'runtime_present', 'sees it: that vetoes');
SELECT ok((SELECT count(*) = 3 FROM explain_session('s1') WHERE rule = 'evidence of runtime'), 'explain_session() shows every source');
SELECT is(report_evidence('agent', 'a1', 'gone'), 'recorded', 'an agent');
SELECT is((SELECT presence || ' ' || (source = current_user) FROM reconciler.agent_evidence WHERE agent_id = 'a1'), 'gone true', 'whose source is the role');

SELECT throws_ok($$ SELECT report_evidence('pod', 'x', 'gone') $$, '22023', 'there is no kind of evidence "pod"');
SELECT throws_ok($$ SELECT report_evidence('resource', 'x', 'dead') $$, '22023', 'there is no verdict "dead"');
SELECT throws_ok($$ SELECT report_evidence('resource', ' ', 'gone') $$, '22023', 'a subject is required');
SELECT throws_ok($$ SELECT report_evidence('resource', 'x', 'gone', source => 'hub') $$, '22023', '"hub" is what we see ourselves, and no source of others');
SELECT throws_ok($$ SELECT report_evidence('resource', 'x', 'gone', '[]') $$, '22023', 'detail must be a JSON object');
SELECT throws_ok($$ SELECT report_evidence('resource', 'x', 'gone', '{}', 'infinity') $$, '22023', 'observed_at must be a finite time');
SELECT throws_ok($$ SELECT report_evidence(NULL, 'x', 'gone') $$, '22004', NULL, 'NULL');

-- Many at once.
SELECT results_eq($$ SELECT * FROM report_evidence('[{"kind": "resource", "subject": "pod-3", "verdict": "gone", "source": "kube"}, {"kind": "session", "subject": "nobody", "verdict": "gone"},
  {"kind": "resource", "subject": "pod-3", "verdict": "present", "source": "kube", "observed_at": "2000-01-01"}]') $$,
  $$ VALUES ('ignored', 1::bigint), ('recorded', 1), ('unknown_session', 1) $$, 'a batch, with how many had which outcome');
SELECT throws_ok($$ SELECT report_evidence('[{"kind": "resource", "subject": "pod-4", "verdict": "gone"}, {"kind": "resource", "subject": "x"}]') $$, '22023', 'element 2 of the batch lacks "verdict"');
SELECT is(pg_temp.said('pod-4'), NULL, 'nothing half-done stays');
SELECT throws_ok($$ SELECT report_evidence('[{"kind": "resource", "subject": "x", "verdict": "gone", "observedAt": "2000-01-01"}]') $$, '22023', 'element 1 of the batch has a member "observedAt" that is not known');
SELECT throws_ok($$ SELECT report_evidence('[{"kind": "resource", "subject": "x", "verdict": "gone", "observed_at": "soon"}]') $$, '22023', NULL, 'no time');
SELECT throws_ok($$ SELECT report_evidence('{}'::jsonb) $$, '22023', 'a batch of evidence must be a JSON array');
INSERT INTO reconciler.evidence_inbox (kind, subject, verdict, source) VALUES ('resource', 'pod-4', 'gone', 'kube'), ('resource', 'pod-5', 'gone', 'kube');
SELECT is(pg_temp.said('pod-4') || '; ' || pg_temp.said('pod-5'), 'kube gone 1; kube gone 1', 'the inbox is a batch');
SELECT is_empty('SELECT * FROM reconciler.evidence_inbox', 'and empty again');

-- All that is there.
CREATE FUNCTION pg_temp.inventory(as_of timestamptz, subjects text) RETURNS text LANGUAGE sql AS $$ SELECT outcome || ': ' || detail FROM report_inventory('resource', 'eu', as_of, true, subjects::jsonb) $$;
SELECT is(pg_temp.inventory(now() - interval '9 s', '[]'), 'rejected: it is empty, and none was accepted before', 'an empty one proves nothing');
SELECT is((SELECT status FROM preflight() WHERE check_name LIKE 'inventory of %/eu'), 'fail', 'preflight() says so');
SELECT is(pg_temp.inventory(now() - interval '8 s', '["pod-1", "pod-2", "pod-3"]'), 'accepted: ', 'the first one');
SELECT is((SELECT string_agg(presence, ' ' ORDER BY runtime_id) FROM reconciler.runtime_evidence WHERE source LIKE '%/eu'), 'present present present gone', 'who is named is there, who is not is gone');
SELECT is_empty($$ SELECT FROM preflight() WHERE check_name LIKE 'inventory of %' $$, 'and preflight() is content');
SELECT is(pg_temp.inventory(now() - interval '7 s', '["pod-1"]'), 'rejected: it lacks 2 of the 3 that the last accepted one names', 'more than half is too much');
SELECT is((SELECT string_agg(presence, ' ' ORDER BY runtime_id) FROM reconciler.runtime_evidence WHERE source LIKE '%/eu'), 'unknown unknown unknown unknown', 'all of it is unknown');
SELECT is(pg_temp.inventory(now() - interval '6 s', '["pod-4"]'), 'rejected: it lacks 3 of the 3 that the last accepted one names', 'again');
SELECT is((SELECT count(*) FROM reconciler.event WHERE kind = 'inventory_rejected'), 2::bigint, 'one event for as long as it lasts');
SELECT matches(accept_inventory((SELECT inventory_id FROM reconciler.inventory WHERE state = 'rejected'), 'they are gone indeed'), '^accepted', 'a person accepts it');
SELECT is(pg_temp.inventory(now() - interval '5 s', '["pod-4"]'), 'accepted: ', 'so that the next one is');
SELECT is((SELECT outcome FROM report_inventory('resource', 'ahead', 'infinity', true, '["pod-1"]')), 'accepted', 'a time that lies ahead counts as now');
SELECT is((SELECT outcome FROM report_inventory('resource', 'ahead', reconciler.clock() + interval '1 s', true, '["pod-1"]')), 'accepted', '... so that the next one is no older');
SELECT is((SELECT outcome FROM report_inventory('resource', 'eu', now() - interval '4 s', false, '["pod-1"]')), 'incomplete', 'one that is not complete');
SELECT is((SELECT string_agg(presence, ' ' ORDER BY runtime_id) FROM reconciler.runtime_evidence WHERE source LIKE '%/eu'), 'present gone gone present', 'counts for what it names');

-- Who pushes sees nothing.
CREATE ROLE tap_pusher;
SELECT ok(reconciler_grant('tap_pusher', 'evidence') IS NOT NULL AND NOT has_table_privilege('tap_pusher', 'reconciler.runtime_evidence', 'SELECT')
  AND has_table_privilege('tap_pusher', 'reconciler.evidence_inbox', 'INSERT') AND NOT has_table_privilege('tap_pusher', 'reconciler.evidence_inbox', 'SELECT, DELETE'), 'level evidence may write to the inbox, and read nothing');
SET LOCAL ROLE tap_pusher;
SELECT public.report_evidence('resource', 'pod-2', 'present') AS told \gset
INSERT INTO reconciler.evidence_inbox (kind, subject, verdict) VALUES ('resource', 'pod-3', 'present');
RESET ROLE;
SELECT is(:'told' || ' ' || (SELECT count(*) FROM reconciler.runtime_evidence WHERE source = 'tap_pusher'), 'recorded 2', 'and what it says is its own');

SELECT * FROM finish();
ROLLBACK;
