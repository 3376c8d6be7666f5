-- Each transaction that sets a state back leaves its number at the projection: whoever saw another one looks at all states.
ALTER TABLE readside.projections ADD COLUMN setbacks bigint NOT NULL DEFAULT 0;
CREATE FUNCTION readside.note_setback() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE readside.projections SET setbacks = pg_current_xact_id()::text::bigint
    WHERE name = OLD.projection AND version = OLD.version AND setbacks <> pg_current_xact_id()::text::bigint;
  RETURN NULL;
END
$$;
CREATE TRIGGER state_moved_back AFTER UPDATE OF instance_id, projection, version, position ON readside.projection_states
  FOR EACH ROW WHEN (NEW.position < OLD.position OR NEW.projection <> OLD.projection OR NEW.version <> OLD.version
    OR NEW.instance_id <> OLD.instance_id) EXECUTE FUNCTION readside.note_setback();
CREATE TRIGGER state_deleted AFTER DELETE ON readside.projection_states
  FOR EACH ROW EXECUTE FUNCTION readside.note_setback();
