-- migrate_to_pools() and rebalance_pool(): what they refuse, plan and write, without a hub.
BEGIN;
SET client_min_messages = warning;
CREATE SCHEMA sr;
CREATE EXTENSION session_reconciler SCHEMA sr;
CREATE SCHEMA app;
SET search_path = app, sr, public;
SELECT * FROM no_plan();

SELECT throws_ok('SELECT * FROM migrate_to_pools()', '55000', 'no sessions table is attached', 'nothing to migrate');
CREATE TABLE plain (id text PRIMARY KEY, state text);
SELECT ok(count(*) > 0, 'a table without agents') FROM attach_sessions('plain');
SELECT throws_ok('SELECT * FROM migrate_to_pools()', '55000', 'table app.plain has no agent column', 'sessions without agents belong to no pool');
SELECT ok(count(*) > 0, 'a platform') FROM create_control_plane();
SELECT ok(pools, 'its tables have pools') FROM reconciler.binding WHERE sessions = 'sessions'::regclass;
SELECT ok(NOT pools, 'others have none unless asked') FROM reconciler.binding WHERE sessions = 'plain'::regclass;
SELECT throws_ok('SELECT * FROM migrate_to_pools()', '42725', 'several sessions tables are attached and none was named', 'which');
SELECT is((SELECT columns - 'key' - 'state' FROM reconciler.binding WHERE sessions = 'sessions'::regclass) ?& '{pool,platform,region}', true, 'its own columns of pools are mapped');

-- Names: given, derived, none.
INSERT INTO agents (agent_id, agent_pool, platform, region, capacity, last_heartbeat) VALUES
  ('blue-1', 'blue', 'kubernetes', 'eu', 10, now()), ('blue-2', 'blue', 'kubernetes', 'eu', NULL, now()),
  ('k8s-agent-7d9f8c6b5d-x2x4z', NULL, 'kubernetes', 'eu', 10, now() - interval '1 day'), ('k8s-agent-5b8fd84c9-qm7tw', NULL, 'kubernetes', 'eu', 10, now()),
  ('nowhere', NULL, NULL, NULL, 10, now()), ('long-dead', NULL, 'docker', NULL, 10, now() - interval '1 day');
INSERT INTO sessions (id, user_id, state, assigned_agent_id) SELECT 's' || n, 'u', 'running', 'blue-1' FROM generate_series(1, 10) AS n;
INSERT INTO sessions (id, user_id, state, assigned_agent_id, agent_pool) VALUES ('own', 'u', 'running', 'k8s-agent-7d9f8c6b5d-x2x4z', 'green'), ('lost', 'u', 'running', 'nowhere', NULL);
INSERT INTO sessions (id, user_id, state) VALUES ('free', 'u', 'pending'), ('over', 'u', 'terminated');

CREATE FUNCTION pg_temp.mapping(dry boolean) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT concat_ws(' ', coalesce(agent_id, '-'), coalesce(platform, '-'), coalesce(region, '-'), coalesce(pool, '-'), sessions, status) FROM migrate_to_pools('sessions', dry)
$$;
SELECT results_eq('SELECT * FROM pg_temp.mapping(true)', $$VALUES
  ('blue-1 kubernetes eu blue 10 would_place'), ('k8s-agent-7d9f8c6b5d-x2x4z kubernetes eu k8s-agent 1 would_place'), ('nowhere - - - 1 unplaced'),
  ('blue-2 kubernetes eu blue 0 would_place'), ('k8s-agent-5b8fd84c9-qm7tw kubernetes eu k8s-agent 0 would_place'), ('long-dead - - - 0 left_out'), ('- - - - 2 no_agent'), ('- - - - 11 remaining')$$, 'a dry run');
SELECT is_empty('SELECT FROM reconciler.agent_pool', '... writes nothing');
SELECT is((SELECT detail FROM migrate_to_pools('sessions') WHERE agent_id = 'nowhere'), 'its platform is not known', '... and says why an agent has no place');
SELECT results_eq('SELECT * FROM pg_temp.mapping(false)', $$VALUES
  ('blue-1 kubernetes eu blue 10 placed'), ('k8s-agent-7d9f8c6b5d-x2x4z kubernetes eu k8s-agent 1 placed'), ('nowhere - - - 1 unplaced'),
  ('blue-2 kubernetes eu blue 0 placed'), ('k8s-agent-5b8fd84c9-qm7tw kubernetes eu k8s-agent 0 placed'), ('long-dead - - - 0 left_out'), ('- - - - 2 no_agent'), ('- - - - 11 filled')$$, 'a real one');
