-- An id is looked for in all instances at once. The order of ids is that of time, so that a new one goes to the end.
DROP INDEX readside_events_by_id;
DROP INDEX readside_events_archive_by_id;
CREATE INDEX readside_events_by_id ON readside_events (event_id);
CREATE INDEX readside_events_archive_by_id ON readside_events_archive (event_id);

-- A file is restored as a whole: nothing says which tables a build was made with.

-- How often rows of an instance were changed otherwise than by moving its checkpoint on: those who watch it read all anew.
ALTER TABLE readside_projection_states ADD COLUMN anew integer NOT NULL DEFAULT 0;

-- How many updates and deletes of this process met no row, for each build; NULL where it does not tell.
ALTER TABLE readside_members ADD COLUMN missed TEXT;
