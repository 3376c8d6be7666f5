ALTER TABLE readside.projections
  ADD COLUMN phase text NOT NULL DEFAULT 'building',
  ADD COLUMN trouble text,
  ADD COLUMN resets bigint NOT NULL DEFAULT 0,
  ADD COLUMN command uuid;
UPDATE readside.projections p SET phase = CASE
  WHEN p.live THEN 'live'
  WHEN EXISTS (SELECT 1 FROM readside.projections l WHERE l.name = p.name AND l.live AND l.version > p.version) THEN 'kept'
  ELSE 'building' END;
CREATE TABLE readside.commands (
  command_id uuid PRIMARY KEY,
  kind text NOT NULL,
  projection text COLLATE "C" NOT NULL,
  version bigint,
  instruction text NOT NULL,
  state text NOT NULL,
  who text NOT NULL,
  why text NOT NULL,
  asked_at timestamptz NOT NULL,
  exclusive text COLLATE "C" UNIQUE,
  owner uuid,
  taken_at timestamptz,
  kept_until timestamptz,
  progress text,
  answered_at timestamptz,
  answer text
);
CREATE INDEX commands_open ON readside.commands (state, projection) WHERE state IN ('asked', 'taken');
CREATE INDEX commands_by_projection ON readside.commands (projection, command_id);
