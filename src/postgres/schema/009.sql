-- An id is looked for in all instances at once. The order of ids is that of time, so that a new one goes to the end. The
-- indexes that they replace go last: dropping one keeps readers of the events away until the commit.
CREATE INDEX events_by_id_alone ON readside.events (event_id);
CREATE INDEX events_archive_by_id_alone ON readside.events_archive (event_id);

-- How often rows of an instance were changed otherwise than by moving its checkpoint on: those who watch it read all anew.
ALTER TABLE readside.projection_states ADD COLUMN anew bigint NOT NULL DEFAULT 0;

-- Which tables a build was made with: in which database of which cluster, the number of this table then, and of each of the
-- build's own, in one order. A restore of a part makes tables anew, under other numbers. Where nothing is on record, the next
-- set-up of the projection notes it.
ALTER TABLE readside.projections
  ADD COLUMN made_in text,
  ADD COLUMN made_beside bigint,
  ADD COLUMN made_schema text,
  ADD COLUMN made_tables text[],
  ADD COLUMN made_oids bigint[];
-- The database among all of all clusters; NULL where a server does not tell.
CREATE FUNCTION readside.database_id() RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (SELECT s.system_identifier::text || ' ' || d.oid::text
    FROM pg_catalog.pg_control_system() s, pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database());
EXCEPTION WHEN insufficient_privilege OR undefined_function THEN
  RETURN NULL;
END
$$;
GRANT EXECUTE ON FUNCTION readside.database_id() TO PUBLIC;

-- How many updates and deletes of this process met no row, for each build; NULL where it does not tell.
ALTER TABLE readside.members ADD COLUMN missed text;

-- Failures of one build come in pages, whatever others have.
CREATE INDEX held_events_by_build ON readside.held_events (projection, version, instance_id, position);

DROP INDEX readside.events_by_id;
DROP INDEX readside.events_archive_by_id;
ALTER INDEX readside.events_by_id_alone RENAME TO events_by_id;
ALTER INDEX readside.events_archive_by_id_alone RENAME TO events_archive_by_id;
