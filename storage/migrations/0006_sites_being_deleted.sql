-- Serves maintenance, which finishes deletions that nobody goes on with, and the calls that leave
-- out what is left of the sites that are being deleted. Mostly empty.
CREATE INDEX sites_delete_time ON sites (delete_time, id) WHERE delete_time IS NOT NULL;
