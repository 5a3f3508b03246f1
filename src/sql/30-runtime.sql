-- Runtime records: what passes remember. Not dumped: a restored copy has to look for itself.

CREATE TABLE reconciler.binding_state (
  binding_id        integer PRIMARY KEY REFERENCES reconciler.binding ON DELETE CASCADE,
  first_pass_at     timestamptz,
  server_started_at timestamptz,
  timeline          bigint,
  promoted_at       timestamptz,
  pass_starts       timestamptz[] NOT NULL DEFAULT '{}',
  crashes           timestamptz[] NOT NULL DEFAULT '{}',
  safe_mode_since   timestamptz,
  library           text,
  last_pass_at      timestamptz,
  last_pass_took    interval,
  last_success_at   timestamptz,
  last_scanned      bigint,
  last_acted        bigint,
  last_error        text NOT NULL DEFAULT '',
  unserved_scans    interval,
  no_pass_before    timestamptz,
  next_due          timestamptz,
  stuck             jsonb NOT NULL DEFAULT '{}',
  hub_up            boolean,
  hub_unknown_since timestamptz,
  hub_unauthorized  boolean NOT NULL DEFAULT false,
  agents_asked      timestamptz,
  registry_due      timestamptz,
  loads_due         timestamptz,
  loads_after       text
) WITH (fillfactor = 50);
COMMENT ON TABLE reconciler.binding_state IS 'What passes remember of a binding.';
COMMENT ON COLUMN reconciler.binding_state.binding_id IS 'Which binding.';
COMMENT ON COLUMN reconciler.binding_state.first_pass_at IS 'First pass since the server''s start.';
COMMENT ON COLUMN reconciler.binding_state.server_started_at IS 'Start of the server that first_pass_at belongs to.';
COMMENT ON COLUMN reconciler.binding_state.timeline IS 'WAL timeline at the last pass.';
COMMENT ON COLUMN reconciler.binding_state.promoted_at IS 'When the timeline was last seen to have changed.';
COMMENT ON COLUMN reconciler.binding_state.pass_starts IS 'Starts of the latest passes, newest first: the observed distance of passes.';
COMMENT ON COLUMN reconciler.binding_state.crashes IS 'Starts of passes that never ended because the server crashed.';
COMMENT ON COLUMN reconciler.binding_state.safe_mode_since IS 'Safe mode: passes crashed the server three times in 10 minutes; nothing is scanned or sent until set_mode() or another library.';
COMMENT ON COLUMN reconciler.binding_state.library IS 'Library version of the last pass.';
COMMENT ON COLUMN reconciler.binding_state.last_pass_at IS 'Start of the last pass.';
COMMENT ON COLUMN reconciler.binding_state.last_pass_took IS 'Its duration.';
COMMENT ON COLUMN reconciler.binding_state.last_success_at IS 'End of the last pass that ended well.';
COMMENT ON COLUMN reconciler.binding_state.last_scanned IS 'Sessions it looked at.';
COMMENT ON COLUMN reconciler.binding_state.last_acted IS 'Sessions it did something to.';
COMMENT ON COLUMN reconciler.binding_state.last_error IS 'Why it failed; empty: it did not.';
COMMENT ON COLUMN reconciler.binding_state.unserved_scans IS 'Time that the last pass spent in scans that no index serves; NULL: none.';
COMMENT ON COLUMN reconciler.binding_state.no_pass_before IS 'The worker rests until then, so that such scans take at most 2 % of a core; NULL: no need.';
COMMENT ON COLUMN reconciler.binding_state.next_due IS 'When the next thing is due, as far as known.';
COMMENT ON COLUMN reconciler.binding_state.stuck IS 'Stuck sessions by state at the last pass.';
COMMENT ON COLUMN reconciler.binding_state.hub_up IS 'Whether the hub answered properly when last asked; NULL: never asked.';
COMMENT ON COLUMN reconciler.binding_state.hub_unknown_since IS 'Since when it does not.';
COMMENT ON COLUMN reconciler.binding_state.hub_unauthorized IS 'It refused our credential.';
COMMENT ON COLUMN reconciler.binding_state.agents_asked IS 'When the hub was last asked about the agents of pools.';
COMMENT ON COLUMN reconciler.binding_state.registry_due IS 'reconciler.agent rests until then, so that keeping it takes at most 2 % of a core.';
COMMENT ON COLUMN reconciler.binding_state.loads_due IS 'So do the loads of its agents, which are counted from the sessions.';
COMMENT ON COLUMN reconciler.binding_state.loads_after IS 'Agent up to which they were counted; NULL: from the first one on.';

