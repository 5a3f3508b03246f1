-- From 0.5.0 to 0.6.0. What is new in tables stands at their end in the install script too: both ways lead to the same.
\echo Use "ALTER EXTENSION session_reconciler UPDATE" to load this file. \quit

DO $$
BEGIN
  IF string_to_array(reconciler.library_version(), '.')::integer[] < '{0,6,0}' THEN
    RAISE EXCEPTION 'the library in memory is of version %, this is the upgrade to 0.6.0', reconciler.library_version() USING ERRCODE = 'feature_not_supported',
      HINT = 'Restart the server, or connect again where it does not preload the library; then repeat ALTER EXTENSION session_reconciler UPDATE.';
  END IF;
END $$;

CREATE INDEX event_leftover ON reconciler.event (id) WHERE kind = 'leftover';

-- Clusters in which sessions leave things behind: where they are, and what a collection remembers of them.

CREATE TABLE reconciler.cluster (
  name           text PRIMARY KEY CHECK (name <> ''),
  api_url        text CHECK (api_url ~* '^https?://[^/@?#,]+(/[^@?#,]*)?$'),
  binding_id     integer REFERENCES reconciler.binding ON DELETE SET NULL,
  mode           text NOT NULL DEFAULT 'report' CHECK (mode IN ('report', 'enforce')),
  kinds          jsonb NOT NULL CHECK (jsonb_typeof(kinds) = 'array' AND jsonb_array_length(kinds) > 0),
  control_plane  text NOT NULL CHECK (control_plane ~ '^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$'),
  require_control_plane_label boolean NOT NULL DEFAULT true,
  session_label  text CHECK (session_label <> ''),
  warm_label     text CHECK (warm_label <> ''),
  reference_columns jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(reference_columns) = 'array'),
  collect_every  interval NOT NULL DEFAULT '15 min' CHECK (collect_every BETWEEN '1 min' AND '30 days'),
  young          interval NOT NULL DEFAULT '1 hour' CHECK (young BETWEEN '0' AND '365 days'),
  warm_young     interval NOT NULL DEFAULT '2 hours' CHECK (warm_young BETWEEN '0' AND '365 days'),
  grace          interval NOT NULL DEFAULT '15 min' CHECK (grace BETWEEN '0' AND '365 days'),
  absent_spacing interval NOT NULL DEFAULT '10 min' CHECK (absent_spacing BETWEEN '1 min' AND '365 days'),
  delete_volumes interval CHECK (delete_volumes >= '0'),
  dry_run        boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE reconciler.cluster IS 'Clusters whose leftover resources are collected. Written by set_cluster(), edited by a DBA; the next collection obeys. Holds no secret; see session_reconciler.credentials_file.';
COMMENT ON COLUMN reconciler.cluster.name IS 'Name that collect_garbage() takes.';
COMMENT ON COLUMN reconciler.cluster.api_url IS 'Address of its API server (http or https, no credentials, no query); NULL: the server connects to none, session-reconciler-gc does.';
COMMENT ON COLUMN reconciler.cluster.binding_id IS 'Whose sessions'' resources stand there; NULL: their table was detached, and nothing is collected.';
COMMENT ON COLUMN reconciler.cluster.mode IS 'report: nothing is deleted; enforce: what has been left behind is.';
COMMENT ON COLUMN reconciler.cluster.kinds IS 'What is looked at, in the order of deletion: a list of {"group", "version", "resource", "namespaces", "selector"}.';
COMMENT ON COLUMN reconciler.cluster.control_plane IS 'What the label session-reconciler.io/control-plane of our objects says (letters, digits, ''-'', ''_'' and ''.'', at most 63).';
COMMENT ON COLUMN reconciler.cluster.require_control_plane_label IS 'Objects without that label are never touched; off: those whose session has a row here may be.';
COMMENT ON COLUMN reconciler.cluster.session_label IS 'Label that holds the session''s id; NULL: objects do not say, rows alone decide.';
COMMENT ON COLUMN reconciler.cluster.warm_label IS 'Label that is true on what has no session yet; NULL: there is none.';
COMMENT ON COLUMN reconciler.cluster.reference_columns IS 'Columns beside the sessions'' runtime column whose values name objects that are in use: a list of {"table", "column"}.';
COMMENT ON COLUMN reconciler.cluster.collect_every IS 'The worker collects that often (1 min to 30 days).';
COMMENT ON COLUMN reconciler.cluster.young IS 'Younger objects are left alone.';
COMMENT ON COLUMN reconciler.cluster.warm_young IS 'The same for those with the warm label.';
COMMENT ON COLUMN reconciler.cluster.grace IS 'A session must have ended for that long.';
COMMENT ON COLUMN reconciler.cluster.absent_spacing IS 'Least distance of the two collections that find no row of a session (1 min to 365 days).';
COMMENT ON COLUMN reconciler.cluster.delete_volumes IS 'Persistent volume claims are deleted when their session has ended for so long; NULL: never.';
COMMENT ON COLUMN reconciler.cluster.dry_run IS 'In mode report the API server is asked to check deletions without doing them.';

CREATE TABLE reconciler.cluster_state (
  cluster       text PRIMARY KEY REFERENCES reconciler.cluster ON DELETE CASCADE ON UPDATE CASCADE,
  timeline      bigint NOT NULL,
  running       bigint,
  alive_at      timestamptz,
  tripped       timestamptz,
  tripped_due   bigint NOT NULL DEFAULT 0,
  tripped_why   text NOT NULL DEFAULT '',
  allowance     bigint NOT NULL DEFAULT 0 CHECK (allowance >= 0)
);
COMMENT ON TABLE reconciler.cluster_state IS 'What has to survive a restart of a cluster''s collections. Not dumped: a restored database is not believed that sessions without a row never were.';
COMMENT ON COLUMN reconciler.cluster_state.cluster IS 'Which cluster.';
COMMENT ON COLUMN reconciler.cluster_state.timeline IS 'WAL timeline on which an absent row is believed: set by set_cluster() and confirm_identity().';
COMMENT ON COLUMN reconciler.cluster_state.running IS 'Collection that runs; NULL: none.';
COMMENT ON COLUMN reconciler.cluster_state.alive_at IS 'When it was last heard of; after 10 minutes another one may begin.';
COMMENT ON COLUMN reconciler.cluster_state.tripped IS 'More was due to be deleted than a collection may: nothing is, until reset_cluster_brake().';
COMMENT ON COLUMN reconciler.cluster_state.tripped_due IS 'How many were due when it tripped.';
COMMENT ON COLUMN reconciler.cluster_state.tripped_why IS 'The arithmetic.';
COMMENT ON COLUMN reconciler.cluster_state.allowance IS 'Deletions that reset_cluster_brake() lets through beside the normal budget.';

CREATE TABLE reconciler.collection (
  id         bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  cluster    text NOT NULL REFERENCES reconciler.cluster ON DELETE CASCADE ON UPDATE CASCADE,
  started_at timestamptz NOT NULL,
  ended_at   timestamptz,
  actor      text NOT NULL,
  removes    boolean NOT NULL,
  dry_run    boolean NOT NULL,
  lists      jsonb NOT NULL DEFAULT '{}',
  complete   boolean NOT NULL DEFAULT false,
  objects    bigint NOT NULL DEFAULT 0,
  ours       bigint NOT NULL DEFAULT 0,
  unlabelled bigint NOT NULL DEFAULT 0,
  due        bigint,
  removed    bigint NOT NULL DEFAULT 0,
  failed     bigint NOT NULL DEFAULT 0,
  detail     text NOT NULL DEFAULT ''
);
CREATE INDEX collection_cluster ON reconciler.collection (cluster, id);
COMMENT ON TABLE reconciler.collection IS 'Collections of leftover resources, the newest 100 of each cluster.';
COMMENT ON COLUMN reconciler.collection.id IS 'Number of the collection.';
COMMENT ON COLUMN reconciler.collection.cluster IS 'Of which cluster.';
COMMENT ON COLUMN reconciler.collection.started_at IS 'When it began.';
COMMENT ON COLUMN reconciler.collection.ended_at IS 'When it ended; NULL: it runs, or was given up.';
COMMENT ON COLUMN reconciler.collection.actor IS 'session_reconciler for the worker, else the role that ran it.';
COMMENT ON COLUMN reconciler.collection.removes IS 'Whether it might delete.';
COMMENT ON COLUMN reconciler.collection.dry_run IS 'The API server was asked to check deletions without doing them.';
COMMENT ON COLUMN reconciler.collection.lists IS 'By kind how its list ended: outcome, objects, detail.';
COMMENT ON COLUMN reconciler.collection.complete IS 'Every kind was listed to its end, or is not served: what was not named is not there.';
COMMENT ON COLUMN reconciler.collection.objects IS 'Objects listed.';
COMMENT ON COLUMN reconciler.collection.ours IS 'Those of our control plane.';
COMMENT ON COLUMN reconciler.collection.unlabelled IS 'Those that do not say to which control plane they belong.';
COMMENT ON COLUMN reconciler.collection.due IS 'How many were to be deleted; NULL: it did not come to that.';
COMMENT ON COLUMN reconciler.collection.removed IS 'Deletions that the API accepted, or that were done already.';
COMMENT ON COLUMN reconciler.collection.failed IS 'Deletions that it refused or did not answer.';
COMMENT ON COLUMN reconciler.collection.detail IS 'The first thing that went wrong, one sentence.';

