-- How often rows of an instance were changed otherwise than by moving its checkpoint on: those who watch it read all anew.
ALTER TABLE readside_projection_states ADD COLUMN anew integer NOT NULL DEFAULT 0;
