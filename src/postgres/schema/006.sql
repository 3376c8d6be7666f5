-- Standstills: when a checkpoint moved last and a lease began, and what each process says why something does not move.
ALTER TABLE readside.projection_states ADD COLUMN moved_at timestamptz, ADD COLUMN leased_at timestamptz;
CREATE TABLE readside.standstills (
  projection text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  process uuid NOT NULL,
  subject text COLLATE "C" NOT NULL,
  instance_id text COLLATE "C" NOT NULL,
  kind text NOT NULL,
  reason text NOT NULL,
  since timestamptz NOT NULL,
  PRIMARY KEY (projection, version, process, subject, instance_id)
);
