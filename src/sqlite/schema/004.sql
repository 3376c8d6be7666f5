ALTER TABLE readside_instances ADD COLUMN archived INTEGER NOT NULL DEFAULT 0;
ALTER TABLE readside_instances ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE readside_instances ADD COLUMN closed_at TEXT;
CREATE TABLE readside_events_archive (
  instance_id TEXT NOT NULL,
  position INTEGER NOT NULL,
  event_id BLOB NOT NULL,
  aggregate_type TEXT NOT NULL,
  aggregate_id TEXT NOT NULL,
  version INTEGER NOT NULL,
  event_type TEXT NOT NULL,
  revision INTEGER NOT NULL,
  created_at TEXT NOT NULL,
  creator TEXT NOT NULL,
  owner TEXT NOT NULL,
  payload TEXT NOT NULL,
  metadata TEXT NOT NULL,
  push_key TEXT,
  PRIMARY KEY (instance_id, position),
  UNIQUE (instance_id, aggregate_type, aggregate_id, version)
) STRICT;
CREATE INDEX readside_events_archive_by_type ON readside_events_archive (instance_id, aggregate_type, position);
CREATE INDEX readside_events_archive_by_push_key
  ON readside_events_archive (instance_id, push_key, position) WHERE push_key IS NOT NULL;
CREATE VIEW readside_all_events AS
  SELECT instance_id, position, event_id, aggregate_type, aggregate_id, version, event_type, revision, created_at,
    creator, owner, payload, metadata, push_key FROM readside_events
  UNION ALL
  SELECT instance_id, position, event_id, aggregate_type, aggregate_id, version, event_type, revision, created_at,
    creator, owner, payload, metadata, push_key FROM readside_events_archive;
CREATE TABLE readside_operations (
  operation_id BLOB PRIMARY KEY,
  kind TEXT NOT NULL,
  instance_id TEXT,
  subject TEXT NOT NULL,
  who TEXT NOT NULL,
  why TEXT NOT NULL,
  began_at TEXT NOT NULL,
  ended_at TEXT,
  touched TEXT NOT NULL
) STRICT;
