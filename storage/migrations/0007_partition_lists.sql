-- PostgreSQL (seen on 15.18) can keep an incomplete list of partitions on a connection that reads
-- the list at the moment when another connection attaches a month: it then finds no row of that
-- month and refuses to insert one, until something invalidates the list, which nothing does before
-- the next month is attached. Maintenance therefore invalidates the lists again after each change.

-- The partitions for which the lists were last invalidated, and how often that is still to be done.
ALTER TABLE live_data_window
  ADD COLUMN listed_partitions numeric NOT NULL DEFAULT 0,
  ADD COLUMN renewals_due integer NOT NULL DEFAULT 0;

-- Makes all connections read the list of partitions again, in the first calls after a change of the
-- partitions. Several calls, some seconds apart, because a connection can read the list for as long
-- as it is kept from running. Returns whether it did. Blocks no reader and no writer; fails with
-- 55P03 where the partitions are being changed.
CREATE FUNCTION renew_partition_lists() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms'
AS $$
DECLARE
  renewals CONSTANT integer := 5;
  -- A table that is attached or detached changes the sum of their ids.
  listed CONSTANT numeric := (
    SELECT coalesce(sum(inhrelid::bigint), 0) FROM pg_inherits
    WHERE inhparent IN ('public.live_data'::regclass, 'public.live_data_future'::regclass));
  due integer;
BEGIN
  SELECT CASE WHEN listed_partitions = listed THEN renewals_due ELSE renewals END
    INTO STRICT due FROM public.live_data_window;
  IF due = 0 THEN
    RETURN false;
  END IF;
  -- Sets what is set already, which changes the tables' rows in the catalog and so tells all
  -- connections, under a lock that only changes of the table take.
  ALTER TABLE ONLY public.live_data ALTER COLUMN id SET STATISTICS -1;
  ALTER TABLE ONLY public.live_data_future ALTER COLUMN id SET STATISTICS -1;
  UPDATE public.live_data_window SET listed_partitions = listed, renewals_due = due - 1;
  RETURN true;
END
$$;
REVOKE ALL ON FUNCTION renew_partition_lists FROM PUBLIC;
