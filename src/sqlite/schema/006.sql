-- Failures: whatever ids an event has, the index has room for their beginnings.
DROP INDEX readside_held_events_by_aggregate;
CREATE INDEX readside_held_events_by_aggregate
  ON readside_held_events (projection, version, substr(instance_id, 1, 100), substr(aggregate_id, 1, 100), position);
