-- Variant B: on top of streamspace_a.sql, the files that some operators pipe through psql by hand.
ALTER TABLE sessions ADD CONSTRAINT fk_sessions_agent_id FOREIGN KEY (agent_id) REFERENCES agents(agent_id) ON DELETE SET NULL;
CREATE INDEX idx_sessions_agent_state ON sessions (agent_id, state);

ALTER TABLE agent_commands ADD COLUMN updated_at timestamp DEFAULT CURRENT_TIMESTAMP;
-- Overrides whatever a statement sets, as StreamSpace's own does.
CREATE FUNCTION update_agent_commands_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at := CURRENT_TIMESTAMP;
  RETURN NEW;
END $$;
CREATE TRIGGER agent_commands_updated_at_trigger BEFORE UPDATE ON agent_commands
  FOR EACH ROW EXECUTE FUNCTION update_agent_commands_updated_at();

ALTER TABLE sessions ADD COLUMN termination_reason varchar(255), ADD COLUMN terminated_at timestamp;
CREATE INDEX idx_sessions_terminated_at ON sessions (terminated_at);
CREATE INDEX idx_sessions_termination_reason ON sessions (termination_reason);
