-- Imports alone look for an event by its id, and each index costs each push: the first import makes these ones.
DROP INDEX readside_events_by_id;
DROP INDEX readside_events_archive_by_id;
-- Why a process does not hear of pushes of other processes at once; NULL while it hears.
ALTER TABLE readside_members ADD COLUMN deaf TEXT;