CREATE TABLE reconciler.episode (
  binding_id        integer NOT NULL REFERENCES reconciler.binding ON DELETE CASCADE,
  session_id        text NOT NULL,
  state             text NOT NULL,
  agent_id          text,
  runtime_id        text,
  created           text,
  first_seen        timestamptz NOT NULL,
  entered           timestamptz NOT NULL,
  attempts          integer NOT NULL DEFAULT 0,
  accepted          integer NOT NULL DEFAULT 0,
  tries             integer NOT NULL DEFAULT 0,
  first_accepted    timestamptz,
  command_id        text,
  hub_command_id    text,
  accepted_at       timestamptz,
  lease_until       timestamptz,
  last_attempt      timestamptz,
  last_result       text NOT NULL DEFAULT '',
  next_attempt      timestamptz,
  unreachable_since timestamptz,
  quarantined       timestamptz,
  write_failed      timestamptz,
  write_error       text NOT NULL DEFAULT '',
  write_locked      timestamptz,
  completion_seen   timestamptz,
  session_gone      timestamptz,
  retry_requested   timestamptz,
  last_command_seen text,
  last_would        text NOT NULL DEFAULT '',
  detected          boolean NOT NULL DEFAULT false,
  owed              text CHECK (owed IN ('stop', 'readopt')),
  owed_since        timestamptz,
  owed_until        timestamptz,
  incarnation       text NOT NULL DEFAULT '',
  session_running   timestamptz,
  start_failed      timestamptz,
  start_sent        timestamptz,
  sent_to           text,
  siblings          integer NOT NULL DEFAULT 0,
  handover_failed   timestamptz,
  PRIMARY KEY (binding_id, session_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX episode_owed ON reconciler.episode (binding_id, session_id) WHERE owed IS NOT NULL;
CREATE INDEX episode_sent_to ON reconciler.episode (sent_to) WHERE sent_to IS NOT NULL;
COMMENT ON TABLE reconciler.episode IS 'One stay of a session in a watched state, with its attempts: narrow, so that a retry never writes the session''s own row.';
COMMENT ON COLUMN reconciler.episode.binding_id IS 'Whose session.';
COMMENT ON COLUMN reconciler.episode.session_id IS 'Key of the session as text.';
COMMENT ON COLUMN reconciler.episode.state IS 'The watched state.';
COMMENT ON COLUMN reconciler.episode.agent_id IS 'Agent that the row names.';
COMMENT ON COLUMN reconciler.episode.runtime_id IS 'Runtime id, where mapped.';
COMMENT ON COLUMN reconciler.episode.created IS 'Creation time as text, where mapped: part of the identity.';
COMMENT ON COLUMN reconciler.episode.first_seen IS 'Our first sight.';
COMMENT ON COLUMN reconciler.episode.entered IS 'Age counts from here: the mapped column as first seen, never after first_seen.';
COMMENT ON COLUMN reconciler.episode.attempts IS 'Tries that count to the cap.';
COMMENT ON COLUMN reconciler.episode.accepted IS 'Tries that the hub accepted.';
COMMENT ON COLUMN reconciler.episode.tries IS 'All tries, for the backoff.';
COMMENT ON COLUMN reconciler.episode.first_accepted IS 'When the first was accepted.';
COMMENT ON COLUMN reconciler.episode.command_id IS 'Idempotency key of a try whose outcome is not known.';
COMMENT ON COLUMN reconciler.episode.hub_command_id IS 'The hub''s id of the last accepted try.';
COMMENT ON COLUMN reconciler.episode.accepted_at IS 'When the last try was accepted.';
COMMENT ON COLUMN reconciler.episode.lease_until IS 'Somebody sends it until then.';
COMMENT ON COLUMN reconciler.episode.last_attempt IS 'Last try.';
COMMENT ON COLUMN reconciler.episode.last_result IS 'What came of it.';
COMMENT ON COLUMN reconciler.episode.next_attempt IS 'No try before.';
COMMENT ON COLUMN reconciler.episode.unreachable_since IS 'Every try since reached nobody.';
COMMENT ON COLUMN reconciler.episode.quarantined IS 'Set aside since.';
COMMENT ON COLUMN reconciler.episode.write_failed IS 'Closing it raised an error; tried again an hour later.';
COMMENT ON COLUMN reconciler.episode.write_error IS 'That error.';
COMMENT ON COLUMN reconciler.episode.write_locked IS 'Closing it was left to the next pass: somebody else had locked its row.';
COMMENT ON COLUMN reconciler.episode.completion_seen IS 'First sight of a completion without a time of its own.';
COMMENT ON COLUMN reconciler.episode.session_gone IS 'The hub called the session gone.';
COMMENT ON COLUMN reconciler.episode.retry_requested IS 'An operator asked for a try.';
COMMENT ON COLUMN reconciler.episode.last_command_seen IS 'Newest stop in the command table when the last try was claimed.';
COMMENT ON COLUMN reconciler.episode.last_would IS 'What was noted last: of observe mode, or a contradiction.';
COMMENT ON COLUMN reconciler.episode.detected IS 'Counted in sessions_stuck_terminating_total.';
COMMENT ON COLUMN reconciler.episode.owed IS 'The session was closed without its agent: what the agent gets when it comes back; NULL: nothing.';
COMMENT ON COLUMN reconciler.episode.owed_since IS 'Closed at.';
COMMENT ON COLUMN reconciler.episode.owed_until IS 'An agent that comes back later gets nothing.';
COMMENT ON COLUMN reconciler.episode.incarnation IS 'The agent''s incarnation when last seen with the session; empty: not known.';
COMMENT ON COLUMN reconciler.episode.session_running IS 'When the hub said last that it runs.';
COMMENT ON COLUMN reconciler.episode.start_failed IS 'The agent failed our start.';
COMMENT ON COLUMN reconciler.episode.start_sent IS 'We sent a start, in this stay or one before: it may arrive after the session has ended, so its end owes a stop. NULL: no, or so is owed already.';
COMMENT ON COLUMN reconciler.episode.sent_to IS 'Another agent of the pool that the last try went to, in place of its own; NULL: it went to its own.';
COMMENT ON COLUMN reconciler.episode.siblings IS 'Tries that other agents of the pool were asked for.';
COMMENT ON COLUMN reconciler.episode.handover_failed IS 'Giving it to another agent raised write_error; tried again an hour later. It can be closed all the same.';

CREATE TABLE reconciler.agent_evidence (
  binding_id        integer NOT NULL REFERENCES reconciler.binding ON DELETE CASCADE,
  agent_id          text NOT NULL,
  presence          text NOT NULL CHECK (presence IN ('present', 'gone', 'unknown')),
  provisional       boolean NOT NULL,
  observed_at       timestamptz NOT NULL,
  source            text NOT NULL,
  instance          text NOT NULL,
  incarnation       text NOT NULL,
  unauthorized      boolean NOT NULL,
  detail            text NOT NULL,
  heartbeat         timestamptz,
  heartbeat_seen    timestamptz,
  heartbeat_changed boolean NOT NULL,
  gone_time         interval NOT NULL,
  gone_observations integer NOT NULL,
  last_gone_counted timestamptz,
  unknown_since     timestamptz,
  last_present      timestamptz,
  next_command      timestamptz,
  ignored           integer NOT NULL DEFAULT 0,
  suspect_since     timestamptz,
  stated_at         timestamptz,
  PRIMARY KEY (binding_id, agent_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE reconciler.agent_evidence IS 'What our own looks know of each agent; gone time is accumulated here.';
COMMENT ON COLUMN reconciler.agent_evidence.binding_id IS 'For which binding.';
COMMENT ON COLUMN reconciler.agent_evidence.agent_id IS 'The agent.';
COMMENT ON COLUMN reconciler.agent_evidence.presence IS 'present, gone or unknown at the last look.';
COMMENT ON COLUMN reconciler.agent_evidence.provisional IS 'present by one look only: good for retries and vetoes.';
COMMENT ON COLUMN reconciler.agent_evidence.observed_at IS 'The last look.';
COMMENT ON COLUMN reconciler.agent_evidence.source IS 'hub, heartbeat, event, or who pushed it.';
COMMENT ON COLUMN reconciler.agent_evidence.instance IS 'Hub instance that answered, where it names itself.';
COMMENT ON COLUMN reconciler.agent_evidence.incarnation IS 'The agent''s incarnation, where known.';
COMMENT ON COLUMN reconciler.agent_evidence.unauthorized IS 'The hub refused our credential.';
COMMENT ON COLUMN reconciler.agent_evidence.detail IS 'One sentence about the look.';
COMMENT ON COLUMN reconciler.agent_evidence.heartbeat IS 'Heartbeat value last seen.';
COMMENT ON COLUMN reconciler.agent_evidence.heartbeat_seen IS 'When we first saw that value.';
COMMENT ON COLUMN reconciler.agent_evidence.heartbeat_changed IS 'We saw it change to that value.';
COMMENT ON COLUMN reconciler.agent_evidence.gone_time IS 'Accumulated time gone.';
COMMENT ON COLUMN reconciler.agent_evidence.gone_observations IS 'Looks that said gone, each observation_spacing apart.';
COMMENT ON COLUMN reconciler.agent_evidence.last_gone_counted IS 'The last of them.';
COMMENT ON COLUMN reconciler.agent_evidence.unknown_since IS 'Unknown since.';
COMMENT ON COLUMN reconciler.agent_evidence.last_present IS 'Last seen present.';
COMMENT ON COLUMN reconciler.agent_evidence.next_command IS 'No command to it before: the spacing of commands.';
COMMENT ON COLUMN reconciler.agent_evidence.ignored IS 'Commands that it accepted and let pass command_timeout, since it last ended one.';
COMMENT ON COLUMN reconciler.agent_evidence.suspect_since IS 'Since when these are 3 or more: it is there, but does not act.';
COMMENT ON COLUMN reconciler.agent_evidence.stated_at IS 'When it was so by the clock of who pushed it; NULL: not pushed.';

CREATE TABLE reconciler.runtime_evidence (
  binding_id        integer NOT NULL REFERENCES reconciler.binding ON DELETE CASCADE,
  runtime_id        text NOT NULL,
  source            text NOT NULL,
  backend           text NOT NULL,
  presence          text NOT NULL CHECK (presence IN ('present', 'gone', 'unknown')),
  observed_at       timestamptz NOT NULL,
  stated_at         timestamptz,
  unauthorized      boolean NOT NULL,
  detail            text NOT NULL,
  gone_time         interval NOT NULL,
  gone_observations integer NOT NULL,
  last_gone_counted timestamptz,
  unknown_since     timestamptz,
  last_present      timestamptz,
  PRIMARY KEY (binding_id, runtime_id, source)
) WITH (fillfactor = 50);
COMMENT ON TABLE reconciler.runtime_evidence IS 'What each source says of each runtime that sessions are judged by; gone time is accumulated here, for each source by itself.';
COMMENT ON COLUMN reconciler.runtime_evidence.binding_id IS 'For which binding.';
COMMENT ON COLUMN reconciler.runtime_evidence.runtime_id IS 'The runtime, as the sessions'' runtime column names it.';
COMMENT ON COLUMN reconciler.runtime_evidence.source IS 'hub, or who pushed it: a role, or role/scope of an inventory.';
COMMENT ON COLUMN reconciler.runtime_evidence.backend IS 'Backend that it speaks of; empty: none by name.';
COMMENT ON COLUMN reconciler.runtime_evidence.presence IS 'present, gone or unknown when last heard.';
COMMENT ON COLUMN reconciler.runtime_evidence.observed_at IS 'When that was asked or received: it ages from here.';
COMMENT ON COLUMN reconciler.runtime_evidence.stated_at IS 'When it was so by the clock of its source; NULL: not pushed.';
COMMENT ON COLUMN reconciler.runtime_evidence.unauthorized IS 'The hub refused our credential.';
COMMENT ON COLUMN reconciler.runtime_evidence.detail IS 'One sentence about it.';
COMMENT ON COLUMN reconciler.runtime_evidence.gone_time IS 'Accumulated time gone.';
COMMENT ON COLUMN reconciler.runtime_evidence.gone_observations IS 'Words that said gone, each observation_spacing apart.';
COMMENT ON COLUMN reconciler.runtime_evidence.last_gone_counted IS 'The last of them.';
COMMENT ON COLUMN reconciler.runtime_evidence.unknown_since IS 'Unknown since.';
COMMENT ON COLUMN reconciler.runtime_evidence.last_present IS 'Last seen present.';

CREATE TABLE reconciler.inventory (
  inventory_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  source       text NOT NULL,
  kind         text NOT NULL CHECK (kind IN ('agent', 'session', 'resource')),
  scope        text NOT NULL,
  as_of        timestamptz NOT NULL,
  received_at  timestamptz NOT NULL,
  complete     boolean NOT NULL,
  state        text NOT NULL CHECK (state IN ('accepted', 'rejected', 'incomplete')),
  why          text NOT NULL,
  listed       integer NOT NULL,
  subjects     text[] NOT NULL,
  UNIQUE (source, kind, scope, state)
);
COMMENT ON TABLE reconciler.inventory IS 'The last list of all that is there that report_inventory() took, of each source, kind, scope and state.';
COMMENT ON COLUMN reconciler.inventory.inventory_id IS 'Number that accept_inventory() takes.';
COMMENT ON COLUMN reconciler.inventory.source IS 'The role that reported it.';
COMMENT ON COLUMN reconciler.inventory.kind IS 'What its subjects are: agent, session (keys) or resource (ids of runtimes).';
COMMENT ON COLUMN reconciler.inventory.scope IS 'Of what it is all: a cluster, a namespace; empty: of everything.';
COMMENT ON COLUMN reconciler.inventory.as_of IS 'When it was so, by the clock of its source.';
COMMENT ON COLUMN reconciler.inventory.received_at IS 'When it came.';
COMMENT ON COLUMN reconciler.inventory.complete IS 'What it does not name is not there.';
COMMENT ON COLUMN reconciler.inventory.state IS 'accepted; rejected: it proves nothing before accept_inventory(); incomplete: what it names is there, and it says no more.';
COMMENT ON COLUMN reconciler.inventory.why IS 'Why it is not accepted; empty: it is.';
COMMENT ON COLUMN reconciler.inventory.listed IS 'How many subjects it names.';
COMMENT ON COLUMN reconciler.inventory.subjects IS 'They, where it is complete: what the next one is measured by.';

CREATE TABLE reconciler.hub_instance (
  hub         text NOT NULL REFERENCES reconciler.hub ON DELETE CASCADE ON UPDATE CASCADE,
  instance    text NOT NULL,
  since       timestamptz NOT NULL,
  last_answer timestamptz NOT NULL,
  PRIMARY KEY (hub, instance)
);
COMMENT ON TABLE reconciler.hub_instance IS 'Hub instances that answered lately.';
COMMENT ON COLUMN reconciler.hub_instance.hub IS 'The hub.';
COMMENT ON COLUMN reconciler.hub_instance.instance IS 'The instance''s id; empty for hubs that name none.';
COMMENT ON COLUMN reconciler.hub_instance.since IS 'First answer after a silence of 10 minutes or more.';
COMMENT ON COLUMN reconciler.hub_instance.last_answer IS 'Last answer.';

CREATE TABLE reconciler.hub_address (
  hub          text NOT NULL REFERENCES reconciler.hub ON DELETE CASCADE ON UPDATE CASCADE,
  address      text NOT NULL,
  last_answer  timestamptz,
  probed_at    timestamptz,
  probe_ok     boolean,
  probe_detail text,
  probe_took   interval,
  clock_off    interval,
  PRIMARY KEY (hub, address)
);
COMMENT ON TABLE reconciler.hub_address IS 'What each address of a hub answered last, to passes and to CALL probe_hub().';
COMMENT ON COLUMN reconciler.hub_address.hub IS 'The hub.';
COMMENT ON COLUMN reconciler.hub_address.address IS 'The address.';
COMMENT ON COLUMN reconciler.hub_address.last_answer IS 'Last proper answer to a pass or a probe.';
COMMENT ON COLUMN reconciler.hub_address.probed_at IS 'Last CALL probe_hub().';
COMMENT ON COLUMN reconciler.hub_address.probe_ok IS 'Whether it answered properly then.';
COMMENT ON COLUMN reconciler.hub_address.probe_detail IS 'One sentence about that answer.';
COMMENT ON COLUMN reconciler.hub_address.probe_took IS 'How long it took.';
COMMENT ON COLUMN reconciler.hub_address.clock_off IS 'Hub clock minus database clock, by its Date header.';

CREATE TABLE reconciler.brake (
  binding_id      integer PRIMARY KEY REFERENCES reconciler.binding ON DELETE CASCADE,
  minute          bigint NOT NULL DEFAULT 0,
  inferred        integer[] NOT NULL DEFAULT '{0,0,0,0,0,0,0,0,0,0}',
  user_minute     bigint NOT NULL DEFAULT 0,
  user_requested  integer[] NOT NULL DEFAULT '{0,0,0,0,0,0,0,0,0,0}',
  tripped         timestamptz,
  tripped_due     bigint NOT NULL DEFAULT 0,
  tripped_why     text NOT NULL DEFAULT '',
  allowance       bigint NOT NULL DEFAULT 0 CHECK (allowance >= 0),
  tripped_by_losses boolean NOT NULL DEFAULT false,
  losses_from     timestamptz,
  slowed          text NOT NULL DEFAULT '',
  pace_tokens     double precision NOT NULL DEFAULT 0,
  pace_filled     timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE reconciler.brake IS 'The budget of forces; every pass spends from this one locked row.';
COMMENT ON COLUMN reconciler.brake.binding_id IS 'Whose budget.';
COMMENT ON COLUMN reconciler.brake.minute IS 'Unix minute of inferred[1].';
COMMENT ON COLUMN reconciler.brake.inferred IS 'Inferred forces by minute, newest first.';
COMMENT ON COLUMN reconciler.brake.user_minute IS 'Unix minute of user_requested[1].';
COMMENT ON COLUMN reconciler.brake.user_requested IS 'Forces that a user asked for by minute, newest first.';
COMMENT ON COLUMN reconciler.brake.tripped IS 'Tripped since; nothing is inferred until reset_brake().';
COMMENT ON COLUMN reconciler.brake.tripped_due IS 'How many were due when it tripped.';
COMMENT ON COLUMN reconciler.brake.tripped_why IS 'The arithmetic.';
COMMENT ON COLUMN reconciler.brake.tripped_by_losses IS 'Tripped because every agent seen lately is gone: it ends by itself when one is back.';
COMMENT ON COLUMN reconciler.brake.losses_from IS 'The last reset_brake(): agents that were lost before it no longer count as losses.';
COMMENT ON COLUMN reconciler.brake.slowed IS 'Why inferred forces go at a tenth of their pace; empty: they do not.';
COMMENT ON COLUMN reconciler.brake.pace_tokens IS 'Inferred forces that the pace leaves, as of pace_filled.';
COMMENT ON COLUMN reconciler.brake.pace_filled IS 'When pace_tokens was last filled up.';
COMMENT ON COLUMN reconciler.brake.allowance IS 'Forces that reset_brake() still lets through.';

CREATE TABLE reconciler.counter (
  binding_id integer NOT NULL REFERENCES reconciler.binding ON DELETE CASCADE,
  name       text NOT NULL,
  label      text NOT NULL DEFAULT '',
  value      double precision NOT NULL,
  PRIMARY KEY (binding_id, name, label)
) WITH (fillfactor = 50);
COMMENT ON TABLE reconciler.counter IS 'Exact counters: each grows in the transaction that did what it counts.';
COMMENT ON COLUMN reconciler.counter.binding_id IS 'Whose.';
COMMENT ON COLUMN reconciler.counter.name IS 'Metric.';
COMMENT ON COLUMN reconciler.counter.label IS 'Value of its one label, or empty. reconciler_guarded_total: the event, until a pass adds it to the sum.';
COMMENT ON COLUMN reconciler.counter.value IS 'Sum since CREATE EXTENSION.';

CREATE SEQUENCE reconciler.pass_id;
COMMENT ON SEQUENCE reconciler.pass_id IS 'Numbers of passes.';
CREATE TABLE reconciler.pass (
  pass_id    bigint PRIMARY KEY,
  binding_id integer NOT NULL REFERENCES reconciler.binding ON DELETE CASCADE,
  started_at timestamptz NOT NULL,
  pid        integer NOT NULL
);
COMMENT ON TABLE reconciler.pass IS 'Passes that have begun and not ended.';
COMMENT ON COLUMN reconciler.pass.pass_id IS 'Number of the pass.';
COMMENT ON COLUMN reconciler.pass.binding_id IS 'Over which binding.';
COMMENT ON COLUMN reconciler.pass.started_at IS 'When it began.';
COMMENT ON COLUMN reconciler.pass.pid IS 'Process that ran it.';
-- Unlogged on purpose: crash recovery empties it and a clean shutdown keeps it, so a pass without its witness
-- is one that a crash ended.
CREATE UNLOGGED TABLE reconciler.pass_witness (pass_id bigint PRIMARY KEY);
COMMENT ON TABLE reconciler.pass_witness IS 'One row per running pass; crash recovery empties it, which tells a crash from an orderly end.';
COMMENT ON COLUMN reconciler.pass_witness.pass_id IS 'Number of the pass.';
