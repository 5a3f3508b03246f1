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
