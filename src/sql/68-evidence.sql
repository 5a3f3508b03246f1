-- What others know of agents, sessions and their runtimes, where the database may not ask: they push it.

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
