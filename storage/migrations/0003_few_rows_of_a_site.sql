-- One site is few rows of a month, whatever the statistics say. Where there are few sites, they say
-- that it is many, and that walking back through the entries of all sites meets one of its own soon:
-- then the last entry of a site that has not sent for long is looked for among those of all others.

-- A table that is to be a partition of live_data.
CREATE FUNCTION create_live_data_table(name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('CREATE TABLE public.%I
                    (LIKE public.live_data INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)',
                 name);
  EXECUTE format('ALTER TABLE public.%I ALTER COLUMN site_id SET (n_distinct = 1000000)', name);
END
$$;
REVOKE ALL ON FUNCTION create_live_data_table FROM PUBLIC;

-- As before, but by the function above.
CREATE OR REPLACE FUNCTION make_live_data_month(stamp timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms'
AS $$
DECLARE
  month timestamp := date_trunc('month', stamp AT TIME ZONE 'UTC');
  month_begin timestamptz := month AT TIME ZONE 'UTC';
  month_end timestamptz := (month + interval '1 month') AT TIME ZONE 'UTC';
  partition text := 'live_data_' || to_char(month, 'YYYY_MM');
  window_now record;
BEGIN
  -- One month at a time: whoever needs the same one waits here and then finds it made. Whoever
  -- changes the window waits here, too.
  PERFORM pg_advisory_xact_lock(hashtextextended('energy-sites:month', 0));
  SELECT * INTO STRICT window_now FROM public.live_data_window;
  IF month_begin < window_now.kept_from THEN
    RAISE EXCEPTION 'entries before % are no longer kept', window_now.kept_from
      USING ERRCODE = 'ES001';
  END IF;
  IF (month_begin >= window_now.first_month AND month_begin < window_now.end_month) IS NOT TRUE THEN
    RETURN;
  END IF;
  IF to_regclass(format('public.%I', partition)) IS NOT NULL THEN
    RETURN;
  END IF;
  PERFORM public.create_live_data_table(partition);
  EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
                 CASE WHEN month_begin >= window_now.future_from THEN 'live_data_future'
                      ELSE 'live_data' END,
                 partition, month_begin, month_end);
END
$$;

-- As before, but by the function above.
CREATE OR REPLACE FUNCTION move_live_data_window() RETURNS date
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms'
AS $$
DECLARE
  month timestamp;
  month_begin timestamptz;
  month_end timestamptz;
  partition text;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('energy-sites:month', 0));
  SELECT end_month INTO STRICT month_begin FROM public.live_data_window;
  month := month_begin AT TIME ZONE 'UTC';
  month_end := (month + interval '1 month') AT TIME ZONE 'UTC';
  partition := 'live_data_' || to_char(month, 'YYYY_MM');
  IF month >= date_trunc('month', now() AT TIME ZONE 'UTC') + interval '2 years' THEN
    RETURN NULL;
  END IF;
  -- Its foreign key makes attaching lock sites, which every writer takes first, and so do we:
  -- waiting for it while holding live_data_future would be a deadlock.
  LOCK TABLE public.sites IN ACCESS EXCLUSIVE MODE;
  -- All writers wait from here on, and an export that reads the future can go on for long.
  PERFORM set_config('lock_timeout', '50ms', true);
  LOCK TABLE ONLY public.live_data_future IN ACCESS EXCLUSIVE MODE;
  ALTER TABLE public.live_data_future DETACH PARTITION public.live_data_far_future;
  PERFORM public.create_live_data_table(partition);
  -- Every column as it is, those of later migrations too: all partitions have them in one order.
  EXECUTE format('WITH moved AS (
                    DELETE FROM public.live_data_far_future WHERE dt_stamp < %L RETURNING *
                  )
                  INSERT INTO public.%I SELECT * FROM moved', month_end, partition);
  EXECUTE format('ALTER TABLE public.live_data_future ATTACH PARTITION public.%I
                    FOR VALUES FROM (%L) TO (%L)', partition, month_begin, month_end);
  EXECUTE format('ALTER TABLE public.live_data_future ATTACH PARTITION public.live_data_far_future
                    FOR VALUES FROM (%L) TO (MAXVALUE)', month_end);
  UPDATE public.live_data_window SET end_month = month_end;
  RETURN month;
END
$$;

DO $$
DECLARE
  partition regclass;
BEGIN
  FOR partition IN SELECT relid FROM pg_partition_tree('live_data') WHERE isleaf LOOP
    EXECUTE format('ALTER TABLE %s ALTER COLUMN site_id SET (n_distinct = 1000000)', partition);
  END LOOP;
END
$$;

-- It counts from the next time on, which past months would wait for in vain. Nobody waits for this.
ANALYZE live_data;
