-- The command by which it was paused: who, when and why.
ALTER TABLE readside_pauses ADD COLUMN command BLOB;
