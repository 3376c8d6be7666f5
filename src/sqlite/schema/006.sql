-- Standstills: when a checkpoint moved last and a lease began, and what each process says why something does not move.
ALTER TABLE readside_projection_states ADD COLUMN moved_at TEXT;
ALTER TABLE readside_projection_states ADD COLUMN leased_at TEXT;
CREATE TABLE readside_standstills (
  projection TEXT NOT NULL,
  version INTEGER NOT NULL,
  process BLOB NOT NULL,
  subject TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  reason TEXT NOT NULL,
  since TEXT NOT NULL,
  PRIMARY KEY (projection, version, process, subject, instance_id)
) STRICT;
-- Failures: whatever ids an event has, the index has room for their beginnings.
DROP INDEX readside_held_events_by_aggregate;
CREATE INDEX readside_held_events_by_aggregate
  ON readside_held_events (projection, version, substr(instance_id, 1, 100), substr(aggregate_id, 1, 100), position);
-- There are no schemas here: nothing is written into it.
ALTER TABLE readside_projections ADD COLUMN place TEXT;
