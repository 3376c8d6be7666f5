-- Statements that both databases share name it. Nothing is on record here, as a file is restored as a whole.
ALTER TABLE readside_projections ADD COLUMN made_for BLOB;
