-- What a migration of the next version may be: it only adds.
ALTER TABLE sites ADD COLUMN note text NOT NULL DEFAULT '';
ALTER TABLE live_data ADD COLUMN quality smallint;
CREATE TABLE site_notes (site_id bigint REFERENCES sites ON DELETE CASCADE, note text);
