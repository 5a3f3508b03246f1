-- StreamSpace's tables as its API makes them at every start: variant A. The tables that matter here, with their
-- indexes; into the first schema of the search_path. Later on go the loose files, by hand: streamspace_b.sql.
CREATE TABLE organizations (id varchar(255) PRIMARY KEY, name varchar(255) NOT NULL UNIQUE, display_name varchar(255) NOT NULL,
  description text, k8s_namespace varchar(255) NOT NULL DEFAULT 'streamspace', status varchar(50) DEFAULT 'active',
  created_at timestamp DEFAULT CURRENT_TIMESTAMP, updated_at timestamp DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE users (id varchar(255) PRIMARY KEY, username varchar(255) NOT NULL UNIQUE, email varchar(255) NOT NULL UNIQUE,
  full_name varchar(255), role varchar(50) DEFAULT 'user', provider varchar(50) DEFAULT 'local', active boolean DEFAULT true,
  password_hash varchar(255), created_at timestamp DEFAULT CURRENT_TIMESTAMP, updated_at timestamp DEFAULT CURRENT_TIMESTAMP,
  last_login timestamp, org_id varchar(255) REFERENCES organizations(id) ON DELETE SET NULL);
CREATE TABLE groups (id varchar(255) PRIMARY KEY, name varchar(255) NOT NULL UNIQUE, display_name varchar(255), description text,
  type varchar(50) DEFAULT 'team', parent_id varchar(255) REFERENCES groups(id) ON DELETE CASCADE,
  created_at timestamp DEFAULT CURRENT_TIMESTAMP, updated_at timestamp DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE agents (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), agent_id varchar(255) NOT NULL UNIQUE, platform varchar(50) NOT NULL,
  region varchar(100), status varchar(50) DEFAULT 'offline', capacity jsonb, last_heartbeat timestamp, websocket_id varchar(255),
  metadata jsonb, created_at timestamp DEFAULT CURRENT_TIMESTAMP, updated_at timestamp DEFAULT CURRENT_TIMESTAMP,
  cluster_id varchar(255), cluster_name varchar(255), api_key_hash varchar(255), api_key_created_at timestamp,
  api_key_last_used_at timestamp, org_id varchar(255) REFERENCES organizations(id) ON DELETE CASCADE,
  approval_status varchar(20) DEFAULT 'approved', approved_at timestamp, approved_by varchar(255));
CREATE TABLE agent_commands (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), command_id varchar(255) NOT NULL UNIQUE,
  agent_id varchar(255) REFERENCES agents(agent_id) ON DELETE CASCADE, session_id varchar(255), action varchar(50) NOT NULL,
  payload jsonb, status varchar(50) DEFAULT 'pending', error_message text, created_at timestamp DEFAULT CURRENT_TIMESTAMP,
  sent_at timestamp, acknowledged_at timestamp, completed_at timestamp);
CREATE TABLE sessions (id varchar(255) PRIMARY KEY, user_id varchar(255) REFERENCES users(id) ON DELETE CASCADE,
  team_id varchar(255) REFERENCES groups(id) ON DELETE SET NULL, template_name varchar(255), state varchar(50),
  app_type varchar(50) DEFAULT 'desktop', active_connections integer DEFAULT 0, url text, namespace varchar(255) DEFAULT 'streamspace',
  created_at timestamp DEFAULT CURRENT_TIMESTAMP, last_connection timestamp, last_disconnect timestamp,
  updated_at timestamp DEFAULT CURRENT_TIMESTAMP, snapshot_config jsonb DEFAULT '{}', platform varchar(50) DEFAULT 'kubernetes',
  controller_id varchar(255), pod_name varchar(255), memory varchar(50), cpu varchar(50), persistent_home boolean DEFAULT false,
  idle_timeout varchar(50), max_session_duration varchar(50), last_activity timestamp,
  agent_id varchar(255) REFERENCES agents(agent_id), platform_metadata jsonb, cluster_id varchar(255), tags text[],
  org_id varchar(255) REFERENCES organizations(id) ON DELETE CASCADE, streaming_protocol varchar(50) DEFAULT 'vnc',
  streaming_port integer DEFAULT 5900, streaming_path varchar(255));
CREATE TABLE connections (id varchar(255) PRIMARY KEY, session_id varchar(255) REFERENCES sessions(id) ON DELETE CASCADE,
  user_id varchar(255) REFERENCES users(id) ON DELETE CASCADE, client_ip varchar(45), user_agent text,
  connected_at timestamp DEFAULT CURRENT_TIMESTAMP, last_heartbeat timestamp DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE audit_log (id serial PRIMARY KEY, user_id varchar(255), action varchar(100), resource_type varchar(100),
  resource_id varchar(255), changes jsonb, "timestamp" timestamp DEFAULT CURRENT_TIMESTAMP, ip_address varchar(45),
  org_id varchar(255) REFERENCES organizations(id) ON DELETE CASCADE);

CREATE INDEX idx_sessions_user_id ON sessions (user_id);
CREATE INDEX idx_sessions_team_id ON sessions (team_id);
CREATE INDEX idx_sessions_state ON sessions (state);
CREATE INDEX idx_sessions_user_state ON sessions (user_id, state);
CREATE INDEX idx_sessions_agent_id ON sessions (agent_id);
CREATE INDEX idx_sessions_last_activity ON sessions (last_activity);
CREATE INDEX idx_sessions_tags ON sessions USING gin (tags);
CREATE INDEX idx_agents_status ON agents (status);
CREATE INDEX idx_agents_last_heartbeat ON agents (last_heartbeat);
CREATE INDEX idx_agent_commands_agent_id ON agent_commands (agent_id);
CREATE INDEX idx_agent_commands_session_id ON agent_commands (session_id);
CREATE INDEX idx_agent_commands_status ON agent_commands (status);
CREATE INDEX idx_agent_commands_created_at ON agent_commands (created_at);
CREATE INDEX idx_audit_log_timestamp ON audit_log ("timestamp" DESC);
