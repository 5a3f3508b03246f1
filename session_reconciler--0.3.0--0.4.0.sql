-- From 0.3.0 to 0.4.0. What is new in tables stands at their end in the install script too: both ways lead to the same.
\echo Use "ALTER EXTENSION session_reconciler UPDATE" to load this file. \quit

CREATE OR REPLACE FUNCTION reconciler.check_terminal_states() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  clash record;
  edited text := to_jsonb(NEW)->>'state';  -- NULL: the binding's row. Only what is edited is judged:
  before text[] := ARRAY(SELECT o.value FROM jsonb_each_text(to_jsonb(OLD)) AS o WHERE to_jsonb(OLD)->>'enabled' = 'true' AND o.key IN ('state', 'becomes', 'completed_becomes') AND o.value IS NOT NULL);
BEGIN
  -- A state that the column's type does not have would end every pass with an error.
  SELECT s.state, format_type(l.type, NULL) AS type, array_to_string(l.labels, ', ') AS known INTO clash
    FROM reconciler.binding AS b,
         LATERAL (SELECT e.enumtypid AS type, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) AS labels
                    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
                    JOIN pg_enum AS e ON e.enumtypid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
                    WHERE a.attrelid = b.sessions AND a.attname = b.columns->>'state' GROUP BY e.enumtypid) AS l,
         LATERAL (SELECT unnest(CASE WHEN p.enabled THEN ARRAY[p.state, p.becomes, p.completed_becomes] ELSE ARRAY[p.state] END)
                    FROM reconciler.policy AS p WHERE p.binding_id = b.binding_id AND p.state = edited) AS s(state)
    WHERE b.binding_id = NEW.binding_id AND s.state <> ALL (l.labels) AND s.state <> ALL (before)
    ORDER BY s.state LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION '"%" is no label of type %', clash.state, clash.type USING ERRCODE = 'check_violation',
      DETAIL = format('Its labels: %s.', clash.known), HINT = format('Name one of them, or: ALTER TYPE %s ADD VALUE %L.', clash.type, clash.state);
  END IF;
  SELECT p.state, p.becomes, p.state = ANY (b.terminal_states) AS ended,
         format('Terminal states of %I.%I: %s.', b.schema_name, b.table_name, array_to_string(b.terminal_states, ', ')) AS known INTO clash
    FROM reconciler.binding AS b JOIN reconciler.policy AS p USING (binding_id)
    WHERE b.binding_id = NEW.binding_id AND (edited IS NULL OR p.state = edited) AND (p.state = ANY (b.terminal_states) OR (p.enabled AND p.becomes <> ALL (b.terminal_states)))
    ORDER BY p.state LIMIT 1;
  IF FOUND AND clash.ended THEN
    RAISE EXCEPTION 'state "%" is terminal and can''t have a policy', clash.state USING ERRCODE = 'check_violation',
      DETAIL = clash.known, HINT = 'Delete the policy, or take the state out of terminal_states in reconciler.binding.';
  ELSIF FOUND THEN
    RAISE EXCEPTION 'the policy of state "%" would write "%", in which no session has ended', clash.state, clash.becomes USING ERRCODE = 'check_violation',
      DETAIL = clash.known, HINT = 'Let becomes be one of them, or add the state to terminal_states in reconciler.binding first.';
  END IF;
  RETURN NULL;
END $$;

