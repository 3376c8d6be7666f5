-- An id is looked for in all instances at once. The order of ids is that of time, so that a new one goes to the end.
DROP INDEX readside.events_by_id;
DROP INDEX readside.events_archive_by_id;
CREATE INDEX events_by_id ON readside.events (event_id);
CREATE INDEX events_archive_by_id ON readside.events_archive (event_id);
