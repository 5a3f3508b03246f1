-- Agent pools: who is registered, who gets a session, what is refused, what is seen.
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION session_reconciler;
SELECT * FROM no_plan();

CREATE TABLE sessions (id text PRIMARY KEY, state text NOT NULL, agent_pool text, platform text, region text, assigned_agent_id text, platform_resource_id text,
                       created_at timestamptz DEFAULT now(), state_changed_at timestamptz DEFAULT now() - interval '1 day', updated_at timestamptz DEFAULT now() - interval '1 day');
CREATE TABLE audit (user_id text, action text, resource_type text, resource_id text, changes jsonb);
SELECT set_eq($$SELECT item, status FROM attach_sessions('sessions', 'standard', '{"audit_table": "audit"}') WHERE item IN ('pool_column', 'platform_column', 'region_column')$$,
              $$VALUES ('pool_column', 'ok'), ('platform_column', 'ok'), ('region_column', 'ok')$$, 'columns of pools are found');
INSERT INTO sessions (id, state) SELECT 's' || i, 'pending' FROM generate_series(1, 9) AS i;
INSERT INTO sessions (id, state) VALUES ('over', 'terminated');

-- Pools.
SELECT ok(create_agent_pool('small', 'docker', 'eu', '{"default_capacity": 2, "backend": "runc"}') > 0, 'a pool is made');
SELECT is(create_agent_pool('small', 'docker', 'eu', '{"namespace": "host-1"}'), create_agent_pool('small', 'docker', 'eu'), 'the same again is the same pool');
SELECT results_eq('SELECT namespace, backend, default_capacity FROM reconciler.agent_pool', $$VALUES ('host-1', 'runc', 2)$$, 'what is given is changed, the rest stays');
SELECT results_eq($$SELECT evidence->'old'->>'namespace', evidence->'new'->>'namespace', rule FROM reconciler.event WHERE kind = 'policy_changed' ORDER BY id$$,
                  $$VALUES (NULL, '', 'create_agent_pool'), ('', 'host-1', 'create_agent_pool')$$, 'each change is an event, no change is none');
SELECT throws_ok($$SELECT create_agent_pool('x', options => '{"size": 2}')$$, '22023', 'create_agent_pool() has no option "size"', 'an unknown option');
SELECT throws_ok($$SELECT create_agent_pool('x', options => '{"default_capacity": -1}')$$, '22023', NULL, 'no capacity');
SELECT throws_ok($$SELECT create_agent_pool(' ')$$, '22023', 'a pool needs a name', 'no name');
SELECT throws_ok($$SELECT create_agent_pool(repeat('x', 256))$$, '22023', 'the name of a pool is too long', 'a long name');
SELECT throws_ok($$SELECT register_agent('a1', 'small', repeat('x', 256))$$, '22023', 'the platform of a pool is too long', 'a long platform');

-- The registry.
SELECT throws_ok($$SELECT assign_session('s1')$$, '55000', 'no agent of pool "docker/eu/small" is free', 'nobody is there');
SELECT is(register_agent('a1', 'small', 'docker', 'eu'), 'registered', 'a first time');
SELECT is(register_agent('a1', 'small', 'docker', 'eu', incarnation => 'two'), 'updated', 'a second time');
SELECT results_eq('SELECT capacity, load, connected, incarnation, source, last_seen = registered FROM reconciler.agent', $$VALUES (2, 0, true, 'two', 'call', false)$$, 'with the capacity of its pool');
SELECT is(agent_heartbeat('a1', capacity => 3), 'recorded', 'a heartbeat');
SELECT results_eq('SELECT capacity, incarnation, heartbeat = last_seen FROM reconciler.agent', $$VALUES (3, 'two', true)$$, 'says what it says');
SELECT throws_ok($$SELECT agent_heartbeat('nobody')$$, 'P0002', 'agent "nobody" is in no pool', 'a heartbeat of nobody');
SELECT throws_ok($$SELECT agent_heartbeat('a1', capacity => -1)$$, '22023', NULL, 'no capacity');
SELECT throws_ok($$SELECT register_agent(' ')$$, '22023', 'an agent_id is required', 'no agent');
SELECT throws_ok($$SELECT register_agent('a1', capacity => 1000001)$$, '22023', 'capacity must be between 0 and 1000000', 'no capacity');
SELECT is(agent_disconnected('a1'), 'recorded', 'an agent leaves');
SELECT ok((SELECT NOT connected FROM reconciler.agent), 'which the registry sees');
SELECT is(agent_connected('a1', 'three'), 'recorded', 'and comes back');
SELECT results_eq('SELECT connected, incarnation FROM reconciler.agent', $$VALUES (true, 'three')$$, 'which it sees, too');

