-- Nothing changes here: a role that pushes may make no index, so that those of ids stay.
-- Why a process does not hear of pushes of other processes at once; NULL while it hears.
ALTER TABLE readside.members ADD COLUMN deaf text;
