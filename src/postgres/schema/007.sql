-- Who empties the states at a blow sets back all of them.
CREATE FUNCTION readside.note_truncation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE readside.projections SET setbacks = pg_current_xact_id()::text::bigint;
  RETURN NULL;
END
$$;
CREATE TRIGGER states_truncated AFTER TRUNCATE ON readside.projection_states
  FOR EACH STATEMENT EXECUTE FUNCTION readside.note_truncation();