SELECT results_eq($$SELECT concat_ws(' ', platform, region, name, runtimes_outlive_agents) FROM reconciler.agent_pool ORDER BY 1$$, ARRAY['kubernetes eu blue t', 'kubernetes eu k8s-agent t'], 'the pools');
SELECT results_eq($$SELECT concat_ws(' ', agent_id, name, capacity, source, connected) FROM reconciler.agent JOIN reconciler.agent_pool USING (pool_id) ORDER BY 1$$,
  ARRAY['blue-1 blue 10 table f', 'blue-2 blue 100 table f', 'k8s-agent-5b8fd84c9-qm7tw k8s-agent 10 table f', 'k8s-agent-7d9f8c6b5d-x2x4z k8s-agent 10 table f'], 'the agents: connected is what we saw ourselves');
SELECT results_eq($$SELECT concat_ws(' ', id, agent_pool, platform, region) FROM sessions WHERE id IN ('s1', 'own', 'lost', 'free') ORDER BY 1$$,
  ARRAY['free', 'lost', 'own green kubernetes eu', 's1 blue kubernetes eu'], 'the sessions: what they had stays');
CREATE TEMPORARY TABLE before AS SELECT to_jsonb(t) AS row FROM sessions t UNION ALL SELECT to_jsonb(t) FROM reconciler.agent t UNION ALL SELECT to_jsonb(t) FROM reconciler.agent_pool t
  UNION ALL SELECT to_jsonb(t) FROM reconciler.binding t UNION ALL SELECT to_jsonb(t) FROM reconciler.event t;
SELECT results_eq('SELECT * FROM pg_temp.mapping(false) LIMIT 2', $$VALUES ('blue-1 kubernetes eu blue 10 unchanged'), ('k8s-agent-7d9f8c6b5d-x2x4z kubernetes eu k8s-agent 1 unchanged')$$, 'a second one');
SELECT set_eq($$SELECT to_jsonb(t) FROM sessions t UNION ALL SELECT to_jsonb(t) FROM reconciler.agent t UNION ALL SELECT to_jsonb(t) FROM reconciler.agent_pool t
  UNION ALL SELECT to_jsonb(t) FROM reconciler.binding t UNION ALL SELECT to_jsonb(t) FROM reconciler.event t$$, 'SELECT row FROM before', '... changes nothing');

-- Resumed: 10000 rows a call.
UPDATE reconciler.binding SET batch_size = 3000 WHERE sessions = 'sessions'::regclass;
INSERT INTO sessions (id, user_id, state, assigned_agent_id) SELECT 'many' || n, 'u', 'terminated', 'blue-2' FROM generate_series(1, 12000) AS n;
SELECT results_eq($$SELECT status, sessions FROM migrate_to_pools('sessions', false) WHERE status IN ('filled', 'remaining')$$, $$VALUES ('filled', 10000::bigint), ('remaining', 2000)$$, 'the first 10000');
SELECT results_eq($$SELECT status, sessions FROM migrate_to_pools('sessions', false) WHERE status IN ('filled', 'remaining')$$, $$VALUES ('filled', 2000::bigint)$$, 'the rest: nothing remains');

-- Rebalance.
SELECT throws_ok($$SELECT * FROM rebalance_pool(' ')$$, '22023', 'a pool is required', 'no pool');
SELECT throws_ok($$SELECT * FROM rebalance_pool('red')$$, '42704', 'there is no pool "red"', 'an unknown pool');
INSERT INTO reconciler.agent_pool (name, platform) VALUES ('blue', 'docker');
SELECT throws_ok($$SELECT * FROM rebalance_pool('blue')$$, '42725', 'several pools are called "blue"', 'an ambiguous one');
SELECT results_eq($$SELECT session_id, status, detail FROM rebalance_pool('blue', platform => 'docker')$$,
  $$SELECT NULL::text, 'nothing', format('what sessions of pool "blue" run in ends with its agent; where it does not: UPDATE reconciler.agent_pool SET runtimes_outlive_agents = true WHERE pool_id = %s', pool_id)
    FROM reconciler.agent_pool WHERE platform = 'docker'$$, 'runtimes that end with their agents');
SELECT results_eq($$SELECT status, detail FROM rebalance_pool('blue', platform => 'kubernetes')$$, $$VALUES ('nothing',
  'no agent of the pool can be given sessions: it has 2 agents: 0 full, 0 draining, 0 suspect, 2 not connected, 0 not approved; one that nobody saw for 00:02:00 is not connected')$$, 'agents that are not there');