-- Assignment.
SELECT is(assign_session('s1'), 'a1', 'the only agent of the only pool');
SELECT is(assign_session('s1'), 'a1', 'has it');
SELECT results_eq($$SELECT assigned_agent_id, agent_pool, platform, region, state, updated_at > now() - interval '1 hour' FROM sessions WHERE id = 's1'$$,
                  $$VALUES ('a1', 'small', 'docker', 'eu', 'pending', true)$$, 'the row says who, and of which pool');
SELECT results_eq('SELECT load, fullness FROM reconciler.agent', $$VALUES (1, 1 / 3::float8)$$, 'and is counted once');
SELECT results_eq($$SELECT from_state, to_state, reason, rule, evidence, before->>'assigned_agent_id', after->>'assigned_agent_id', after->>'agent_pool' FROM reconciler.event WHERE kind = 'reassign'$$,
                  $$VALUES ('pending', 'pending', 'no_agent', 'operator', '{"from_agent": null, "to_agent": "a1", "why": "it had no agent"}'::jsonb, NULL, 'a1', 'small')$$, 'one event');
SELECT results_eq($$SELECT changes->>'action', resource_id FROM audit$$, $$VALUES ('reassign', 's1')$$, 'and one row in the application''s audit');
SELECT is((SELECT array_agg(assign_session(id)) FROM sessions WHERE id IN ('s2', 's3')), '{a1,a1}', 'two more');
SELECT throws_ok($$SELECT assign_session('s4')$$, '55000', 'no agent of pool "docker/eu/small" is free', 'it is full');
DO $$
DECLARE d text;
BEGIN
  PERFORM assign_session('s4');
EXCEPTION WHEN object_not_in_prerequisite_state THEN
  GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
  CREATE TEMPORARY TABLE said AS SELECT d AS detail;
END $$;
SELECT is(detail, 'The pool has 1 agent: 1 full, 0 draining, 0 suspect, 0 not connected, 0 not approved.', 'and the error says so') FROM said;
UPDATE sessions SET state = 'terminated' WHERE id = 's3';
SELECT is(assign_session('s4'), 'a1', 'a session that ended made room: full agents are counted before a pool is');
SELECT is((SELECT load FROM reconciler.agent), 3, 'and its load is what it has');

-- What a user asked to end takes no place.
UPDATE sessions SET state = 'terminating' WHERE id = 's4';
INSERT INTO sessions (id, state) VALUES ('t', 'pending');
SELECT is(assign_session('t'), 'a1', 'a session that is ending made room');
SELECT results_eq($$SELECT sessions, load FROM pool_agents()$$, $$VALUES (4::bigint, 3)$$, 'it is a session, and no load');
DELETE FROM sessions WHERE id = 't';
UPDATE sessions SET state = 'pending' WHERE id = 's4';

