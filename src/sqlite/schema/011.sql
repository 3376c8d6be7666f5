-- Only imports look for an event by its id, and each push pays for an index. So the first import makes these two.
DROP INDEX IF EXISTS readside_events_by_id;
DROP INDEX IF EXISTS readside_events_archive_by_id;
-- Why a process does not hear of pushes of other processes at once; NULL while it hears.
ALTER TABLE readside_members ADD COLUMN deaf TEXT;
-- Each transaction on an instance that holds events asks which of them holds the whole instance up. Few do.
CREATE INDEX readside_held_events_blocking ON readside_held_events (projection, version, instance_id)
  WHERE state IN ('failing', 'stopped');
-- Since when a process is on record, and when it announced itself last, both by its own clock.
ALTER TABLE readside_members ADD COLUMN since TEXT;
ALTER TABLE readside_members ADD COLUMN announced_at TEXT;
