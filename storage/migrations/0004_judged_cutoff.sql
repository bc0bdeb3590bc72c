-- The retention cutoff is applied only after the clock was judged, and can go back until the months
-- before it are dropped.

-- Entries before refused_before are refused. It is never before kept_from, which from now on moves
-- only when a month is about to be dropped: then the rollups before it are frozen.
ALTER TABLE live_data_window ADD COLUMN refused_before timestamptz NOT NULL DEFAULT '-infinity';
UPDATE live_data_window SET refused_before = kept_from;

-- Servers of earlier versions move kept_from alone.
CREATE FUNCTION keep_cutoffs_in_order() RETURNS trigger LANGUAGE plpgsql
AS $$
BEGIN
  NEW.refused_before := NEW.kept_from;
  RETURN NEW;
END
$$;
CREATE TRIGGER keep_cutoffs_in_order BEFORE UPDATE ON live_data_window
  FOR EACH ROW WHEN (NEW.refused_before < NEW.kept_from) EXECUTE FUNCTION keep_cutoffs_in_order();

-- When maintenance first saw the current cutoff, by the clocks of the database and of the machine
-- that looked. A second look at least an hour later applies it if no clock jumped meanwhile.
CREATE TABLE live_data_retention_look (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  retention_seconds bigint NOT NULL,
  cutoff timestamptz NOT NULL,
  database_time timestamptz NOT NULL,
  -- The machine since it was booted, and how long ago that was.
  boot_id text NOT NULL,
  boot_seconds double precision NOT NULL
);

-- Refuses entries before `moment`, the begin of a month, and accepts later ones, also if they were
-- refused. Nothing before kept_from is accepted again. Returns the new cutoff. Fails with 55P03 as
-- move_live_data_window does.
CREATE FUNCTION move_live_data_cutoff(moment timestamptz) RETURNS timestamptz
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms'
AS $$
DECLARE
  window_now record;
  cutoff timestamptz;
  partition text;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('energy-sites:month', 0));
  SELECT * INTO STRICT window_now FROM public.live_data_window FOR UPDATE;
  cutoff := greatest(moment, window_now.kept_from);
  -- make_live_data_month refuses months that do not exist yet. Replacing a trigger waits for
  -- transactions that write to the partition, and for no reader.
  FOR partition IN
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relispartition AND relkind = 'r'
      AND (relname = 'live_data_past'
           OR relname ~ '^live_data_[0-9]{4}_[0-9]{2}$'
              AND to_date(right(relname, 7), 'YYYY_MM')
                  < greatest(cutoff, window_now.refused_before) AT TIME ZONE 'UTC')
    ORDER BY relname
  LOOP
    EXECUTE format('CREATE OR REPLACE TRIGGER refuse_entry BEFORE INSERT ON public.%I
                      FOR EACH ROW WHEN (NEW.dt_stamp < %L)
                      EXECUTE FUNCTION public.refuse_live_data_entry()', partition, cutoff);
  END LOOP;
  UPDATE public.live_data_window SET refused_before = cutoff;
  RETURN cutoff;
END
$$;
REVOKE ALL ON FUNCTION move_live_data_cutoff FROM PUBLIC;

-- As before, but by refused_before.
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
  -- One month at a time: a second transaction that needs the same one waits here and then finds it.
  -- Changes of the window wait here, too.
  PERFORM pg_advisory_xact_lock(hashtextextended('energy-sites:month', 0));
  SELECT * INTO STRICT window_now FROM public.live_data_window;
  IF month_begin < window_now.refused_before THEN
    RAISE EXCEPTION 'entries before % are no longer kept', window_now.refused_before
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
