CREATE TABLE readside_schema_migrations (
  version INTEGER PRIMARY KEY,
  applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%S','now') || '.000000Z')
) STRICT;
CREATE TABLE readside_store (
  one INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
  store_id BLOB NOT NULL
) STRICT;
CREATE TABLE readside_instances (
  instance_id TEXT PRIMARY KEY,
  head INTEGER NOT NULL,
  head_event BLOB,
  head_at TEXT
) STRICT;
CREATE TABLE readside_heads (
  instance_id TEXT NOT NULL,
  aggregate_type TEXT NOT NULL,
  head INTEGER NOT NULL,
  PRIMARY KEY (instance_id, aggregate_type)
) STRICT;
CREATE INDEX readside_heads_by_type ON readside_heads (aggregate_type, instance_id);
CREATE TABLE readside_events (
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
CREATE INDEX readside_events_by_type ON readside_events (instance_id, aggregate_type, position);
CREATE INDEX readside_events_by_push_key ON readside_events (instance_id, push_key, position) WHERE push_key IS NOT NULL;
CREATE TABLE readside_unique_constraints (
  instance_id TEXT NOT NULL,
  constraint_type TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (instance_id, constraint_type, value)
) STRICT;
CREATE TABLE readside_projections (
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  definition TEXT NOT NULL,
  live INTEGER NOT NULL,
  succeeded_at TEXT,
  owner BLOB,
  leased_until TEXT,
  PRIMARY KEY (name, version)
) STRICT;
CREATE TABLE readside_projection_tables (
  table_name TEXT PRIMARY KEY,
  projection TEXT NOT NULL
) STRICT;
CREATE TABLE readside_projection_states (
  instance_id TEXT NOT NULL,
  projection TEXT NOT NULL,
  version INTEGER NOT NULL,
  position INTEGER NOT NULL DEFAULT 0,
  event BLOB,
  store BLOB,
  owner BLOB,
  epoch INTEGER NOT NULL DEFAULT 0,
  leased_until TEXT,
  held INTEGER NOT NULL DEFAULT 0,
  careful INTEGER NOT NULL DEFAULT 0,
  marked INTEGER,
  marked_epoch INTEGER,
  PRIMARY KEY (instance_id, projection, version)
) STRICT;
CREATE INDEX readside_projection_states_by_owner ON readside_projection_states (owner) WHERE owner IS NOT NULL;
CREATE TABLE readside_members (
  process BLOB PRIMARY KEY,
  name TEXT NOT NULL,
  projections TEXT NOT NULL,
  alive_until TEXT NOT NULL
) STRICT;
CREATE TABLE readside_pauses (
  projection TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  whole INTEGER NOT NULL,
  PRIMARY KEY (projection, instance_id, whole)
) STRICT;
CREATE TABLE readside_held_events (
  instance_id TEXT NOT NULL,
  projection TEXT NOT NULL,
  version INTEGER NOT NULL,
  position INTEGER NOT NULL,
  aggregate_type TEXT NOT NULL,
  aggregate_id TEXT NOT NULL,
  event_type TEXT NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  class TEXT NOT NULL,
  error TEXT NOT NULL,
  first_at TEXT NOT NULL,
  last_at TEXT NOT NULL,
  due_at TEXT NOT NULL,
  PRIMARY KEY (instance_id, projection, version, position)
) STRICT;
CREATE INDEX readside_held_events_by_aggregate
  ON readside_held_events (instance_id, projection, version, aggregate_id, position);
CREATE TABLE readside_interventions (
  intervention_id BLOB PRIMARY KEY,
  projection TEXT NOT NULL,
  version INTEGER NOT NULL,
  instance_id TEXT NOT NULL,
  position INTEGER NOT NULL,
  action TEXT NOT NULL,
  who TEXT NOT NULL,
  why TEXT NOT NULL,
  at TEXT NOT NULL
) STRICT;
