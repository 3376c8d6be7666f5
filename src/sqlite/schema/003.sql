ALTER TABLE readside_projections ADD COLUMN phase TEXT NOT NULL DEFAULT 'building';
ALTER TABLE readside_projections ADD COLUMN trouble TEXT;
ALTER TABLE readside_projections ADD COLUMN resets INTEGER NOT NULL DEFAULT 0;
ALTER TABLE readside_projections ADD COLUMN command BLOB;
UPDATE readside_projections AS p SET phase = CASE
  WHEN p.live THEN 'live'
  WHEN EXISTS (SELECT 1 FROM readside_projections l WHERE l.name = p.name AND l.live AND l.version > p.version) THEN 'kept'
  ELSE 'building' END;
CREATE TABLE readside_commands (
  command_id BLOB PRIMARY KEY,
  kind TEXT NOT NULL,
  projection TEXT NOT NULL,
  version INTEGER,
  instruction TEXT NOT NULL,
  state TEXT NOT NULL,
  who TEXT NOT NULL,
  why TEXT NOT NULL,
  asked_at TEXT NOT NULL,
  exclusive TEXT UNIQUE,
  owner BLOB,
  taken_at TEXT,
  kept_until TEXT,
  progress TEXT,
  answered_at TEXT,
  answer TEXT
) STRICT;
CREATE INDEX readside_commands_open ON readside_commands (state, projection) WHERE state IN ('asked', 'taken');
CREATE INDEX readside_commands_by_projection ON readside_commands (projection, command_id);
