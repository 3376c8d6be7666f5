-- Failures of one build come in pages, whatever others have.
CREATE INDEX held_events_by_build ON readside.held_events (projection, version, instance_id, position);
