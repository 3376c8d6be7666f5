-- Standstills: when a checkpoint moved last and a lease began, and what each process says why something does not move.
ALTER TABLE readside.projection_states ADD COLUMN moved_at timestamptz, ADD COLUMN leased_at timestamptz;
CREATE TABLE readside.standstills (
  projection text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  process uuid NOT NULL,
  subject text COLLATE "C" NOT NULL,
  instance_id text COLLATE "C" NOT NULL,
  kind text NOT NULL,
  reason text NOT NULL,
  since timestamptz NOT NULL,
  PRIMARY KEY (projection, version, process, subject, instance_id)
);
-- Failures: whatever ids an event has, the index has room for their beginnings.
DROP INDEX readside.held_events_by_aggregate;
CREATE INDEX held_events_by_aggregate
  ON readside.held_events (projection, version, substr(instance_id, 1, 100), substr(aggregate_id, 1, 100), position);
-- The schema of tables whose code names none: that of the session that made them. Every statement names it.
ALTER TABLE readside.projections ADD COLUMN place text;
