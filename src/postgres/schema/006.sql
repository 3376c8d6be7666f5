-- The schema of tables whose code names none: that of the session that made them. Every statement names it from then on.
ALTER TABLE readside.projections ADD COLUMN place text;
