-- How often rows of an instance were changed otherwise than by moving its checkpoint on: those who watch it read all anew.
ALTER TABLE readside.projection_states ADD COLUMN anew bigint NOT NULL DEFAULT 0;
