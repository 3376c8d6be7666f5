-- The command by which it was paused: who, when and why.
ALTER TABLE readside.pauses ADD COLUMN command uuid;
