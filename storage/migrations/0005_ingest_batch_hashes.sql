-- The hashes of the last batches of an ingest session, by which a repeated batch is told from another
-- one with the same sequence number. A server of an older version leaves both columns as they are; so
-- batches that it committed have no hash, and a repeat of one of the last 64 is not compared.
ALTER TABLE ingest_sessions
  -- The batch to which the first hash belongs.
  ADD COLUMN hashed_sequence bigint NOT NULL DEFAULT 0,
  -- Of 16 bytes each, at most 64, newest first. Zero bytes stand for a batch of an older version.
  ADD COLUMN batch_hashes bytea NOT NULL DEFAULT '';