-- Which agent.
SELECT register_agent('b' || i, 'wide', capacity => 2) FROM generate_series(1, 3) AS i;
SELECT throws_ok($$SELECT assign_session('s5')$$, '55000', 'nothing says which agent pool session "s5" is of', 'of several pools one must be named');
SELECT throws_ok($$SELECT assign_session('s5', 'narrow')$$, '42704', 'there is no agent pool "narrow"', 'one that there is');
UPDATE reconciler.agent SET suspect = true WHERE agent_id = 'b1';
SELECT is(drain_agent('b2', 'old node'), 'requested', 'a drain');
SELECT is(assign_session('s5', 'wide'), 'b3', 'neither a suspect nor a drained agent gets it');
SELECT results_eq($$SELECT reason, evidence FROM reconciler.event WHERE kind = 'drain'$$, $$VALUES ('old node', '{"move": true, "sessions": 0, "agent_id": "b2"}'::jsonb)$$, 'a drain is an event');
SELECT is(undrain_agent('b2'), 'undrained', 'it ends');
SELECT is(undrain_agent('b2'), 'not draining', 'once');
SELECT throws_ok($$SELECT drain_agent('nobody')$$, 'P0002', NULL, 'nobody is drained');
SELECT is(assign_session('s6', 'wide'), 'b2', 'the least loaded is first');
SELECT agent_disconnected('b2');
SELECT is(assign_session('s6', 'wide'), 'b3', 'a session whose agent is away gets another');
SELECT results_eq($$SELECT agent_id, load FROM reconciler.agent WHERE agent_id LIKE 'b%' ORDER BY 1$$, $$VALUES ('b1', 0), ('b2', 0), ('b3', 2)$$, 'which is counted at both');
SELECT is((SELECT reason FROM reconciler.event WHERE kind = 'reassign' ORDER BY id DESC LIMIT 1), 'agent_unavailable', 'and says why');
SELECT agent_connected('b2');
UPDATE reconciler.agent_evidence SET presence = 'gone' WHERE agent_id = 'b2';
SELECT throws_ok($$SELECT assign_session('s7', 'wide')$$, '55000', NULL, 'who is gone by evidence gets nothing');
SET session_reconciler.clock_offset = '121 s';
SELECT throws_ok($$SELECT assign_session('s7', 'wide')$$, '55000', NULL, 'nor does who was not heard of for two intervals');
SELECT agent_heartbeat('b2');
SELECT is(assign_session('s7', 'wide'), 'b2', 'its heartbeat brings it back, when the evidence is old');
RESET session_reconciler.clock_offset;

-- What is refused.
SELECT throws_ok($$SELECT assign_session('none')$$, 'P0002', NULL, 'no such session');
SELECT throws_ok($$SELECT assign_session('over')$$, '55000', 'session "over" has ended already', 'one that has ended');
SELECT hold_session('s8', 'infinity', 'looked at');
SELECT throws_ok($$SELECT assign_session('s8', 'wide')$$, '55000', 'session "s8" is held', 'one that is held');
UPDATE sessions SET agent_pool = 'small' WHERE id = 's9';
SELECT throws_ok($$SELECT assign_session('s9', 'wide')$$, '55000', 'session "s9" is of another agent pool', 'one of another pool');

-- Resources.
SELECT is(report_resource('s7', 'pod-7'), 'recorded', 'what a session runs in');
SELECT is((SELECT platform_resource_id FROM sessions WHERE id = 's7'), 'pod-7', 'stands in its row');
SELECT is(report_resource('s7', 'pod-7'), 'recorded', 'said again');
SELECT results_eq($$SELECT before->>'platform_resource_id', after->>'platform_resource_id' FROM reconciler.event WHERE kind = 'resource_reported'$$, $$VALUES (NULL, 'pod-7')$$, 'is one event');
SELECT throws_ok($$SELECT report_resource('s7', '')$$, '22023', NULL, 'nothing is no resource');
SELECT throws_ok($$SELECT report_resource('none', 'pod')$$, 'P0002', NULL, 'no such session');

-- What is seen.
SELECT results_eq('SELECT pool, agents, connected, draining, suspect, capacity, load, headroom, sessions FROM agent_pools()',
                  $$VALUES ('wide', 3::bigint, 3::bigint, 0::bigint, 1::bigint, 6::bigint, 3::bigint, 1::bigint, '{"pending": 3}'::jsonb), ('small', 1, 1, 0, 0, 3, 3, 0, '{"pending": 4}')$$, 'pools');
SELECT results_eq($$SELECT agent_id, sessions, load, capacity, suspect FROM pool_agents('wide')$$, $$VALUES ('b1', 0::bigint, 0, 2, true), ('b2', 1, 1, 2, false), ('b3', 2, 2, 2, false)$$, 'and their agents');
SELECT throws_ok($$SELECT pool_agents('narrow')$$, '42704', NULL, 'of a pool that there is');

