-- The command of the build whose tables are on record. An earlier release that switches within a version exchanges the
-- commands and leaves the records. Then this command differs from the build's, and the record is of the other build.
ALTER TABLE readside.projections ADD COLUMN made_for uuid;
UPDATE readside.projections SET made_for = command;
