-- From 0.3.0 to 0.4.0. What is new in tables stands at their end in the install script too: both ways lead to the same.
\echo Use "ALTER EXTENSION session_reconciler UPDATE" to load this file. \quit

COMMENT ON COLUMN reconciler.binding.related IS 'Related tables and their columns: agents, commands, audit, connections.';