UPDATE reconciler.agent SET connected = true, last_seen = reconciler.clock(), load = CASE agent_id WHEN 'blue-1' THEN 10 ELSE 0 END, capacity = 10;
SELECT ok(count(*) > 0, 's1 is held') FROM hold_session('s1', reconciler.clock() + interval '1 hour', 'test', 'sessions');
UPDATE sessions SET state = 'waking' WHERE id = 's2';
SELECT results_eq($$SELECT concat_ws(' ', session_id, table_name, from_agent, to_agent, status, nullif(detail, '')) FROM rebalance_pool('blue', platform => 'kubernetes', region => 'eu')$$,
  ARRAY['s10 app.sessions blue-1 blue-2 would_move', 's3 app.sessions blue-1 blue-2 would_move', 's4 app.sessions blue-1 blue-2 would_move', 's5 app.sessions blue-1 blue-2 would_move', 's6 app.sessions blue-1 blue-2 would_move'],
  'the fewest moves, of sessions that wait for no command and are not held');
SELECT is_empty('SELECT FROM reconciler.planned_move', '... only shown');
SELECT results_eq($$SELECT DISTINCT status FROM rebalance_pool('blue', false, 'kubernetes')$$, ARRAY['planned'], 'planned');
SELECT results_eq('SELECT session_id, from_agent, to_agent, actor FROM reconciler.planned_move ORDER BY 1', $$SELECT unnest('{s10,s3,s4,s5,s6}'::text[]), 'blue-1', 'blue-2', current_user::text COLLATE "default"$$, 'the plan');
SELECT is((SELECT count(*) FROM rebalance_pool('blue', false, 'kubernetes')), 5::bigint, 'again');
SELECT is((SELECT count(*) FROM reconciler.planned_move), 5::bigint, '... in place of the former plan');
UPDATE sessions SET state = 'waking' WHERE assigned_agent_id = 'blue-1' AND id <> 's10';
SELECT is((SELECT count(*) FROM rebalance_pool('blue', true, 'kubernetes')), 1::bigint, 'what can move does');
UPDATE sessions SET state = 'waking' WHERE assigned_agent_id = 'blue-1';
SELECT is((SELECT detail FROM rebalance_pool('blue', true, 'kubernetes')), 'load / capacity is from 0.00 to 1.00: the sessions of the fuller agents wait for commands, or are held', 'nothing can');
UPDATE reconciler.agent SET load = 5;
SELECT is((SELECT detail FROM rebalance_pool('blue', true, 'kubernetes')), 'load / capacity is from 0.50 to 0.50: less than 0.20 apart', 'nothing has to');

-- An index that leads with the agent.
SELECT is((SELECT status FROM preflight() WHERE check_name = 'app.sessions: index agents'), 'ok', 'there is an index of agents');
DO $$ BEGIN EXECUTE (SELECT string_agg(format('DROP INDEX %s', indexrelid::regclass), '; ') FROM pg_index WHERE indrelid = 'sessions'::regclass AND indkey[0] = (SELECT attnum FROM pg_attribute WHERE attrelid = indrelid AND attname = 'assigned_agent_id')); END $$;
SELECT is((SELECT status || ' ' || hint FROM preflight() WHERE check_name = 'app.sessions: index agents'), 'warn CREATE INDEX CONCURRENTLY ON app.sessions (assigned_agent_id);', '... and without one it is recommended');
SELECT is_empty($$SELECT FROM preflight() WHERE check_name = 'app.plain: index agents'$$, '... where there are pools');

-- Agents that have no row in the agents table are no session's.
SELECT is_empty($$SELECT FROM preflight() WHERE check_name = 'app.sessions: agents'$$, 'every agent has its row');
SELECT register_agent('green-' || n, 'green', 'kubernetes', 'eu', 5) FROM generate_series(1, 12) AS n;
INSERT INTO sessions (id, user_id, state) VALUES ('new', 'u', 'pending');
SELECT results_eq($$SELECT status, detail FROM preflight() WHERE check_name = 'app.sessions: agents'$$,
  $$VALUES ('warn', '12 agents of pools have no row in the agents table and so get no session of this table: green-1, green-10, green-11, green-12, green-2, green-3, green-4, green-5, green-6, green-7, …')$$, 'those that have none are named');
SELECT throws_ok($$SELECT assign_session('new', 'green', sessions => 'sessions')$$, '55000', 'no agent of pool "kubernetes/eu/green" is free', 'they get no session');
INSERT INTO agents (agent_id) VALUES ('green-7');
SELECT is(assign_session('new', 'green', sessions => 'sessions'), 'green-7', 'who has a row does');
SELECT results_eq($$SELECT agent_id, load FROM reconciler.agent WHERE agent_id ~ 'green' AND load > 0$$, $$VALUES ('green-7', 1)$$, 'and nobody else is counted for it');

SELECT * FROM finish();
ROLLBACK;