-- Rights.
CREATE ROLE tap_pools;
SELECT reconciler_grant('tap_pools', 'operator');
SET ROLE tap_pools;
SELECT throws_ok($$SELECT create_agent_pool('mine')$$, '42501', NULL, 'an operator makes no pools');
SELECT throws_ok($$SELECT register_agent('mine')$$, '42501', NULL, 'and is no agent');
SELECT throws_ok('SELECT agent_pools()', '42501', NULL, 'who may not read the sessions does not see how many there are');
SELECT is(assign_session('s5'), 'b3', 'an operator assigns, whoever owns the table');
RESET ROLE;
GRANT SELECT ON sessions TO tap_pools;
SET ROLE tap_pools;
SELECT is((SELECT count(*) FROM agent_pools()), 2::bigint, 'who may, does');
RESET ROLE;

-- A table without columns for pools, runtimes or agents.
CREATE TABLE plain (id integer PRIMARY KEY, state text NOT NULL, agent_id text);
INSERT INTO plain VALUES (1, 'pending'), (2, 'pending');
SELECT count(*) FROM attach_sessions('plain');
SELECT is(report_resource('1', 'pod-1', sessions => 'plain'), 'recorded', 'a resource without a column');
SELECT results_eq('SELECT session_id, pool_id, resource_id FROM reconciler.session_pool', $$VALUES ('1', NULL::integer, 'pod-1')$$, 'is kept beside');
UPDATE reconciler.session_pool SET pool_id = (SELECT pool_id FROM reconciler.agent_pool WHERE name = 'wide');
SELECT ok(assign_session('01', sessions => 'plain') IN ('b2'), 'the pool that is kept for a session is its own');
SELECT is((SELECT agent_id FROM plain WHERE id = 1), 'b2', 'and its row names the agent');
SELECT is((SELECT sum((sessions->>'pending')::int) FROM agent_pools() WHERE pool = 'wide'), 4::bigint, 'and it is counted there');
CREATE TABLE agentless (id integer PRIMARY KEY, state text NOT NULL);
SELECT count(*) FROM attach_sessions('agentless');
SELECT throws_ok($$SELECT assign_session('1', sessions => 'agentless')$$, '55000', 'sessions of public.agentless can''t be assigned: no column names their agent', 'a table without an agent column');

-- Ten thousand agents: the next one is found by walking an index.
SELECT create_agent_pool('huge');
INSERT INTO reconciler.agent (agent_id, pool_id, capacity, load, source, connected, last_seen, registered)
  SELECT 'h' || i, (SELECT pool_id FROM reconciler.agent_pool WHERE name = 'huge'), 100, i % 50, 'call', true, clock_timestamp(), clock_timestamp() FROM generate_series(1, 10000) AS i;
INSERT INTO sessions (id, state) SELECT 'n' || i, 'pending' FROM generate_series(1, 20) AS i;
CREATE TEMPORARY VIEW looked AS
  SELECT pg_stat_get_xact_numscans('reconciler.agent'::regclass) AS whole, pg_stat_get_xact_tuples_returned('reconciler.agent'::regclass) AS rows_of_whole,
         pg_stat_get_xact_tuples_fetched('reconciler.agent'::regclass) AS fetched, pg_stat_get_xact_numscans('reconciler.agent_free'::regclass) AS walks;
CREATE TEMPORARY TABLE before AS SELECT * FROM looked;
SELECT is((SELECT count(*) FROM (SELECT assign_session('n' || i, 'huge', sessions => 'sessions') FROM generate_series(1, 20) AS i) AS a), 20::bigint, 'twenty sessions find an agent among ten thousand');
SELECT results_eq('SELECT l.whole - b.whole, l.walks - b.walks FROM looked l, before b', 'VALUES (0::bigint, 20::bigint)', 'by one walk of the index each, never by reading all');
SELECT cmp_ok(l.fetched - b.fetched, '<=', 200::bigint, 'and by few rows') FROM looked l, before b;
SELECT is((SELECT max(load) FROM reconciler.agent WHERE agent_id IN (SELECT assigned_agent_id FROM sessions WHERE id ~ '^n')), 1, 'each goes to one of the least loaded');

SELECT * FROM finish();
ROLLBACK;
