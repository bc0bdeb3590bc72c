-- Sites, configurations, live data and the memory of request ids.
--
-- The CHECKs repeat the hard rules of the contract as the last net. Both bounds are written out
-- because NaN is greater than every number here.

CREATE TABLE sites (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL
    CHECK (char_length(name) BETWEEN 1 AND 255 AND name !~ '[\u0001-\u001F\u007F-\u009F]'),
  location text NOT NULL
    CHECK (char_length(location) BETWEEN 1 AND 255 AND location !~ '[\u0001-\u001F\u007F-\u009F]'),
  etag bigint NOT NULL DEFAULT 1,
  create_time timestamptz NOT NULL DEFAULT now(),
  update_time timestamptz NOT NULL DEFAULT now(),
  -- Set while the site is being deleted: it takes no new data from then on.
  delete_time timestamptz
);

CREATE TABLE configurations (
  site_id bigint NOT NULL REFERENCES sites ON DELETE CASCADE,
  id bigint GENERATED ALWAYS AS IDENTITY,
  battery_vendor text NOT NULL CHECK (battery_vendor IN ('Tesla', 'KATL')),
  battery_capacity_kwh double precision NOT NULL
    CHECK (battery_capacity_kwh >= 0 AND battery_capacity_kwh < 'Infinity'),
  battery_max_power_kw double precision NOT NULL
    CHECK (battery_max_power_kw >= 0 AND battery_max_power_kw < 'Infinity'),
  production_pv_units integer NOT NULL CHECK (production_pv_units >= 0),
  production_bio_units integer NOT NULL CHECK (production_bio_units >= 0),
  production_cro_units integer NOT NULL CHECK (production_cro_units >= 0),
  production_pv_kwp double precision
    CHECK (production_pv_kwp > '-Infinity' AND production_pv_kwp < 'Infinity'),
  production_cro_kwp double precision
    CHECK (production_cro_kwp > '-Infinity' AND production_cro_kwp < 'Infinity'),
  etag bigint NOT NULL DEFAULT 1,
  create_time timestamptz NOT NULL DEFAULT now(),
  update_time timestamptz NOT NULL DEFAULT now(),
  -- Serves every call: Get, Update and Delete by both columns, lists of a site by the first,
  -- lists of all in its order. Begins with site_id so that tables can be distributed by it.
  PRIMARY KEY (site_id, id)
);

-- The id carries the month of dt_stamp: (months since year 1) << 46 | n, so that a look-up by id
-- reads one partition. n comes from live_data_numbers.
CREATE TABLE live_data (
  id bigint NOT NULL,
  site_id bigint NOT NULL REFERENCES sites ON DELETE CASCADE,
  dt_stamp timestamptz NOT NULL
    CHECK (dt_stamp >= '0001-01-01T00:00:00Z' AND dt_stamp < '10000-01-01T00:00:00Z'),
  soc double precision NOT NULL CHECK (soc >= 0 AND soc <= 100),
  load_kwh double precision NOT NULL CHECK (load_kwh >= 0 AND load_kwh < 'Infinity'),
  net_load_kwh double precision NOT NULL CHECK (net_load_kwh >= 0 AND net_load_kwh < 'Infinity'),
  pv_notification boolean NOT NULL,
  bio_notification boolean NOT NULL,
  cro_notification boolean NOT NULL,
  create_time timestamptz NOT NULL DEFAULT now(),
  -- Serves ListLiveDataEntries of one site, and DeleteSite.
  PRIMARY KEY (site_id, dt_stamp, id)
) PARTITION BY RANGE (dt_stamp);

-- Serves GetLiveDataEntry and DeleteLiveDataEntry.
CREATE INDEX live_data_site_id_id ON live_data (site_id, id);
-- Serves ListLiveDataEntries across sites.
CREATE INDEX live_data_dt_stamp_id ON live_data (dt_stamp, id);

-- One nextval gives a process the 1,000 numbers from it on.
CREATE SEQUENCE live_data_numbers MINVALUE 1 MAXVALUE 70368744176663 INCREMENT 1000;

-- Months in [first_month, end_month) get a partition of their own when first needed; what lies
-- outside goes to live_data_past and live_data_future. No DEFAULT partition: with one, making a
-- month would lock it and wait for every open export. Only the owner may change the window.
CREATE TABLE live_data_window (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  first_month timestamptz NOT NULL,
  end_month timestamptz NOT NULL
);

DO $$
DECLARE
  this_month timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
  first_month timestamptz := (this_month - interval '20 years') AT TIME ZONE 'UTC';
  end_month timestamptz := (this_month + interval '2 years') AT TIME ZONE 'UTC';
BEGIN
  INSERT INTO live_data_window VALUES (true, first_month, end_month);
  EXECUTE format('CREATE TABLE live_data_past PARTITION OF live_data
                    FOR VALUES FROM (MINVALUE) TO (%L)', first_month);
  EXECUTE format('CREATE TABLE live_data_future PARTITION OF live_data
                    FOR VALUES FROM (%L) TO (MAXVALUE)', end_month);
END
$$;

-- Makes the partition for the month of `stamp` unless it is there or lies outside the window, so
-- that no caller can make more partitions than the window holds. The table is made alone and then
-- attached, which waits for no reader and no writer of live_data.
CREATE FUNCTION make_live_data_month(stamp timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms'
AS $$
DECLARE
  month timestamp := date_trunc('month', stamp AT TIME ZONE 'UTC');
  month_begin timestamptz := month AT TIME ZONE 'UTC';
  month_end timestamptz := (month + interval '1 month') AT TIME ZONE 'UTC';
  partition text := 'live_data_' || to_char(month, 'YYYY_MM');
BEGIN
  IF NOT EXISTS (SELECT FROM public.live_data_window
                 WHERE month_begin >= first_month AND month_begin < end_month) THEN
    RETURN;
  END IF;
  -- One month at a time: whoever needs the same one waits here and then finds it made.
  PERFORM pg_advisory_xact_lock(hashtextextended('energy-sites:month', 0));
  IF to_regclass(format('public.%I', partition)) IS NOT NULL THEN
    RETURN;
  END IF;
  EXECUTE format('CREATE TABLE public.%I
                    (LIKE public.live_data INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)',
                 partition);
  EXECUTE format('ALTER TABLE public.live_data ATTACH PARTITION public.%I
                    FOR VALUES FROM (%L) TO (%L)', partition, month_begin, month_end);
END
$$;
REVOKE ALL ON FUNCTION make_live_data_month FROM PUBLIC;

-- What calls with a request_id answered, for their retries. site_id is 0 for calls that are not
-- bound to one site. Written only by calls that carry a request_id.
CREATE TABLE write_requests (
  site_id bigint NOT NULL,
  request_id uuid NOT NULL,
  request_hash bytea NOT NULL,
  response bytea NOT NULL,
  create_time timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (site_id, request_id)
);

-- Serves the forgetting of old ones.
CREATE INDEX write_requests_create_time ON write_requests (create_time);
