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
