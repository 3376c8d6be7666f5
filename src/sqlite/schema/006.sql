-- There are no schemas here: nothing is written into it.
ALTER TABLE readside_projections ADD COLUMN place TEXT;
