-- Failures of one build come in pages, whatever others have.
CREATE INDEX readside_held_events_by_build ON readside_held_events (projection, version, instance_id, position);
