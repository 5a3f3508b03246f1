-- From 0.3.0 to 0.4.0. What is new in tables stands at their end in the install script too: both ways lead to the same.
\echo Use "ALTER EXTENSION session_reconciler UPDATE" to load this file. \quit

-- A start of ours may arrive after the session has ended.
ALTER TABLE reconciler.episode ADD COLUMN start_sent timestamptz;
COMMENT ON COLUMN reconciler.episode.start_sent IS 'We sent a start, in this stay or one before: it may arrive after the session has ended, so its end owes a stop. NULL: no, or so is owed already.';
