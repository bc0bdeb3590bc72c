-- Group commit, streams, rollups and maintenance of live data.

-- The transaction that wrote the entry. (xid, id) over transactions below pg_snapshot_xmin is the
-- order in which watchers are told. Entries from before this migration get the migration's own.
ALTER TABLE live_data ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();

-- Serves WatchLiveData.
CREATE INDEX live_data_xid_id ON live_data (xid, id);

-- live_data_future becomes partitioned itself, so that the window can move on by locking it alone:
-- [future_from, end_month) has months below it, the rest lies in live_data_far_future.
ALTER TABLE live_data_window
  ADD COLUMN future_from timestamptz,
  -- Entries before this moment were dropped and are refused; their rollups are frozen.
  ADD COLUMN kept_from timestamptz NOT NULL DEFAULT '-infinity';
UPDATE live_data_window SET future_from = end_month;
ALTER TABLE live_data_window
  ALTER COLUMN future_from SET NOT NULL;

DO $$
DECLARE
  future_from timestamptz := (SELECT w.future_from FROM live_data_window AS w);
BEGIN
  ALTER TABLE live_data DETACH PARTITION live_data_future;
  ALTER TABLE live_data_future RENAME TO live_data_far_future;
  CREATE TABLE live_data_future (LIKE live_data INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY RANGE (dt_stamp);
  EXECUTE format('ALTER TABLE live_data ATTACH PARTITION live_data_future
                    FOR VALUES FROM (%L) TO (MAXVALUE)', future_from);
  EXECUTE format('ALTER TABLE live_data_future ATTACH PARTITION live_data_far_future
                    FOR VALUES FROM (%L) TO (MAXVALUE)', future_from);
END
$$;

-- As before, but: months from future_from on go below live_data_future, and a month whose entries
-- were dropped is refused.
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
  EXECUTE format('CREATE TABLE public.%I
                    (LIKE public.live_data INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)',
                 partition);
  EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
                 CASE WHEN month_begin >= window_now.future_from THEN 'live_data_future'
                      ELSE 'live_data' END,
                 partition, month_begin, month_end);
END
$$;

-- Moves the window's end on by one month, so that it stays two years ahead: takes that month out
-- of live_data_far_future. Returns the month, or null if the window is far enough already. Fails
-- with 55P03 rather than keep calls waiting for more than a moment: to be tried again later.
CREATE FUNCTION move_live_data_window() RETURNS date
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
  EXECUTE format('CREATE TABLE public.%I
                    (LIKE public.live_data INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)',
                 partition);
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
REVOKE ALL ON FUNCTION move_live_data_window FROM PUBLIC;

CREATE FUNCTION refuse_live_data_entry() RETURNS trigger LANGUAGE plpgsql
AS $$
BEGIN
  RAISE EXCEPTION 'entries of % are no longer kept', NEW.dt_stamp USING ERRCODE = 'ES001';
END
$$;

-- Refuses entries before `moment`, the begin of a month, from now on, and freezes their rollups.
-- Returns false if some of these are not up to date yet: then entries are refused all the same, so
-- that no more come to be refolded, and the call is to be repeated. Fails with 55P03 as
-- move_live_data_window does.
CREATE FUNCTION refuse_live_data_before(moment timestamptz) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms'
AS $$
DECLARE
  kept_from_now timestamptz;
  partition text;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('energy-sites:month', 0));
  SELECT kept_from INTO STRICT kept_from_now FROM public.live_data_window;
  IF moment <= kept_from_now THEN
    RETURN true;
  END IF;
  -- Months that are made later are refused by make_live_data_month, and so are these once they are
  -- gone. A trigger waits for whoever writes to the partition, and for no reader: what was written
  -- before it can be seen below.
  FOR partition IN
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relispartition AND relkind = 'r'
      AND (relname = 'live_data_past'
           OR relname ~ '^live_data_[0-9]{4}_[0-9]{2}$'
              AND to_date(right(relname, 7), 'YYYY_MM') < moment AT TIME ZONE 'UTC')
    ORDER BY relname
  LOOP
    EXECUTE format('CREATE OR REPLACE TRIGGER refuse_entry BEFORE INSERT ON public.%I
                      FOR EACH ROW WHEN (NEW.dt_stamp < %L)
                      EXECUTE FUNCTION public.refuse_live_data_entry()', partition, moment);
  END LOOP;
  IF EXISTS (SELECT FROM public.live_data_dirty_buckets
             WHERE bucket >= kept_from_now AND bucket < moment) THEN
    RETURN false;
  END IF;
  UPDATE public.live_data_window SET kept_from = moment;
  RETURN true;
END
$$;
REVOKE ALL ON FUNCTION refuse_live_data_before FROM PUBLIC;

-- What the entries of a site in one quarter of an hour (UTC) come to. Outlives the entries.
CREATE TABLE live_data_rollups (
  site_id bigint NOT NULL REFERENCES sites ON DELETE CASCADE,
  bucket timestamptz NOT NULL,
  entries bigint NOT NULL CHECK (entries > 0),
  soc_min double precision NOT NULL,
  soc_max double precision NOT NULL,
  soc_sum double precision NOT NULL,
  soc_first double precision NOT NULL,
  soc_last double precision NOT NULL,
  load_kwh_min double precision NOT NULL,
  load_kwh_max double precision NOT NULL,
  load_kwh_sum double precision NOT NULL,
  load_kwh_first double precision NOT NULL,
  load_kwh_last double precision NOT NULL,
  net_load_kwh_min double precision NOT NULL,
  net_load_kwh_max double precision NOT NULL,
  net_load_kwh_sum double precision NOT NULL,
  net_load_kwh_first double precision NOT NULL,
  net_load_kwh_last double precision NOT NULL,
  pv_notifications bigint NOT NULL,
  bio_notifications bigint NOT NULL,
  cro_notifications bigint NOT NULL,
  -- Serves AggregateLiveData.
  PRIMARY KEY (site_id, bucket)
);

-- Buckets whose entries changed since their rollup was made: one row for each transaction that
-- changed them, written with the change, so that writers of one bucket never wait for each other. Whoever
-- refolds a bucket deletes the marks that its snapshot shows, together with the new rollup.
CREATE TABLE live_data_dirty_buckets (
  site_id bigint NOT NULL,
  bucket timestamptz NOT NULL
);

-- Serves AggregateLiveData and the refolding.
CREATE INDEX live_data_dirty_buckets_site_id_bucket ON live_data_dirty_buckets (site_id, bucket);

-- How far each session of IngestLiveData came.
CREATE TABLE ingest_sessions (
  -- The caller whose session it is; empty where callers have no names.
  owner text NOT NULL,
  session text NOT NULL,
  -- Counts the streams that opened the session: only the last one may write.
  stream bigint NOT NULL DEFAULT 1,
  committed_sequence bigint NOT NULL DEFAULT 0,
  update_time timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (owner, session)
);

-- Serves the forgetting of old ones.
CREATE INDEX ingest_sessions_update_time ON ingest_sessions (update_time);

-- What was refused of batches that were committed, for a client that lost the acknowledgement.
CREATE TABLE ingest_refusals (
  owner text NOT NULL,
  session text NOT NULL,
  sequence bigint NOT NULL,
  failed_count integer NOT NULL,
  refused bytea NOT NULL,
  PRIMARY KEY (owner, session, sequence),
  FOREIGN KEY (owner, session) REFERENCES ingest_sessions ON DELETE CASCADE
);
