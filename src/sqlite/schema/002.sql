-- Counts at the projection how often a state was set back: whoever saw another number looks at all states.
ALTER TABLE readside_projections ADD COLUMN setbacks INTEGER NOT NULL DEFAULT 0;
CREATE TRIGGER readside_state_moved_back AFTER UPDATE OF instance_id, projection, version, position
  ON readside_projection_states WHEN NEW.position < OLD.position OR NEW.projection <> OLD.projection
    OR NEW.version <> OLD.version OR NEW.instance_id <> OLD.instance_id BEGIN
    UPDATE readside_projections SET setbacks = setbacks + 1 WHERE name = OLD.projection AND version = OLD.version;
  END;
CREATE TRIGGER readside_state_deleted AFTER DELETE ON readside_projection_states
  BEGIN
    UPDATE readside_projections SET setbacks = setbacks + 1 WHERE name = OLD.projection AND version = OLD.version;
  END;
