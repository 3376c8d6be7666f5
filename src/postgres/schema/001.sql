CREATE SCHEMA IF NOT EXISTS readside;
CREATE TABLE readside.schema_migrations (
  version bigint PRIMARY KEY,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE readside.store (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  store_id uuid NOT NULL
);
CREATE TABLE readside.instances (
  instance_id text COLLATE "C" PRIMARY KEY,
  head bigint NOT NULL,
  head_event uuid,
  head_at timestamptz
) WITH (fillfactor = 50);
CREATE TABLE readside.heads (
  instance_id text COLLATE "C" NOT NULL,
  aggregate_type text COLLATE "C" NOT NULL,
  head bigint NOT NULL,
  PRIMARY KEY (instance_id, aggregate_type)
) WITH (fillfactor = 50);
CREATE INDEX heads_by_type ON readside.heads (aggregate_type, instance_id);
CREATE TABLE readside.events (
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
CREATE INDEX events_by_type ON readside.events (instance_id, aggregate_type, position);
CREATE INDEX events_by_push_key ON readside.events (instance_id, push_key, position) WHERE push_key IS NOT NULL;
CREATE TABLE readside.unique_constraints (
  instance_id text COLLATE "C" NOT NULL,
  constraint_type text COLLATE "C" NOT NULL,
  value text COLLATE "C" NOT NULL,
  PRIMARY KEY (instance_id, constraint_type, value)
);
CREATE TABLE readside.projections (
  name text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  definition text NOT NULL,
  live boolean NOT NULL,
  succeeded_at timestamptz,
  owner uuid,
  leased_until timestamptz,
  PRIMARY KEY (name, version)
);
CREATE TABLE readside.projection_tables (
  table_name text COLLATE "C" PRIMARY KEY,
  projection text COLLATE "C" NOT NULL
);
CREATE TABLE readside.projection_states (
  instance_id text COLLATE "C" NOT NULL,
  projection text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  position bigint NOT NULL DEFAULT 0,
  event uuid,
  store uuid,
  owner uuid,
  epoch bigint NOT NULL DEFAULT 0,
  leased_until timestamptz,
  held boolean NOT NULL DEFAULT false,
  careful boolean NOT NULL DEFAULT false,
  marked bigint,
  marked_epoch bigint,
  PRIMARY KEY (instance_id, projection, version)
) WITH (fillfactor = 50);
CREATE INDEX projection_states_by_owner ON readside.projection_states (owner) WHERE owner IS NOT NULL;
CREATE TABLE readside.members (
  process uuid PRIMARY KEY,
  name text NOT NULL,
  projections text NOT NULL,
  alive_until timestamptz NOT NULL
);
CREATE TABLE readside.pauses (
  projection text COLLATE "C" NOT NULL,
  instance_id text COLLATE "C" NOT NULL,
  whole boolean NOT NULL,
  PRIMARY KEY (projection, instance_id, whole)
);
CREATE TABLE readside.held_events (
  instance_id text COLLATE "C" NOT NULL,
  projection text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  position bigint NOT NULL,
  aggregate_type text COLLATE "C" NOT NULL,
  aggregate_id text COLLATE "C" NOT NULL,
  event_type text NOT NULL,
  state text NOT NULL,
  attempts bigint NOT NULL,
  class text NOT NULL,
  error text NOT NULL,
  first_at timestamptz NOT NULL,
  last_at timestamptz NOT NULL,
  due_at timestamptz NOT NULL,
  PRIMARY KEY (instance_id, projection, version, position)
);
CREATE INDEX held_events_by_aggregate
  ON readside.held_events (instance_id, projection, version, aggregate_id, position);
CREATE TABLE readside.interventions (
  intervention_id uuid PRIMARY KEY,
  projection text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  instance_id text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  action text NOT NULL,
  who text NOT NULL,
  why text NOT NULL,
  at timestamptz NOT NULL
);
