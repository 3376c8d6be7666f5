-- Events that are imported keep their ids, each of which an instance has once.
CREATE INDEX readside_events_by_id ON readside_events (instance_id, event_id);
CREATE INDEX readside_events_archive_by_id ON readside_events_archive (instance_id, event_id);