CREATE TABLE reconciler.resource (
  id             bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  cluster        text NOT NULL REFERENCES reconciler.cluster ON DELETE CASCADE ON UPDATE CASCADE,
  uid            text NOT NULL,
  api_group      text NOT NULL,
  api_version    text NOT NULL,
  resource       text NOT NULL,
  namespace      text NOT NULL,
  name           text NOT NULL,
  object         jsonb NOT NULL,
  session_id     text,
  rule           text NOT NULL,
  verdict        text NOT NULL CHECK (verdict IN ('keep', 'wait', 'delete')),
  reason         text NOT NULL,
  due            timestamptz,
  first_seen     timestamptz NOT NULL,
  last_seen      timestamptz NOT NULL,
  collection     bigint NOT NULL,
  ended_seen     timestamptz,
  absent_looks   integer NOT NULL DEFAULT 0,
  absent_counted timestamptz,
  claimed_by     bigint,
  claimed_at     timestamptz,
  removed_at     timestamptz,
  last_result    text NOT NULL DEFAULT '',
  UNIQUE (cluster, uid)
) WITH (fillfactor = 70);
CREATE INDEX resource_session ON reconciler.resource (session_id) WHERE session_id IS NOT NULL;
COMMENT ON TABLE reconciler.resource IS 'Objects in a cluster that no living session has, as the last collections found them. They leave when a complete list does not name them.';
COMMENT ON COLUMN reconciler.resource.id IS 'Number of the row.';
COMMENT ON COLUMN reconciler.resource.cluster IS 'Where it stands.';
COMMENT ON COLUMN reconciler.resource.uid IS 'The object''s uid there.';
COMMENT ON COLUMN reconciler.resource.api_group IS 'Group of its kind; empty for the core group.';
COMMENT ON COLUMN reconciler.resource.api_version IS 'Version of its kind.';
COMMENT ON COLUMN reconciler.resource.resource IS 'Its kind as the API''s paths call it: deployments, pods, …';
COMMENT ON COLUMN reconciler.resource.namespace IS 'Its namespace; empty: none.';
COMMENT ON COLUMN reconciler.resource.name IS 'Its name.';
COMMENT ON COLUMN reconciler.resource.object IS 'Its metadata as listed last.';
COMMENT ON COLUMN reconciler.resource.session_id IS 'Session that it belonged to; NULL: not known.';
COMMENT ON COLUMN reconciler.resource.rule IS 'Rule that decided.';
COMMENT ON COLUMN reconciler.resource.verdict IS 'keep, wait (it will be deleted if nothing changes), delete.';
COMMENT ON COLUMN reconciler.resource.reason IS 'Why, one sentence.';
COMMENT ON COLUMN reconciler.resource.due IS 'wait: when it will be to be deleted, as far as that is known.';
COMMENT ON COLUMN reconciler.resource.first_seen IS 'When a collection first found it without a living session.';
COMMENT ON COLUMN reconciler.resource.last_seen IS 'When a collection last found it.';
COMMENT ON COLUMN reconciler.resource.collection IS 'Which one.';
COMMENT ON COLUMN reconciler.resource.ended_seen IS 'Since when its session has ended: by the session''s row, else by our first sight.';
COMMENT ON COLUMN reconciler.resource.absent_looks IS 'Complete collections, absent_spacing apart, that found no row of its session.';
COMMENT ON COLUMN reconciler.resource.absent_counted IS 'The last of them.';
COMMENT ON COLUMN reconciler.resource.claimed_by IS 'Collection that was to delete it last.';
COMMENT ON COLUMN reconciler.resource.claimed_at IS 'When, before the request left.';
COMMENT ON COLUMN reconciler.resource.removed_at IS 'When the API accepted its deletion.';
COMMENT ON COLUMN reconciler.resource.last_result IS 'What became of the last try to delete it; empty: none.';

SELECT pg_catalog.pg_extension_config_dump('reconciler.cluster', '');

CREATE FUNCTION reconciler.wal_timeline() RETURNS bigint
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_wal_timeline';
COMMENT ON FUNCTION reconciler.wal_timeline() IS 'WAL timeline that is written: another one after a promotion or a restore to a point in time.';
REVOKE ALL ON FUNCTION reconciler.wal_timeline() FROM PUBLIC;

-- Collecting what sessions left behind in a cluster: set up, look, run, and the steps of one collection for a collector
-- outside of the server. The decisions are in src/core/leftover.cpp.

