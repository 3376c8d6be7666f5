-- Only imports look for an event by its id, and each push pays for an index. So the first import makes these two. The
-- function lets a role do so that does not own the tables. The lock makes imports that begin at once wait in line.
DROP INDEX IF EXISTS readside.events_by_id;
DROP INDEX IF EXISTS readside.events_archive_by_id;
CREATE FUNCTION readside.index_ids() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  LOCK TABLE readside.events, readside.events_archive IN SHARE ROW EXCLUSIVE MODE;
  CREATE INDEX IF NOT EXISTS events_by_id ON readside.events (event_id);
  CREATE INDEX IF NOT EXISTS events_archive_by_id ON readside.events_archive (event_id);
END
$$;
GRANT EXECUTE ON FUNCTION readside.index_ids() TO PUBLIC;

-- Why a process does not hear of pushes of other processes at once; NULL while it hears.
ALTER TABLE readside.members ADD COLUMN deaf text;
-- Each transaction on an instance that holds events asks which of them holds the whole instance up. Few do.
CREATE INDEX held_events_blocking ON readside.held_events (projection, version, instance_id)
  WHERE state IN ('failing', 'stopped');
-- Since when a process is on record, and when it announced itself last.
ALTER TABLE readside.members ADD COLUMN since timestamptz;
ALTER TABLE readside.members ADD COLUMN announced_at timestamptz;
