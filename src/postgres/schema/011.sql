-- The indexes of event ids stay, unlike in SQLite: a role that imports may make none.

-- Why a process does not hear of pushes of other processes at once; NULL while it hears.
ALTER TABLE readside.members ADD COLUMN deaf text;
-- Each transaction on an instance that holds events asks which of them holds the whole instance up. Few do.
CREATE INDEX held_events_blocking ON readside.held_events (projection, version, instance_id)
  WHERE state IN ('failing', 'stopped');
-- Since when a process is on record, and when it announced itself last.
ALTER TABLE readside.members ADD COLUMN since timestamptz;
ALTER TABLE readside.members ADD COLUMN announced_at timestamptz;
