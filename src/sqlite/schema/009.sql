-- How many updates and deletes of this process met no row, for each build; NULL where it does not tell.
ALTER TABLE readside_members ADD COLUMN missed TEXT;
