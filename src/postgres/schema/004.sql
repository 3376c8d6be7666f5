ALTER TABLE readside.instances
  ADD COLUMN archived bigint NOT NULL DEFAULT 0,
  ADD COLUMN removed bigint NOT NULL DEFAULT 0,
  ADD COLUMN closed_at timestamptz;
CREATE TABLE readside.events_archive (
  instance_id text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  event_id uuid NOT NULL,
  aggregate_type text COLLATE "C" NOT NULL,
  aggregate_id text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  event_type text COLLATE "C" NOT NULL,
  revision bigint NOT NULL,
  created_at timestamptz NOT NULL,
  creator text NOT NULL,
  owner text NOT NULL,
  payload text NOT NULL,
  metadata text NOT NULL,
  push_key text COLLATE "C",
  PRIMARY KEY (instance_id, position),
  UNIQUE (instance_id, aggregate_type, aggregate_id, version)
);
CREATE INDEX events_archive_by_type ON readside.events_archive (instance_id, aggregate_type, position);
CREATE INDEX events_archive_by_push_key
  ON readside.events_archive (instance_id, push_key, position) WHERE push_key IS NOT NULL;
CREATE VIEW readside.all_events AS
  SELECT instance_id, position, event_id, aggregate_type, aggregate_id, version, event_type, revision, created_at,
    creator, owner, payload, metadata, push_key FROM readside.events
  UNION ALL
  SELECT instance_id, position, event_id, aggregate_type, aggregate_id, version, event_type, revision, created_at,
    creator, owner, payload, metadata, push_key FROM readside.events_archive;
CREATE TABLE readside.operations (
  operation_id uuid PRIMARY KEY,
  kind text NOT NULL,
  instance_id text COLLATE "C",
  subject text NOT NULL,
  who text NOT NULL,
  why text NOT NULL,
  began_at timestamptz NOT NULL,
  ended_at timestamptz,
  touched text NOT NULL
);
