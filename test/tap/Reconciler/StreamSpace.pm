# StreamSpace for a test: its tables in a database of their own, its API played by the test hub, and what a user does.
# The tables are in test/schema; A is what the API makes by itself, B with the loose migration files applied.
package Reconciler::StreamSpace;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use Reconciler;

our @EXPORT = qw(start_platform);

# start_platform($r, 'a', hub => [options], attach => {options}): a hub with a token on tables that are attached in
# enforce. Returns the hub; $r then works in the database.
sub start_platform
{
	my ($r, $variant, %how) = @_;
	my $database = "streamspace_$variant";
	$r->do("CREATE DATABASE $database");
	for my $file ($variant eq 'b' ? ('a', 'b') : 'a')
	{
		$r->node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $database, '-f', "test/schema/streamspace_$file.sql" ],
			"StreamSpace's tables, streamspace_$file.sql");
	}
	$r->use_database($database);
	$r->do("INSERT INTO organizations (id, name, display_name) VALUES ('default-org', 'default', 'Default Organization')");
	$r->do("INSERT INTO users (id, username, email, org_id) VALUES ('admin', 'admin', 'admin\@example.com', 'default-org')");
	my $hub = $r->hub("api_$variant", '--profile', 'streamspace', '--database',
		sprintf('host=%s port=%s dbname=%s', $r->node->host, $r->node->port, $database),
		'--token', 'a-secret-token', '--stale-seconds', '0', @{ $how{hub} // [] });
	$hub->{heartbeats_in_table} = 1;
	$r->give_tokens($hub);
	$r->do('CREATE EXTENSION session_reconciler');
	$r->set_hub('api', $hub->url, 'streamspace');
	$r->attach('sessions', 'streamspace', { mode => 'enforce', %{ $how{attach} // {} } });
	$r->wait_for_worker if $r->one("SELECT current_setting('shared_preload_libraries') ~ 'session_reconciler'");
	return bless { r => $r, hub => $hub }, 'Reconciler::StreamSpace';
}

sub hub { return $_[0]{hub} }

# An agent that is connected and, which comes a moment later, has its row
sub agent
{
	my ($self, $id, @options) = @_;
	my $agent = $self->hub->agent($id, @options);
	$self->{r}->wait_for("SELECT status = 'online' FROM agents WHERE agent_id = ?", $id);
	return $agent;
}

# A user opens a session: its row, then a start that the agent runs and reports.
sub create_session
{
	my ($self, $id, $agent) = @_;
	my $r = $self->{r};
	$r->do("INSERT INTO sessions (id, user_id, template_name, state, agent_id, org_id, created_at, updated_at)"
		  . " VALUES (?, 'admin', 'firefox', 'pending', ?, 'default-org', " . $self->now . ', ' . $self->now . ')', $id, $agent);
	$self->command($agent, 'start_session', $id);
	$r->wait_for("SELECT state = 'running' FROM sessions WHERE id = ?", $id);
	return;
}

# A user deletes it: the row, then the stop. `lost`: the stop never leaves the API.
sub delete_session
{
	my ($self, $id, %how) = @_;
	my $r = $self->{r};
	$r->do("UPDATE sessions SET state = 'terminating', updated_at = " . $self->now . ' WHERE id = ?', $id);
	my $agent = $r->one('SELECT agent_id FROM sessions WHERE id = ?', $id);
	return $self->command($agent, 'stop_session', $id) unless $how{lost};
	$r->do("INSERT INTO agent_commands (command_id, agent_id, session_id, action, payload, status, created_at)"
		  . " VALUES ('cmd-lost-' || ?, ?, ?, 'stop_session', jsonb_build_object('sessionId', ?::text), 'pending', " . $self->now . ')',
		$id, $agent, $id, $id);
	return;
}

sub command
{
	my ($self, $agent, $action, $id) = @_;
	my ($status) = $self->hub->request('POST', "/api/v1/admin/agents/$agent/command",
		{ action => $action, sessionId => $id, payload => { sessionId => $id } });
	die "$action: $status" if $status != 201;
	return;
}

# The API's clock, in UTC and without a zone
sub now { my ($self) = @_; return '(' . $self->{r}->now . " AT TIME ZONE 'UTC')" }

sub state_of { my ($self, $id) = @_; return $self->{r}->one('SELECT state FROM sessions WHERE id = ?', $id) }

1;
