-- The launcher hears of the extension when CREATE EXTENSION commits, and has a worker look at this database.
SELECT reconciler.request_worker();
