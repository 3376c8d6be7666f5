-- Failures: whatever ids an event has, the index has room for their beginnings.
DROP INDEX readside.held_events_by_aggregate;
CREATE INDEX held_events_by_aggregate
  ON readside.held_events (projection, version, substr(instance_id, 1, 100), substr(aggregate_id, 1, 100), position);