CREATE FUNCTION set_cluster(name text, api_url text DEFAULT NULL, options jsonb DEFAULT '{}') RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_set_cluster';
REVOKE ALL ON FUNCTION set_cluster(text, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION set_cluster(text, text, jsonb) IS
  'Says in which cluster sessions leave resources behind, and how they are told. Starts in mode report: nothing is deleted before {"mode": "enforce"}. api_url: https or http, no user, query or fragment; NULL where session-reconciler-gc connects instead of the server, or, for one that has an address, to leave it. options: an object; an unknown one is an error that lists them; those not given stay as they are. Connects to nobody. Returns a sentence with the control plane''s label. Errors: invalid option (22023), no such table or column (42P01, 42703), no or several attached tables (55000, 42725).';

CREATE PROCEDURE collect_garbage(cluster text DEFAULT NULL)
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_collect_garbage';
REVOKE ALL ON PROCEDURE collect_garbage(text) FROM PUBLIC;
COMMENT ON PROCEDURE collect_garbage(text) IS
  'One collection of leftover resources, here: lists each kind, judges each object after it was listed, and in mode enforce deletes what has been left behind. cluster: its name; NULL: all. Commits between its steps, so it refuses to run inside a transaction block (2D000). Safe beside the worker''s and other collections: one at a time for a cluster. Errors: no such cluster (42704), session_reconciler.outbound is off (55000).';

CREATE FUNCTION orphaned_resources(cluster text DEFAULT NULL)
  RETURNS TABLE (cluster_name text, kind text, namespace text, name text, uid text, session_id text, verdict text, rule text, reason text,
                 since timestamptz, next_action text, next_action_at timestamptz, blocked_by text, last_result text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT c.name, r.resource || CASE WHEN r.api_group = '' THEN '' ELSE '.' || r.api_group END, r.namespace, r.name, r.uid, r.session_id, r.verdict, r.rule, r.reason,
         r.first_seen,
         CASE WHEN r.removed_at IS NOT NULL THEN 'confirm' WHEN r.verdict = 'keep' THEN 'none' ELSE 'delete' END,
         CASE WHEN w.blocked <> 'none' OR r.verdict = 'keep' THEN NULL
              WHEN r.verdict = 'wait' AND r.due IS NULL THEN NULL
              WHEN c.api_url IS NULL THEN greatest(r.due, reconciler.clock())
              ELSE greatest(r.due, (SELECT max(l.started_at) FROM reconciler.collection AS l WHERE l.cluster = c.name) + c.collect_every) END,
         CASE WHEN r.verdict = 'keep' THEN 'none' ELSE w.blocked END, nullif(r.last_result, '')
    FROM reconciler.cluster AS c JOIN reconciler.resource AS r ON r.cluster = c.name
      LEFT JOIN reconciler.cluster_state AS s ON s.cluster = c.name LEFT JOIN reconciler.binding AS b USING (binding_id)
      CROSS JOIN LATERAL (SELECT CASE WHEN b.binding_id IS NULL THEN 'detached' WHEN b.mode <> 'enforce' THEN 'observe_mode' WHEN b.paused_at IS NOT NULL THEN 'pause'
                                      WHEN c.mode <> 'enforce' THEN 'report_mode' WHEN s.tripped IS NOT NULL THEN 'brake' ELSE 'none' END) AS w(blocked)
    WHERE orphaned_resources.cluster IS NULL OR c.name = orphaned_resources.cluster
    ORDER BY r.verdict = 'keep', r.verdict = 'wait', r.first_seen, r.id
$$;
REVOKE ALL ON FUNCTION orphaned_resources(text) FROM PUBLIC;
COMMENT ON FUNCTION orphaned_resources(text) IS
  'Resources without a living session, as the last collection found them: what, whose, why, since when, and what happens next and when. What is to be deleted comes first; what is kept (a user''s data, say, or an end that hangs) last. cluster: its name; NULL: all. blocked_by: none, report_mode, observe_mode, pause, brake, detached.';

CREATE FUNCTION leftover_resources(sessions regclass DEFAULT NULL)
  RETURNS TABLE (table_name text, session_id text, event_id bigint, forced_at timestamptz, namespace text, resources jsonb, cleanup text, user_data jsonb,
                 found text[], confirmed_at timestamptz, status text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT format('%I.%I', b.schema_name, b.table_name), e.session_id, e.id, e.at, e.evidence->>'namespace', e.evidence->'resources', e.evidence->>'cleanup',
         e.evidence->'user_data', f.found, g.at,
         CASE WHEN f.remains OR g.at IS NULL AND cardinality(f.found) > 0 THEN 'found' WHEN g.at IS NOT NULL THEN 'gone'
              WHEN NOT EXISTS (SELECT FROM reconciler.cluster AS c WHERE c.binding_id = b.binding_id) THEN 'no cluster'
              ELSE 'not confirmed' END
    FROM reconciler.binding AS b JOIN reconciler.event AS e ON (e.schema_name, e.table_name) = (b.schema_name, b.table_name) AND e.kind = 'leftover'
      CROSS JOIN LATERAL (SELECT coalesce(array_agg(concat_ws('/', r.resource, nullif(r.namespace, ''), r.name) ORDER BY r.id), '{}'),
                                coalesce(bool_or(NOT (r.api_group = '' AND r.resource = 'persistentvolumeclaims')), false)
                            FROM reconciler.resource AS r JOIN reconciler.cluster AS c ON c.name = r.cluster
                            WHERE r.session_id = e.session_id AND c.binding_id = b.binding_id) AS f(found, remains)
      LEFT JOIN LATERAL (SELECT k.at FROM reconciler.event AS k WHERE k.session_id = e.session_id AND k.kind = 'resources_confirmed' AND k.id > e.id
                           AND (k.schema_name, k.table_name) = (e.schema_name, e.table_name) ORDER BY k.id LIMIT 1) AS g ON true
    WHERE b.binding_id = ANY (reconciler.bindings(leftover_resources.sessions))
    ORDER BY g.at IS NOT NULL AND NOT f.remains, e.id
$$;
REVOKE ALL ON FUNCTION leftover_resources(regclass) FROM PUBLIC;
COMMENT ON FUNCTION leftover_resources(regclass) IS
  'What sessions that were closed without their agent may have left behind, by their leftover events; what of it the last collections found; and since when it is proven to be gone. status: found, not confirmed, no cluster (nobody looks), gone. Open ones come first. sessions: the attached table; NULL: all.';

CREATE FUNCTION reset_cluster_brake(cluster text, reason text, allow integer DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  was reconciler.cluster_state;
  id integer;
  granted bigint;
BEGIN
  PERFORM reconciler.required('cluster', cluster);
  PERFORM reconciler.required_reason(reason);
  IF allow < 0 THEN
    RAISE EXCEPTION 'allow must not be negative' USING ERRCODE = 'invalid_parameter_value',
      HINT = 'It is how many resources may be deleted beside the normal budget; NULL: as many as were due when the brake tripped.';
  END IF;
  SELECT c.binding_id INTO id FROM reconciler.cluster AS c WHERE c.name = reset_cluster_brake.cluster;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'cluster "%" does not exist', cluster USING ERRCODE = 'undefined_object', HINT = 'Clusters are set with set_cluster().';
  END IF;
  SELECT s.* INTO was FROM reconciler.cluster_state AS s WHERE s.cluster = reset_cluster_brake.cluster FOR UPDATE;
  IF was.tripped IS NULL THEN
    RETURN 'not tripped';
  END IF;
  granted := coalesce(allow, was.tripped_due);
  UPDATE reconciler.cluster_state AS s SET tripped = NULL, tripped_due = 0, tripped_why = '', allowance = granted WHERE s.cluster = was.cluster;
  IF id IS NOT NULL THEN
    PERFORM reconciler.note(id, NULL, 'brake_reset', reason, jsonb_build_object('cluster', was.cluster, 'allowed', granted, 'tripped_at', was.tripped,
                            'due', was.tripped_due, 'why', was.tripped_why), rule => 'operator');
  END IF;
  RAISE LOG 'session_reconciler: brake of cluster % reset by %: % let through', was.cluster, session_user, granted;
  PERFORM reconciler.wake_worker();
  RETURN 'reset';
END $$;
REVOKE ALL ON FUNCTION reset_cluster_brake(text, text, integer) FROM PUBLIC;
COMMENT ON FUNCTION reset_cluster_brake(text, text, integer) IS
  'Lets the deletions of a cluster''s tripped brake through: the next collections judge each resource again. reason: kept in the audit. allow: how many beside the normal budget; NULL: as many as were due when it tripped. Returns reset, or not tripped. Errors: no such cluster (42704), blank reason, negative allow (22023).';

-- The steps of one collection, each a transaction of its own: for session-reconciler-gc.

CREATE FUNCTION gc_begin(cluster text, dry_run boolean DEFAULT false, OUT collection_id bigint, OUT kinds jsonb, OUT mode text, OUT why_not text) RETURNS SETOF record
  LANGUAGE c ROWS 1 SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_gc_begin';
COMMENT ON FUNCTION gc_begin(text, boolean) IS
  'Begins a collection. One row: its number, the kinds to list in this order (group, version, resource, namespaces, selector), and enforce or report. A NULL number: it must not begin, why_not says why. dry_run: the API server is to check deletions without doing them, whatever the mode. Error 42704: no such cluster.';

CREATE FUNCTION gc_classify(collection_id bigint, kind jsonb, objects jsonb) RETURNS TABLE (uid text, verdict text, rule text, reason text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_gc_classify';
COMMENT ON FUNCTION gc_classify(bigint, jsonb, jsonb) IS
  'Judges one page of listed objects, in a transaction that began after the page had come, and remembers those without a living session. objects: a list of {"name", "namespace", "uid", "resource_version", "created", "deleted", "labels", "annotations", "finalizers", "controller"}. verdict: keep, wait, delete. Errors: no such collection (42704), it has ended (55000), a malformed object (22023).';

CREATE FUNCTION gc_listed(collection_id bigint, kind jsonb, outcome text, objects bigint, detail text DEFAULT '') RETURNS void
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_gc_listed';
COMMENT ON FUNCTION gc_listed(bigint, jsonb, text, bigint, text) IS
  'Says how the list of a kind ended, over all its namespaces: complete, not_served, forbidden, unauthorized or unknown. What a complete one does not name is gone. Errors: no such collection (42704), it has ended (55000), no such outcome (22023).';

CREATE FUNCTION gc_deletions(collection_id bigint, most bigint DEFAULT 20)
  RETURNS TABLE (resource_id bigint, api_group text, version text, resource text, namespace text, name text, uid text, resource_version text, dry_run boolean)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_gc_deletions';
COMMENT ON FUNCTION gc_deletions(bigint, bigint) IS
  'After all kinds: the next objects to delete, judged once more and claimed, at most that many. None: that was all, or the brake has tripped. Errors: no such collection (42704), it has ended (55000).';

CREATE FUNCTION gc_report(collection_id bigint, resource_id bigint, outcome text, detail text DEFAULT '') RETURNS void
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_gc_report';
COMMENT ON FUNCTION gc_report(bigint, bigint, text, text) IS
  'Says what became of a deletion: accepted, absent, changed, forbidden, unauthorized, busy or unknown. The first two write the event resource_deleted. Errors: no such collection (42704), it has ended (55000), no such outcome (22023).';

CREATE FUNCTION gc_end(collection_id bigint, detail text DEFAULT '') RETURNS void
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_gc_end';
COMMENT ON FUNCTION gc_end(bigint, text) IS
  'Ends a collection, and confirms that sessions whose resources a complete one no longer finds have left nothing behind. detail: the first thing that went wrong. Errors: no such collection (42704), it has ended (55000).';

REVOKE ALL ON FUNCTION gc_begin(text, boolean), gc_classify(bigint, jsonb, jsonb), gc_listed(bigint, jsonb, text, bigint, text), gc_deletions(bigint, bigint),
  gc_report(bigint, bigint, text, text), gc_end(bigint, text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION confirm_identity(reason text) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  was reconciler.binding;
  here record;
  confirmed integer := 0;
BEGIN
  PERFORM reconciler.required_reason(reason);
  SELECT h.* INTO here FROM reconciler.server_identity() AS h;
  FOR was IN SELECT b.* FROM reconciler.binding AS b WHERE NOT reconciler.armed_here(b.binding_id) ORDER BY b.binding_id FOR NO KEY UPDATE LOOP
    PERFORM reconciler.change_binding(was.binding_id, jsonb_build_object('armed_system', here.system, 'armed_database', here.database,
                                      'armed_name', here.name));
    -- Its graces run as after a promotion: what it remembers of agents may be another server's knowledge.
    INSERT INTO reconciler.binding_state AS s (binding_id, promoted_at) VALUES (was.binding_id, reconciler.clock())
      ON CONFLICT (binding_id) DO UPDATE SET first_pass_at = NULL, promoted_at = excluded.promoted_at;
    PERFORM reconciler.note(was.binding_id, NULL, 'mode_changed', reason,
      jsonb_build_object('was_armed_for', jsonb_build_object('system', was.armed_system::text, 'database', was.armed_database::bigint, 'name', was.armed_name),
                         'armed_for', jsonb_build_object('system', here.system::text, 'database', here.database::bigint, 'name', here.name)),
      from_state => was.mode, to_state => was.mode, rule => 'confirm_identity');
    confirmed := confirmed + 1;
  END LOOP;
  -- Sessions that the database has no row of really are none, from now on.
  FOR was IN SELECT b.* FROM reconciler.binding AS b WHERE EXISTS (SELECT FROM reconciler.cluster AS c LEFT JOIN reconciler.cluster_state AS s ON s.cluster = c.name
      WHERE c.binding_id = b.binding_id AND s.timeline IS DISTINCT FROM reconciler.wal_timeline()) ORDER BY b.binding_id LOOP
    INSERT INTO reconciler.cluster_state AS s (cluster, timeline) SELECT c.name, reconciler.wal_timeline() FROM reconciler.cluster AS c WHERE c.binding_id = was.binding_id
      ON CONFLICT ON CONSTRAINT cluster_state_pkey DO UPDATE SET timeline = excluded.timeline;
    UPDATE reconciler.resource AS r SET absent_looks = 0, absent_counted = NULL FROM reconciler.cluster AS c WHERE c.name = r.cluster AND c.binding_id = was.binding_id;
    PERFORM reconciler.note(was.binding_id, NULL, 'mode_changed', reason, jsonb_build_object('timeline', reconciler.wal_timeline()),
      from_state => was.mode, to_state => was.mode, rule => 'confirm_identity');
    confirmed := confirmed + 1;
  END LOOP;
  IF confirmed = 0 THEN
    RETURN 'nothing to confirm';
  END IF;
  PERFORM reconciler.request_worker();
  RETURN 'confirmed';
END $$;
COMMENT ON FUNCTION confirm_identity(text) IS
  'Says that this server and database are to act for every attached table, after a restore, a clone or pg_upgrade; until then they only observe; and that after a restore or a promotion what has no row here, in clusters, has no session. Make sure that the original no longer acts. Grace periods start again. reason: kept in the audit. Returns confirmed, or nothing to confirm. Error: blank reason (22023).';

CREATE OR REPLACE FUNCTION reconciler.configuration_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET IntervalStyle = postgres AS $$
DECLARE
  was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
  becomes jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
  whole jsonb := coalesce(becomes, was);
  about reconciler.binding;
  written bigint;
  happened text := 'policy_changed';
BEGIN
  -- pg_dump and pg_restore put this in front of everything; nobody else has a reason to.
  IF reconciler.own_change() OR (TG_OP = 'INSERT' AND current_setting('check_function_bodies') = 'off') THEN
    RETURN NULL;
  END IF;
  IF TG_TABLE_NAME = 'policy' THEN
    SELECT b.* INTO about FROM reconciler.binding AS b WHERE b.binding_id = (whole->>'binding_id')::integer;
    IF NOT FOUND THEN
      RETURN NULL;  -- it goes with its binding
    END IF;
  ELSIF TG_TABLE_NAME = 'binding' THEN
    about := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    happened := CASE WHEN TG_OP = 'DELETE' THEN 'detached' WHEN was->>'mode' <> becomes->>'mode' THEN 'mode_changed' ELSE happened END;
  END IF;
  -- Of an update only what differs; else the whole row.
  IF TG_OP = 'UPDATE' THEN
    SELECT jsonb_object_agg(o.key, o.value), jsonb_object_agg(o.key, becomes->o.key) INTO was, becomes
      FROM jsonb_each(was) AS o WHERE o.value IS DISTINCT FROM becomes->o.key;
  END IF;
  INSERT INTO reconciler.event (at, schema_name, table_name, kind, from_state, to_state, reason, rule, actor, evidence)
    VALUES (reconciler.clock(), about.schema_name, about.table_name, happened,
            CASE WHEN happened = 'mode_changed' THEN was->>'mode' END, CASE WHEN happened = 'mode_changed' THEN becomes->>'mode' END,
            CASE WHEN happened = 'mode_changed' THEN becomes->>'mode_reason' END, 'by hand', reconciler.acting_role(),
            jsonb_strip_nulls(jsonb_build_object('table', 'reconciler.' || TG_TABLE_NAME, 'operation', TG_OP, 'state', whole->'state', 'hub', CASE WHEN TG_TABLE_NAME = 'hub' THEN whole->'name' END, 'cluster', CASE WHEN TG_TABLE_NAME = 'cluster' THEN whole->'name' END))
              || jsonb_build_object('old', was, 'new', becomes))
    RETURNING id INTO written;
  PERFORM pg_notify('session_reconciler', json_build_object('table', about.schema_name || '.' || about.table_name,
                    'pass_id', NULL, 'first', written, 'last', written)::text);
  PERFORM reconciler.wake_worker();
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION reconciler.configuration_changed() FROM PUBLIC;
COMMENT ON FUNCTION reconciler.configuration_changed() IS
  'Notes what is changed by hand in reconciler.policy, hub, cluster and binding: kind policy_changed, mode_changed or detached, old and new values in evidence.';

CREATE TRIGGER noted AFTER INSERT OR DELETE ON reconciler.cluster FOR EACH ROW EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER noted_update AFTER UPDATE ON reconciler.cluster FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER checked BEFORE INSERT OR UPDATE ON reconciler.cluster FOR EACH ROW EXECUTE FUNCTION reconciler.check_row();
CREATE TRIGGER restored BEFORE INSERT ON reconciler.cluster WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
CREATE TRIGGER restored_all AFTER INSERT ON reconciler.cluster WHEN (current_setting('check_function_bodies') = 'off' AND current_setting('search_path') = '') EXECUTE FUNCTION reconciler.trust_dump();
ALTER TABLE reconciler.cluster ENABLE ALWAYS TRIGGER restored_all;

-- Sessions that are judged by their runtime, and evidence that is pushed.

ALTER TABLE reconciler.policy ADD COLUMN judged_by text NOT NULL DEFAULT 'agent' CHECK (judged_by IN ('agent', 'runtime', 'row'));
ALTER TABLE reconciler.policy ADD CONSTRAINT sent_where_agents_judge CHECK (judged_by = 'agent' OR retry_action IS NULL);
COMMENT ON COLUMN reconciler.policy.judged_by IS 'Whose absence closes: agent; runtime: of what the session runs in, whatever its agent does; row: nobody is asked, what stands in the database is proof enough.';
COMMENT ON CONSTRAINT sent_where_agents_judge ON reconciler.policy IS 'A command goes to an agent that is there: let judged_by be agent, or retry_action NULL.';
ALTER TABLE reconciler.binding ADD COLUMN backend text CHECK (backend <> '');
COMMENT ON COLUMN reconciler.binding.backend IS 'Backend in which the runtimes of its sessions are, where no column says so; NULL: in any that is declared.';
ALTER TABLE reconciler.agent_evidence ADD COLUMN stated_at timestamptz;
COMMENT ON COLUMN reconciler.agent_evidence.stated_at IS 'When it was so by the clock of who pushed it; NULL: not pushed.';
COMMENT ON COLUMN reconciler.agent_evidence.source IS 'hub, heartbeat, event, or who pushed it.';

CREATE TABLE reconciler.backend (
  name           text PRIMARY KEY CHECK (name <> ''),
  supports_pause boolean NOT NULL
);
COMMENT ON TABLE reconciler.backend IS 'Where runtimes are, and what that can do. Written by declare_backend().';
COMMENT ON COLUMN reconciler.backend.name IS 'As the sessions'' backend column, a binding or who pushes evidence names it.';
COMMENT ON COLUMN reconciler.backend.supports_pause IS 'A runtime there can be suspended and come back: such a session is resumed before it is given a new one.';
SELECT pg_catalog.pg_extension_config_dump('reconciler.backend', '');
CREATE TRIGGER noted AFTER INSERT OR DELETE ON reconciler.backend FOR EACH ROW EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER noted_update AFTER UPDATE ON reconciler.backend FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER checked BEFORE INSERT OR UPDATE ON reconciler.backend FOR EACH ROW EXECUTE FUNCTION reconciler.check_row();

CREATE TABLE reconciler.evidence_source (
  name    text PRIMARY KEY CHECK (name <> ''),
  max_age interval CHECK (max_age BETWEEN '1 s' AND '7 days'),
  backend text CHECK (backend <> '')
);
COMMENT ON TABLE reconciler.evidence_source IS 'What is to be known of those who push evidence. One that is not named here may push all the same.';
COMMENT ON COLUMN reconciler.evidence_source.name IS 'Source as report_evidence() has it: the role, unless it says otherwise; with a scope also role/scope, which comes first.';
COMMENT ON COLUMN reconciler.evidence_source.max_age IS 'What it says is worth nothing when it is older (1 s to 7 days): twice the distance at which it pushes, at least. NULL: two intervals.';
COMMENT ON COLUMN reconciler.evidence_source.backend IS 'Backend of which it speaks, where a report does not name one; NULL: of none by name.';
SELECT pg_catalog.pg_extension_config_dump('reconciler.evidence_source', '');
CREATE TRIGGER noted AFTER INSERT OR DELETE ON reconciler.evidence_source FOR EACH ROW EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER noted_update AFTER UPDATE ON reconciler.evidence_source FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
  EXECUTE FUNCTION reconciler.configuration_changed();
CREATE TRIGGER checked BEFORE INSERT OR UPDATE ON reconciler.evidence_source FOR EACH ROW EXECUTE FUNCTION reconciler.check_row();

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

CREATE FUNCTION report_evidence(kind text, subject text, verdict text, detail jsonb DEFAULT '{}', observed_at timestamptz DEFAULT now(), source text DEFAULT current_user, sessions regclass DEFAULT NULL) RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_report_evidence';
REVOKE ALL ON FUNCTION report_evidence(text, text, text, jsonb, timestamptz, text, regclass) FROM PUBLIC;
COMMENT ON FUNCTION report_evidence(text, text, text, jsonb, timestamptz, text, regclass) IS
  'Says what somebody sees of an agent, of a session (its key: worth as much as a word about the runtime that its row names now) or of a resource (a runtime''s id): one look of that source. kind: agent, session, resource. verdict: present, gone, unknown. detail: for people; backend names the one that is spoken of, platform_resource_id the runtime of a session. observed_at: when it was so by the clock of the source; it orders the reports of that source and nothing else, age counts from receipt. source: who says so; reconciler.evidence_source may know more of it. sessions: the attached table; NULL: for agents and resources all, for a session the only one. Returns recorded; ignored: not newer than the last word of that source, or of another runtime; unknown_session; no_runtime. Errors: no such kind or verdict, blank subject or source, a source that is ours (22023).';

CREATE FUNCTION report_evidence(batch jsonb) RETURNS TABLE (outcome text, reports bigint)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_report_evidence_batch';
REVOKE ALL ON FUNCTION report_evidence(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION report_evidence(jsonb) IS
  'Says many things at once: an array of objects with the members kind, subject, verdict, and as far as needed detail, observed_at, source, sessions (a table''s name). All or none. Returns how many reports had which outcome. Error: an element that can''t be taken, with its number (22023).';

CREATE FUNCTION report_inventory(kind text, scope text, as_of timestamptz, complete boolean, subjects jsonb) RETURNS TABLE (inventory_id bigint, outcome text, detail text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_report_inventory';
REVOKE ALL ON FUNCTION report_inventory(text, text, timestamptz, boolean, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION report_inventory(text, text, timestamptz, boolean, jsonb) IS
  'Says that this list is all there is in a scope as of a time: what it names is present, what it does not name is gone. kind: agent, session (keys), resource (ids of runtimes). scope: a cluster, a namespace; empty: everything. The source is the role that calls. complete: false where anything may be missing; what is not named is not gone then. Returns accepted; incomplete; ignored: it was taken already; rejected: it is empty, older than the last accepted one, or lacks more than half of that. A rejected one makes all of it unknown and preflight() fail, until accept_inventory() or one that is accepted. Error: no such kind, subjects that are no array of strings (22023).';

CREATE FUNCTION accept_inventory(inventory_id bigint, reason text) RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_accept_inventory';
REVOKE ALL ON FUNCTION accept_inventory(bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION accept_inventory(bigint, text) IS
  'Says that a rejected inventory is right: what its source says next is measured by it. Returns accepted…, or already accepted. Errors: replaced by a newer one meanwhile (P0002), not a complete one (55000), no reason (22023).';

CREATE FUNCTION declare_backend(name text, supports_pause boolean, options jsonb DEFAULT '{}') RETURNS text
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_declare_backend';
REVOKE ALL ON FUNCTION declare_backend(text, boolean, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION declare_backend(text, boolean, jsonb) IS
  'Says where runtimes can be, and whether one there can be suspended and come back. Which backend a session''s runtime is in says the table''s backend column, else the binding''s backend; else every backend that is declared has to say that it is gone. options: sources (names of who pushes evidence of it). What a backend can do never replaces evidence. Returns declared, or changed. Errors: blank name, unknown option (22023).';

CREATE TABLE reconciler.evidence_inbox (
  kind        text NOT NULL,
  subject     text NOT NULL,
  verdict     text NOT NULL,
  detail      jsonb NOT NULL DEFAULT '{}',
  observed_at timestamptz NOT NULL DEFAULT now(),
  source      text NOT NULL DEFAULT current_user,
  sessions    text
);
COMMENT ON TABLE reconciler.evidence_inbox IS 'COPY or INSERT into it is report_evidence() for each row, all or none; it is empty again then.';
COMMENT ON COLUMN reconciler.evidence_inbox.kind IS 'agent, session or resource.';
COMMENT ON COLUMN reconciler.evidence_inbox.subject IS 'An agent''s id, a session''s key, or the id of a runtime.';
COMMENT ON COLUMN reconciler.evidence_inbox.verdict IS 'present, gone or unknown.';
COMMENT ON COLUMN reconciler.evidence_inbox.detail IS 'As report_evidence() takes it.';
COMMENT ON COLUMN reconciler.evidence_inbox.observed_at IS 'When it was so, by the clock of the source.';
COMMENT ON COLUMN reconciler.evidence_inbox.source IS 'Who says so.';
COMMENT ON COLUMN reconciler.evidence_inbox.sessions IS 'The attached table; NULL: as for report_evidence().';

CREATE FUNCTION reconciler.take_inbox() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM @extschema@.report_evidence((SELECT coalesce(jsonb_agg(to_jsonb(n)), '[]') FROM arrived AS n));
  DELETE FROM reconciler.evidence_inbox;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION reconciler.take_inbox() FROM PUBLIC;
COMMENT ON FUNCTION reconciler.take_inbox() IS 'Reports what was written to reconciler.evidence_inbox, and empties it.';
CREATE TRIGGER taken AFTER INSERT ON reconciler.evidence_inbox REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION reconciler.take_inbox();

CREATE OR REPLACE FUNCTION reconciler.level_of(OUT function_name text, OUT level text) RETURNS SETOF record
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  VALUES
    -- looks
    ('stuck_sessions', 'viewer'), ('explain_session', 'viewer'), ('reconcile_plan', 'viewer'), ('session_coverage', 'viewer'), ('preflight', 'viewer'),
    ('orphaned_resources', 'viewer'), ('leftover_resources', 'viewer'), ('reconciler_status', 'viewer'), ('reconciler_metrics', 'viewer'), ('reconciler_metrics_text', 'viewer'), ('agent_pools', 'viewer'), ('pool_agents', 'viewer'),
    -- acts, within what policies and brakes allow
    ('reconcile', 'operator'), ('probe_hub', 'operator'), ('collect_garbage', 'operator'), ('pause_reconciler', 'operator'), ('unpause_reconciler', 'operator'),
    ('hold_session', 'operator'), ('release_session', 'operator'), ('retry_session', 'operator'),
    ('request_termination', 'operator'), ('resume_or_respawn', 'operator'), ('undo_event', 'operator'), ('accept_inventory', 'operator'), ('undo_pass', 'operator'), ('assign_session', 'operator'), ('drain_agent', 'operator'), ('undrain_agent', 'operator'), ('rebalance_pool', 'operator'),
    -- sets up, and acts past policies and brakes
    ('attach_sessions', 'admin'), ('detach_sessions', 'admin'), ('create_control_plane', 'admin'), ('set_hub', 'admin'), ('set_cluster', 'admin'), ('reset_cluster_brake', 'admin'),
    ('set_mode', 'admin'), ('reset_brake', 'admin'), ('force_terminate_session', 'admin'), ('confirm_identity', 'admin'),
    ('stop_worker', 'admin'), ('create_agent_pool', 'admin'), ('declare_backend', 'admin'), ('migrate_to_pools', 'admin'),
    -- says what it knows of agents
    ('agent_connected', 'evidence'), ('agent_disconnected', 'evidence'), ('register_agent', 'evidence'), ('agent_heartbeat', 'evidence'),
    ('report_evidence', 'evidence'), ('report_inventory', 'evidence'), ('report_resource', 'evidence'), ('next_commands', 'evidence'), ('report_command', 'evidence'),
    -- collects what sessions left behind, from outside of the server
    ('gc_begin', 'collector'), ('gc_classify', 'collector'), ('gc_listed', 'collector'), ('gc_deletions', 'collector'), ('gc_report', 'collector'), ('gc_end', 'collector'),
    -- the extension's owner only
    ('reconciler_grant', 'owner'), ('reconciler_revoke', 'owner'),
    ('reconciler.level_of', 'owner'), ('reconciler.granted_functions', 'owner'), ('reconciler.grantee', 'owner'), ('reconciler.grant_tables', 'owner'),
    ('reconciler.event_is_append_only', 'owner'), ('reconciler.configuration_changed', 'owner'), ('reconciler.own_change', 'owner'), ('reconciler.refuse_credentials_in_urls', 'owner'),
    ('reconciler.check_row', 'owner'), ('reconciler.check_terminal_states', 'owner'), ('reconciler.trust_dump', 'owner'), ('reconciler.check_mapping', 'owner'), ('reconciler.check_hub_profile', 'owner'), ('reconciler.check_repair', 'owner'), ('reconciler.suspended_as', 'owner'), ('reconciler.guard_suspended', 'owner'), ('reconciler.set_suspend_guard', 'owner'), ('reconciler.suspend_guard_changed', 'owner'),
    ('reconciler.plain_text', 'owner'), ('reconciler.closing', 'owner'), ('reconciler.guard', 'owner'), ('reconciler.guard_terminal', 'owner'), ('reconciler.set_guard', 'owner'), ('reconciler.guard_changed', 'owner'),
    ('reconciler.clock', 'owner'), ('reconciler.acting_role', 'owner'), ('reconciler.library_version', 'owner'),
    ('reconciler.one_binding', 'owner'), ('reconciler.bindings', 'owner'), ('reconciler.check_binding', 'owner'), ('reconciler.check_profile', 'owner'),
    ('reconciler.change_binding', 'owner'), ('reconciler.session_key', 'owner'), ('reconciler.begin_episode', 'owner'),
    ('reconciler.wake_worker', 'owner'), ('reconciler.request_worker', 'owner'), ('reconciler.worker_pid', 'owner'),
    ('reconciler.server_identity', 'owner'), ('reconciler.wal_timeline', 'owner'), ('reconciler.armed_here', 'owner'), ('reconciler.refuse_copy', 'owner'), ('reconciler.required', 'owner'), ('reconciler.required_reason', 'owner'),
    ('reconciler.note', 'owner'), ('reconciler.take_inbox', 'owner'), ('reconciler.existing_session', 'owner')
$$;
COMMENT ON FUNCTION reconciler.level_of() IS
  'Level of every function of the extension: viewer, operator, admin, evidence, collector, or owner for those that nobody is granted. Names of the catalog''s functions are with their schema.';

CREATE OR REPLACE FUNCTION reconciler.granted_functions(level text, upwards boolean) RETURNS SETOF regprocedure
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  ladder text[] := ARRAY['viewer', 'operator', 'admin'];
  here integer := array_position(ladder, level);
BEGIN
  PERFORM reconciler.required('level', level);
  IF here IS NULL AND level NOT IN ('evidence', 'collector') THEN
    RAISE EXCEPTION 'there is no level %', quote_literal(level) USING ERRCODE = 'invalid_parameter_value',
      HINT = 'Valid levels are viewer, operator, admin, evidence and collector.';
  END IF;
  RETURN QUERY
    SELECT p.oid::regprocedure FROM pg_extension AS e
      JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
      JOIN pg_proc AS p ON p.oid = d.objid
      JOIN reconciler.level_of() AS l ON l.function_name = CASE WHEN p.pronamespace = e.extnamespace THEN p.proname ELSE 'reconciler.' || p.proname END
    WHERE e.extname = 'session_reconciler'
      AND CASE WHEN here IS NULL THEN l.level = granted_functions.level
               WHEN upwards THEN array_position(ladder, l.level) >= here
               ELSE array_position(ladder, l.level) <= here END
    ORDER BY p.oid;
END $$;
COMMENT ON FUNCTION reconciler.granted_functions(text, boolean) IS 'Functions that a level may call; upwards: those that it and the levels above have more than the level below. Error 22023: no such level.';

CREATE OR REPLACE FUNCTION reconciler.grant_tables(grantee text, level text, give boolean) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  verb text := CASE WHEN give THEN 'GRANT %s ON %s TO %s' ELSE 'REVOKE %s ON %s FROM %s' END;
  readable text;
BEGIN
  verb := verb || CASE WHEN give THEN '' ELSE ' CASCADE' END;
  SELECT string_agg(d.objid::regclass::text, ', ') INTO STRICT readable
    FROM pg_extension AS e JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'
      JOIN pg_class AS c ON c.oid = d.objid AND c.relkind IN ('r', 'v')
    WHERE e.extname = 'session_reconciler';
  IF level IN ('viewer', 'operator', 'admin') AND (give OR level = 'viewer') THEN
    EXECUTE format(verb, 'SELECT', 'TABLE ' || readable, grantee);
  END IF;
  IF level = 'evidence' THEN
    EXECUTE format(verb, 'INSERT', 'TABLE reconciler.evidence_inbox', grantee);
  END IF;
  IF level = 'admin' OR (NOT give AND level IN ('viewer', 'operator')) THEN
    EXECUTE format(verb, 'INSERT, UPDATE, DELETE', 'TABLE reconciler.policy, reconciler.backend, reconciler.evidence_source', grantee);
    EXECUTE format(verb, 'UPDATE (time_zone, batch_size, observation_spacing, hub_grace, heartbeat_fresh, start_grace, instance_grace,'
                         ' promotion_grace, sign_fresh_for, sign_ceiling, replacement_grace, brake_floor, brake_share, brake_pace, user_rate_floor, user_rate_share, guard_terminal, pools, backend)', 'TABLE reconciler.binding', grantee);
    EXECUTE format(verb, 'UPDATE (connect_timeout, total_timeout, command_spacing, max_in_flight)', 'TABLE reconciler.hub', grantee);
    EXECUTE format(verb, 'UPDATE (mode, collect_every, young, warm_young, grace, absent_spacing, delete_volumes, dry_run)', 'TABLE reconciler.cluster', grantee);
  END IF;
END $$;
COMMENT ON FUNCTION reconciler.grant_tables(text, text, boolean) IS 'The tables of a level: SELECT on all for viewer and above; for admin also policies, backends, sources of evidence, limits of bindings, timeouts of hubs, mode and limits of clusters; for evidence INSERT into the inbox.';

COMMENT ON FUNCTION reconciler_grant(text, text) IS
  'Gives a role a level: viewer (look), operator (also pause, hold, retry, undo, reconcile), admin (also attach, hubs, modes, brakes, force; policies and limits by UPDATE), evidence (push evidence, nothing else), or collector (session-reconciler-gc, nothing else). Each of the first three contains the one before. Only the extension''s owner. Errors: no such level (22023), no such role (42704).';

CREATE OR REPLACE FUNCTION reconciler_metrics()
  RETURNS TABLE (name text, type text, help text, labels jsonb, value double precision)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
  WITH families (rank, name, type, help) AS (VALUES
    (1, 'sessions_stuck_terminating', 'gauge', 'Sessions that a user asked to end and that were stuck at the last pass.'),
    (2, 'sessions_stuck_terminating_total', 'counter', 'Sessions that a user asked to end and that were found stuck.'),
    (3, 'sessions_stuck', 'gauge', 'Stuck sessions by state at the last pass.'),
    (4, 'sessions_stuck_total', 'counter', 'Sessions found stuck, by state.'),
    (5, 'reconciler_forced_total', 'counter', 'Orphaned sessions closed by inference or by an operator, by reason.'),
    (6, 'reconciler_finalized_total', 'counter', 'Sessions closed because they were proven to have ended, by reason.'),
    (7, 'reconciler_retries_total', 'counter', 'Outcomes of commands sent again, and of their execution.'),
    (8, 'reconciler_quarantined', 'gauge', 'Sessions in quarantine.'),
    (9, 'reconciler_quarantined_total', 'counter', 'Sessions put in quarantine.'),
    (10, 'reconciler_brake_tripped', 'gauge', '1: the brake is tripped, nothing is closed by inference until reset_brake().'),
    (11, 'reconciler_brake_slowed', 'gauge', '1: most agents seen lately are gone, inferred forces go at a tenth of their pace.'),
    (12, 'reconciler_brake_waiting', 'gauge', 'Sessions that were due when the brake tripped; 0: it is not tripped.'),
    (13, 'reconciler_paused', 'gauge', '1: paused by an operator.'),
    (14, 'reconciler_safe_mode', 'gauge', '1: stopped because passes crashed the server.'),
    (15, 'reconciler_mode', 'gauge', '1 for the mode of the table.'),
    (16, 'reconciler_identity_confirmed', 'gauge', '0: a copy that only observes until confirm_identity().'),
    (17, 'reconciler_worker_up', 'gauge', '1: a worker runs in this database.'),
    (18, 'reconciler_last_success_timestamp_seconds', 'gauge', 'End of the last pass that ended well, Unix time; 0: none yet.'),
    (19, 'reconciler_detection_lag_seconds_sum', 'summary', 'Time from when a session was stuck to its detection.'),
    (20, 'reconciler_detection_lag_seconds_count', 'summary', 'Time from when a session was stuck to its detection.'),
    (21, 'reconciler_hub_up', 'gauge', '1: the hub answered properly when last asked; NaN: never asked.'),
    (22, 'reconciler_hub_request_seconds_sum', 'summary', 'Duration of requests to the hub.'),
    (23, 'reconciler_hub_request_seconds_count', 'summary', 'Duration of requests to the hub.'),
    (24, 'reconciler_hub_requests_failed_total', 'counter', 'Requests to the hub without a proper answer.'),
    (25, 'reconciler_agents_suspect', 'gauge', 'Agents that accept commands and end none of them.'),
    (26, 'reconciler_guarded_total', 'counter', 'Late writes that the guard refused; one that is repeated counts once until its agent has got a stop.'),
    (27, 'reconciler_reassigned_total', 'counter', 'Sessions that passes gave to another agent of their pool.'),
    (28, 'reconciler_resources_orphaned', 'gauge', 'Resources in a cluster that are to be deleted, as the last collection found them.'),
    (29, 'reconciler_resources_deleted_total', 'counter', 'Resources in a cluster that were deleted.'),
    (30, 'reconciler_cluster_brake_tripped', 'gauge', '1: more was due to be deleted than a collection may, and nothing is.'),
    (31, 'reconciler_collection_last_success_timestamp_seconds', 'gauge', 'When the last collection that listed everything ended; 0: none yet.')
  ), tables AS MATERIALIZED (
    SELECT b.*, jsonb_build_object('table', format('%I.%I', b.schema_name, b.table_name)) AS label, s.stuck, s.hub_up, s.safe_mode_since,
           s.last_success_at, k.tripped, k.tripped_due, k.slowed, reconciler.armed_here(b.binding_id) AS armed, reconciler.worker_pid() IS NOT NULL AS worker
    FROM reconciler.binding AS b LEFT JOIN reconciler.binding_state AS s USING (binding_id) LEFT JOIN reconciler.brake AS k USING (binding_id)
  ), reasons AS (  -- whatever else an event carries must not become a label: operators write sentences
    SELECT t.binding_id, r.reason FROM tables AS t CROSS JOIN unnest(ARRAY['user_requested', 'agent_unavailable', 'agent_disconnected',
      'no_agent', 'timeout', 'error', 'runtime_gone', 'stop_unconfirmed']) AS r(reason)
    UNION SELECT p.binding_id, p.reason FROM reconciler.policy AS p
  ), states AS (
    SELECT p.binding_id, p.state, p.user_requested OR p.state = 'terminating' AS users_wish FROM reconciler.policy AS p
    UNION SELECT t.binding_id, n.key, n.key = 'terminating' FROM tables AS t CROSS JOIN jsonb_each_text(t.stuck) AS n
      WHERE NOT EXISTS (SELECT FROM reconciler.policy AS p WHERE (p.binding_id, p.state) = (t.binding_id, n.key))
    UNION SELECT c.binding_id, c.label, c.label = 'terminating' FROM reconciler.counter AS c
      WHERE c.name = 'sessions_stuck_total' AND NOT EXISTS (SELECT FROM reconciler.policy AS p WHERE (p.binding_id, p.state) = (c.binding_id, c.label))
  ), known (binding_id, name, key, label) AS (  -- so that a counter is there, and zero, before it first counts
    SELECT r.binding_id, n.name, 'reason', r.reason FROM reasons AS r CROSS JOIN (VALUES ('reconciler_forced_total'), ('reconciler_finalized_total')) AS n(name)
    UNION ALL SELECT s.binding_id, 'sessions_stuck_total', 'state', s.state FROM states AS s
    UNION ALL SELECT c.binding_id, 'reconciler_resources_deleted_total', 'cluster', c.name FROM reconciler.cluster AS c WHERE c.binding_id IS NOT NULL
    UNION ALL SELECT t.binding_id, 'reconciler_retries_total', 'outcome', o.outcome FROM tables AS t
      CROSS JOIN unnest(ARRAY['accepted', 'completed', 'failed', 'rejected', 'session_gone', 'not_connected', 'unknown_agent', 'busy',
                              'unauthorized', 'unclear', 'unreachable', 'unknown']) AS o(outcome)
    UNION ALL SELECT t.binding_id, n.name, NULL, '' FROM tables AS t CROSS JOIN (VALUES ('reconciler_quarantined_total'), ('reconciler_guarded_total'), ('reconciler_reassigned_total'),
      ('reconciler_detection_lag_seconds_sum'), ('reconciler_detection_lag_seconds_count'), ('reconciler_hub_request_seconds_sum'),
      ('reconciler_hub_requests_total'), ('reconciler_hub_requests_failed_total')) AS n(name)
  ), counted (binding_id, name, label, value) AS (
    SELECT c.binding_id, c.name, CASE WHEN c.name = 'reconciler_guarded_total' THEN '' WHEN c.name NOT IN ('reconciler_forced_total', 'reconciler_finalized_total')
        OR EXISTS (SELECT FROM reasons AS r WHERE (r.binding_id, r.reason) = (c.binding_id, c.label)) THEN c.label ELSE 'other' END AS shown, sum(c.value)
    FROM reconciler.counter AS c GROUP BY c.binding_id, c.name, shown
  ), counters (binding_id, name, labels, value) AS (
    SELECT t.binding_id, x.name, t.label || CASE WHEN x.key IS NULL THEN '{}' ELSE jsonb_build_object(x.key, x.label) END, x.value
    FROM (SELECT binding_id, name, label, coalesce(k.key, CASE WHEN name IN ('reconciler_forced_total', 'reconciler_finalized_total') THEN 'reason'
                   WHEN name = 'reconciler_retries_total' THEN 'outcome' WHEN name = 'reconciler_resources_deleted_total' THEN 'cluster' END) AS key, coalesce(c.value, 0) AS value
          FROM known AS k FULL JOIN counted AS c USING (binding_id, name, label)) AS x
    JOIN tables AS t USING (binding_id)
  ), samples (name, labels, value) AS (
    SELECT CASE c.name WHEN 'reconciler_hub_requests_total' THEN 'reconciler_hub_request_seconds_count' ELSE c.name END, c.labels, c.value FROM counters AS c
    UNION ALL SELECT 'sessions_stuck_terminating_total', t.label,
      (SELECT coalesce(sum(c.value), 0) FROM reconciler.counter AS c JOIN states AS s ON (s.binding_id, s.state) = (c.binding_id, c.label)
        WHERE c.binding_id = t.binding_id AND c.name = 'sessions_stuck_total' AND s.users_wish) FROM tables AS t
    UNION ALL SELECT 'sessions_stuck_terminating', t.label,
      (SELECT coalesce(sum((t.stuck->>s.state)::float8), 0) FROM states AS s WHERE s.binding_id = t.binding_id AND s.users_wish) FROM tables AS t
    UNION ALL SELECT 'sessions_stuck', t.label || jsonb_build_object('state', s.state), coalesce((t.stuck->>s.state)::float8, 0)
      FROM tables AS t JOIN states AS s USING (binding_id)
    UNION ALL SELECT 'reconciler_quarantined', t.label,
      (SELECT count(*) FROM reconciler.episode AS e WHERE e.binding_id = t.binding_id AND e.quarantined IS NOT NULL) FROM tables AS t
    UNION ALL SELECT 'reconciler_agents_suspect', t.label,
      (SELECT count(*) FROM reconciler.agent_evidence AS e WHERE e.binding_id = t.binding_id AND e.suspect_since IS NOT NULL) FROM tables AS t
    UNION ALL SELECT 'reconciler_brake_tripped', t.label, (t.tripped IS NOT NULL)::int FROM tables AS t
    UNION ALL SELECT 'reconciler_brake_slowed', t.label, (t.tripped IS NULL AND coalesce(t.slowed, '') <> '')::int FROM tables AS t
    UNION ALL SELECT 'reconciler_brake_waiting', t.label, CASE WHEN t.tripped IS NULL THEN 0 ELSE t.tripped_due END FROM tables AS t
    UNION ALL SELECT 'reconciler_paused', t.label, (t.paused_at IS NOT NULL)::int FROM tables AS t
    UNION ALL SELECT 'reconciler_safe_mode', t.label, (t.safe_mode_since IS NOT NULL)::int FROM tables AS t
    UNION ALL SELECT 'reconciler_mode', t.label || jsonb_build_object('mode', m.mode), (t.mode = m.mode)::int
      FROM tables AS t CROSS JOIN unnest(ARRAY['observe', 'enforce', 'off', 'broken']) AS m(mode)
    UNION ALL SELECT 'reconciler_identity_confirmed', t.label, t.armed::int FROM tables AS t
    UNION ALL SELECT m.name, t.label || jsonb_build_object('cluster', c.name), m.value FROM tables AS t JOIN reconciler.cluster AS c ON c.binding_id = t.binding_id
      LEFT JOIN reconciler.cluster_state AS s ON s.cluster = c.name CROSS JOIN LATERAL (VALUES
        ('reconciler_resources_orphaned', (SELECT count(*) FROM reconciler.resource AS r WHERE r.cluster = c.name AND r.verdict = 'delete' AND r.removed_at IS NULL)::float8),
        ('reconciler_cluster_brake_tripped', (s.tripped IS NOT NULL)::int::float8),
        ('reconciler_collection_last_success_timestamp_seconds', coalesce((SELECT extract(epoch FROM max(n.ended_at)) FROM reconciler.collection AS n WHERE n.cluster = c.name AND n.complete)::float8, 0))) AS m(name, value)
    UNION ALL SELECT 'reconciler_worker_up', t.label, t.worker::int FROM tables AS t
    UNION ALL SELECT 'reconciler_last_success_timestamp_seconds', t.label, coalesce(extract(epoch FROM t.last_success_at)::float8, 0) FROM tables AS t
    UNION ALL SELECT 'reconciler_hub_up', t.label || jsonb_build_object('hub', t.hub), coalesce(t.hub_up::int::float8, 'NaN') FROM tables AS t WHERE t.hub IS NOT NULL
  )
  SELECT f.name, f.type, f.help, s.labels, s.value FROM samples AS s JOIN families AS f USING (name) ORDER BY f.rank, s.labels::text
$$;
REVOKE ALL ON FUNCTION reconciler_metrics() FROM PUBLIC;
COMMENT ON FUNCTION reconciler_metrics() IS
  'Metrics of every attached table, one row per sample; each has the label table. Counters are exact and start at attach_sessions(); those that never counted are there as 0. A reason that is neither built in nor in a policy counts as other. Units: seconds.';

UPDATE reconciler.hub_profile SET definition = $profile${
  "description": "The project's own protocol: authoritative answers, idempotency keys, paged lists.",
  "authoritative": true,
  "idempotent": true,

  "hub": {
    "instance": "/hub/instance_id",
    "scope": "/hub/scope",
    "scopes": {"fleet": true, "instance": false},
    "complete": "/complete"
  },
  "agent": {
    "id": "/id",
    "status": "/status",
    "statuses": {"connected": "connected", "draining": "draining", "disconnected": "disconnected"},
    "incarnation": "/incarnation",
    "pool": "/pool",
    "platform": "/platform",
    "region": "/region",
    "capacity": "/capacity",
    "sessions": "/sessions"
  },

  "list_agents": {
    "method": "GET", "path": "/v1/agents",
    "agents": "/agents", "next": "/next", "next_parameter": "next",
    "answers": [{"status": 200, "means": "agents"}]
  },
  "ask_agent": {
    "method": "GET", "path": "/v1/agents/{agent_id}",
    "answers": [
      {"status": 200, "means": "agent"},
      {"status": 404, "where": {"/error/code": "agent_not_found"}, "means": "unknown_agent"}
    ]
  },
  "send": {
    "method": "POST", "path": "/v1/agents/{agent_id}/commands",
    "headers": {"Idempotency-Key": "{command_id}"},
    "body": {
      "command_id": "{command_id}",
      "action": "{action}",
      "session_id": "{session_id}",
      "platform_resource_id": "{platform_resource_id}",
      "attempt": "{attempt}",
      "reason": "{reason}"
    },
    "hub_command_id": "/command_id",
    "detail": "/error/code",
    "answers": [
      {"status": 202, "where": {"/command_id": "{command_id}", "/status": "accepted"}, "means": "accepted"},
      {"status": 404, "where": {"/error/code": "agent_not_found"}, "means": "unknown_agent"},
      {"status": 409, "where": {"/error/code": "agent_not_connected"}, "means": "not_connected"},
      {"status": 410, "where": {"/error/code": "session_gone"}, "means": "session_gone"},
      {"status": [401, 403], "means": "unauthorized"},
      {"status": 429, "means": "busy"},
      {"status": 503, "retry_after": true, "means": "busy"},
      {"status": "4xx", "where": {"/error/code": {"is": "string"}}, "means": "rejected"}
    ]
  },
  "ask_command": {
    "method": "GET", "path": "/v1/commands/{command_id}",
    "detail": "/error",
    "answers": [
      {"status": 200, "where": {"/status": "accepted"}, "means": "open"},
      {"status": 200, "where": {"/status": "delivered"}, "means": "open"},
      {"status": 200, "where": {"/status": "completed"}, "means": "completed"},
      {"status": 200, "where": {"/status": "failed"}, "means": "failed"}
    ]
  },
  "ask_session": {
    "method": "GET", "path": "/v1/sessions/{session_id}",
    "platform_resource_id": "/platform_resource_id",
    "answers": [
      {"status": 200, "where": {"/status": "running"}, "means": "running"},
      {"status": 200, "where": {"/status": "suspended"}, "means": "suspended"},
      {"status": 200, "where": {"/status": "gone"}, "means": "gone"},
      {"status": 404, "where": {"/error/code": "session_not_found"}, "means": "unclear"}
    ]
  }
}
$profile$ WHERE name = 'standard';

-- Agents that are full take stops, too.
DROP INDEX reconciler.agent_free;
CREATE INDEX agent_free ON reconciler.agent (pool_id, fullness, spread)
  WHERE connected AND approved AND NOT suspect AND draining IS NULL;
COMMENT ON COLUMN reconciler.agent.load IS 'Sessions that it has, but for those that a user asked to end: as counted, and what was assigned since.';

-- Repair: what a close writes besides the state.
ALTER TABLE reconciler.binding ADD COLUMN advisory_lock text CHECK (advisory_lock IN ('hashtext')), ADD COLUMN guard_suspended boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN reconciler.binding.related IS 'Related tables and their columns: agents, commands, audit, connections, executions.';
COMMENT ON COLUMN reconciler.binding.columns IS 'Which column is what: key, state, agent, runtime, created, entered, updated, reason, closed, pool, platform, region, backend, version, route and signs (lists).';
COMMENT ON COLUMN reconciler.binding.advisory_lock IS 'How the application locks a session that it works on: hashtext: by the advisory lock hashtext(key). A close takes the same one, and leaves to the next pass what the application has locked. NULL: by nothing but its row.';
ALTER TABLE reconciler.policy ADD COLUMN sets jsonb NOT NULL DEFAULT '{}', ADD COLUMN steps jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN reconciler.policy.sets IS 'Further columns of the session''s row that are written with becomes: an object of names, each null, a text, or {"now": true}.';
COMMENT ON COLUMN reconciler.policy.steps IS 'Rows of other tables that are written in the same transaction: a list of objects with table, match (columns that hold the session''s key or runtime), where (columns, and the values that they must have) and set (as in sets).';
-- What a policy lets a close write besides the state is written with the rights of the table's owner.
CREATE FUNCTION reconciler.check_repair() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  attached regclass;
  owner name;
BEGIN
  SELECT c.oid, pg_get_userbyid(c.relowner) INTO attached, owner FROM reconciler.binding AS b JOIN pg_class AS c ON c.oid = b.sessions WHERE b.binding_id = NEW.binding_id;
  IF NOT FOUND THEN
    RETURN NULL;  -- a table that has vanished
  END IF;
  IF NOT pg_has_role(reconciler.acting_role(), owner, 'USAGE') THEN
    RAISE EXCEPTION 'must be owner of table %', attached USING ERRCODE = 'insufficient_privilege',
      DETAIL = 'The sets and steps of a policy are written with its rights.', HINT = format('Its owner is %I; a superuser may change the policies of any table.', owner);
  END IF;
  PERFORM reconciler.check_binding(NEW.binding_id);
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION reconciler.check_repair() FROM PUBLIC;
COMMENT ON FUNCTION reconciler.check_repair() IS 'Refuses sets and steps of a policy that no close could write (22023, 42703, 55000), and those for somebody else''s table (42501).';
CREATE TRIGGER checked_repair AFTER INSERT OR UPDATE OF sets, steps ON reconciler.policy
  FOR EACH ROW WHEN (NEW.sets <> '{}' OR NEW.steps <> '[]') EXECUTE FUNCTION reconciler.check_repair();
COMMENT ON COLUMN reconciler.binding.guard_suspended IS 'A trigger on the table: a session that is suspended where nothing can pause ends instead, as the policy of suspended has it. Off: none. Made and removed as this is written.';

-- The guard of suspensions: a session that is suspended on a backend that can't pause has nothing to come back to. What the
-- application writes as suspended is written as the end that the policy has for it, with the columns that go with it.

CREATE FUNCTION reconciler.suspended_as(binding integer, names text[], types oid[], was text[], becomes text[]) RETURNS jsonb
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  about reconciler.binding;
  policy reconciler.policy;
  backend text;
  old_row jsonb;
  new_row jsonb;
  key text;
  changes jsonb;
BEGIN
  SELECT b.* INTO about FROM reconciler.binding AS b WHERE b.binding_id = suspended_as.binding AND b.guard_suspended AND reconciler.armed_here(b.binding_id);
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  SELECT p.* INTO policy FROM reconciler.policy AS p WHERE p.binding_id = suspended_as.binding AND p.state = suspended_as.becomes[array_position(names, about.columns->>'state')] AND p.enabled;
  backend := coalesce(nullif(suspended_as.becomes[array_position(names, about.columns->>'backend')], ''), about.backend);
  IF policy.state IS NULL
     OR NOT EXISTS (SELECT FROM reconciler.backend AS k WHERE backend IS NULL OR k.name = backend)
     OR EXISTS (SELECT FROM reconciler.backend AS k WHERE k.supports_pause AND (backend IS NULL OR k.name = backend)) THEN
    RETURN NULL;
  END IF;
  SELECT jsonb_build_object(about.columns->>'state', policy.becomes) || coalesce(jsonb_object_agg(s.key, CASE
           WHEN jsonb_typeof(s.value) <> 'object' THEN s.value
           WHEN c.type = 'timestamp'::regtype THEN to_jsonb((reconciler.clock() AT TIME ZONE about.time_zone)::text)
           ELSE to_jsonb(reconciler.clock()::text) END), '{}') INTO changes
    FROM jsonb_each(policy.sets) AS s JOIN unnest(names, types) AS c(name, type) ON c.name = s.key;

  key := reconciler.plain_text(was[array_position(names, about.columns->>'key')], types[array_position(names, about.columns->>'key')]);
  SELECT jsonb_object_agg(c.name, reconciler.plain_text(c.was, c.type)), jsonb_object_agg(c.name, reconciler.plain_text(c.becomes, c.type)) || changes INTO old_row, new_row
    FROM unnest(names, types, was, becomes) AS c(name, type, was, becomes)
    WHERE changes ? c.name OR c.name IN (about.columns->>'key', about.columns->>'agent', about.columns->>'runtime', about.columns->>'created', about.columns->>'updated');
  IF about.mode <> 'enforce' OR about.paused_at IS NOT NULL
     OR EXISTS (SELECT FROM reconciler.hold AS h WHERE h.binding_id = suspended_as.binding AND h.session_id = key AND h.until > reconciler.clock()) THEN
    PERFORM reconciler.note(suspended_as.binding, key, 'would_guard', policy.reason, jsonb_build_object('backend', backend, 'attempted', policy.state),
                            old_row->>(about.columns->>'state'), policy.becomes, 'guard_suspended', old_row, new_row);
    RETURN NULL;
  END IF;
  PERFORM reconciler.note(suspended_as.binding, key, 'guard', policy.reason, jsonb_build_object('backend', backend, 'attempted', policy.state),
                          old_row->>(about.columns->>'state'), policy.becomes, 'guard_suspended', old_row, new_row);
  RETURN changes;
END $$;
COMMENT ON FUNCTION reconciler.suspended_as(integer, text[], oid[], text[], text[]) IS
  'What a write that suspends a session writes instead, where no backend that its runtime may be in can pause: columns and their texts; NULL: it passes. Writes a guard or would_guard event. names, types, was, becomes: the row''s columns before and after.';

CREATE FUNCTION reconciler.guard_suspended() RETURNS trigger
  LANGUAGE c AS 'MODULE_PATHNAME', 'reconciler_sql_guard_suspended';
COMMENT ON FUNCTION reconciler.guard_suspended() IS
  'The trigger session_reconciler_suspend_guard of a sessions table: writes what reconciler.suspended_as() says of an UPDATE, lets our own pass. An error of the guard itself is a WARNING, and the write passes.';

-- As reconciler.set_guard() does it.
CREATE FUNCTION reconciler.set_suspend_guard(about reconciler.binding, wanted boolean) RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = about.sessions AND t.tgfoid = 'reconciler.guard_suspended()'::regprocedure AND t.tgparentid = 0) THEN
    EXECUTE format('DROP TRIGGER session_reconciler_suspend_guard ON %s', about.sessions);
  END IF;
  IF wanted THEN
    EXECUTE format('CREATE TRIGGER session_reconciler_suspend_guard BEFORE UPDATE ON %s FOR EACH ROW'
                   ' WHEN (NEW.%I::text = ''suspended'' AND OLD.%2$I IS DISTINCT FROM NEW.%2$I) EXECUTE FUNCTION reconciler.guard_suspended(%L)',
                   about.sessions, about.columns->>'state', about.binding_id);
    EXECUTE format('ALTER TRIGGER session_reconciler_suspend_guard ON %s DEPENDS ON EXTENSION session_reconciler', about.sessions);
    EXECUTE format('COMMENT ON TRIGGER session_reconciler_suspend_guard ON %s IS %L', about.sessions,
                   'What can''t be paused is not suspended: see guard_suspended in reconciler.binding.');
  END IF;
END $$;
COMMENT ON FUNCTION reconciler.set_suspend_guard(reconciler.binding, boolean) IS 'Makes the trigger of guard_suspended on an attached table anew, or takes it away.';

CREATE FUNCTION reconciler.suspend_guard_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  about reconciler.binding := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
  owner name;
BEGIN
  SELECT pg_get_userbyid(c.relowner) INTO owner FROM pg_class AS c WHERE c.oid = about.sessions;
  IF NOT FOUND THEN
    RETURN NULL;  -- a table that has vanished
  END IF;
  IF NOT pg_has_role(reconciler.acting_role(), owner, 'USAGE') THEN
    RAISE EXCEPTION 'must be owner of table %', about.sessions USING ERRCODE = 'insufficient_privilege',
      DETAIL = 'Its guard is a trigger on it.', HINT = format('Its owner is %I; a superuser may change the guard of any table.', owner);
  END IF;
  PERFORM reconciler.set_suspend_guard(about, TG_OP <> 'DELETE' AND about.guard_suspended);
  RETURN NULL;
END $$;
COMMENT ON FUNCTION reconciler.suspend_guard_changed() IS 'Makes, remakes or removes the trigger on the sessions table when guard_suspended or the columns are written. Error 42501: the table is somebody else''s.';
CREATE TRIGGER suspend_guarded AFTER UPDATE OF guard_suspended, columns ON reconciler.binding
  FOR EACH ROW WHEN (OLD.guard_suspended OR NEW.guard_suspended) EXECUTE FUNCTION reconciler.suspend_guard_changed();
CREATE TRIGGER suspend_guard_goes AFTER DELETE ON reconciler.binding
  FOR EACH ROW WHEN (OLD.guard_suspended) EXECUTE FUNCTION reconciler.suspend_guard_changed();

REVOKE ALL ON FUNCTION reconciler.suspended_as(integer, text[], oid[], text[], text[]), reconciler.guard_suspended(),
  reconciler.set_suspend_guard(reconciler.binding, boolean), reconciler.suspend_guard_changed()
  FROM PUBLIC;

CREATE FUNCTION resume_or_respawn(session_id text, sessions regclass DEFAULT NULL) RETURNS TABLE (outcome text, detail text)
  LANGUAGE c SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'reconciler_sql_resume_or_respawn';
REVOKE ALL ON FUNCTION resume_or_respawn(text, regclass) FROM PUBLIC;
COMMENT ON FUNCTION resume_or_respawn(text, regclass) IS
  'What a user who wants a session back is to be told, by the evidence on record. respawn_requested: its runtime is gone, in two looks, and given up at once: the row is written as its policy ends it, with an event respawn, so that the application starts a new one; so is it said to everybody who calls again. already_running: its runtime is there. refused: why is in detail. sessions: the attached table; NULL: the only one. Errors: unknown session (P0002), or a copy whose identity is not confirmed (55000).';

CREATE OR REPLACE FUNCTION reconciler.closing(about reconciler.binding, key text) RETURNS reconciler.event
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT moved FROM (
    SELECT e AS moved, e.to_state FROM reconciler.event AS e
      WHERE e.session_id = key AND (e.schema_name, e.table_name) = (about.schema_name, about.table_name)
        AND e.kind IN ('force', 'finalize', 'respawn', 'undo', 'late_report', 'guard', 'would_guard') AND e.to_state IS NOT NULL
      ORDER BY e.id DESC LIMIT 1) AS newest
    WHERE to_state = ANY (about.terminal_states)
$$;

INSERT INTO reconciler.hub_profile (name, definition, built_in) VALUES ('centaur', $profile${
  "description": "centaur's Python API, which knows of sessions alone. Asked about one whose runtime is gone it writes state gone into its row itself.",
  "authoritative": false,
  "idempotent": false,

  "ask_session": {
    "method": "GET", "path": "/agent/status?key={session_id}",
    "platform_resource_id": "/active_assignment/runtime_id",
    "answers": [
      {"status": 200, "where": {"/status": "running"}, "means": "running"},
      {"status": 200, "where": {"/status": "created"}, "means": "running"},
      {"status": 200, "where": {"/status": "suspended"}, "means": "suspended"},
      {"status": 200, "where": {"/status": "gone"}, "means": "gone"},
      {"status": 200, "where": {"/status": "stopped"}, "means": "unclear"},
      {"status": 200, "where": {"/status": "not_found"}, "means": "unclear"}
    ]
  }
}
$profile$, true) ON CONFLICT DO NOTHING;
