-- Events that are imported keep their ids, each of which an instance has once.
CREATE INDEX events_by_id ON readside.events (instance_id, event_id);
CREATE INDEX events_archive_by_id ON readside.events_archive (instance_id, event_id);
