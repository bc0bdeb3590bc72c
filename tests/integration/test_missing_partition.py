"""Inserts for which PostgreSQL finds no partition: on one connection only, or on all."""

import pytest
from energysites.v1 import live_data_pb2

from support.calls import create_entries, create_entry, create_site, entry, fail
from support.ingest import Ingest, numbered, numbers_stored
from support.process import wait_until


def create(stubs, site, number):
    create_entry(stubs, site, load_kwh=number)


def batch_create(stubs, site, number):
    create_entries(stubs, numbered(site, number, 1))


def ingest(stubs, site, number):
    stream = Ingest(stubs, session=f"meter-{number}")
    stream.send(1, numbered(site, number, 1))
    last = stream.rest()[-1]
    assert (last.stored_entries, len(last.refused)) == (1, 0), last


# PostgreSQL can keep an incomplete list of partitions on a connection that read it while another
# one attached a month. Here connections that were there before do not find the month.
STALE = """
  CREATE FUNCTION stale() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
  BEGIN
    IF (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()) < '{now}' THEN
      RAISE check_violation USING MESSAGE = 'no partition of relation "live_data" found for row';
    END IF;
    RETURN NEW;
  END $$;
  CREATE TRIGGER stale BEFORE INSERT ON {month} FOR EACH ROW EXECUTE FUNCTION stale();
"""


@pytest.mark.parametrize("store", [create, batch_create, ingest])
def test_a_connection_that_does_not_find_a_month_is_replaced(stubs, database, store):
    site = create_site(stubs).id
    for number in range(10):
        store(stubs, site, number)
    [(month, now)] = database.query("SELECT tableoid::regclass, now() FROM live_data LIMIT 1")
    with database.connect() as connection:
        connection.execute(STALE.format(month=month, now=now))
    for number in range(10, 30):
        store(stubs, site, number)
    assert len(numbers_stored(database)) == 30


def test_entries_are_not_refused_for_want_of_a_partition(stubs, database):
    site = create_site(stubs).id
    create_entry(stubs, site, load_kwh=1)
    [(month,)] = database.query("SELECT tableoid::regclass FROM live_data")
    with database.connect() as connection:
        connection.execute(f"ALTER TABLE live_data DETACH PARTITION {month}")
    one = entry(site)
    for method, request in (
        (stubs.live_data.CreateLiveDataEntry,
         live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=one)),
        (stubs.live_data.BatchCreateLiveDataEntries,
         live_data_pb2.BatchCreateLiveDataEntriesRequest(entries=[one])),
    ):  # fmt: skip
        assert fail(method, request).code == "INTERNAL"
    stream = Ingest(stubs, session="kept")
    stream.send(1, [one])
    assert stream.failure().code == "INTERNAL"
    assert database.query("SELECT committed_sequence FROM ingest_sessions") == [(0,)]

    with database.connect() as connection:
        connection.execute(f"ALTER TABLE live_data ATTACH PARTITION {month}"
                           " FOR VALUES FROM ('2016-06-01Z') TO ('2016-07-01Z')")
    again = Ingest(stubs, session="kept")
    again.send(1, [one])
    assert again.rest()[-1].stored_entries == 1
    create_entry(stubs, site, load_kwh=1)


def test_connections_read_the_list_of_partitions_again_after_a_change(database, start_service):
    """Not all of them have the month in a list that they read while it was attached."""
    stubs = start_service(database, flags=("--maintenance_interval=200ms",)).stubs()

    def invalidations():
        """Transactions that last told connections that these tables have changed."""
        return database.query("""SELECT xmin::text FROM pg_attribute WHERE attname = 'id' AND attrelid
            IN ('live_data'::regclass, 'live_data_future'::regclass) ORDER BY attrelid""")

    def quiet():
        return database.query("SELECT renewals_due FROM live_data_window") == [(0,)]

    wait_until(quiet, 60, "the lists to be renewed after the migration")
    before = invalidations()
    create_entry(stubs, create_site(stubs).id)
    seen = set()
    wait_until(lambda: seen.add(tuple(invalidations())) or len(seen) > 3, 60, "renewals")
    assert all(one[0] != before[0] and one[1] != before[1] for one in seen if one != tuple(before))
    wait_until(quiet, 60, "the end of the renewals")
    assert database.query("SELECT listed_partitions = (SELECT sum(inhrelid::bigint) FROM pg_inherits"
                          " WHERE inhparent IN ('live_data'::regclass, 'live_data_future'::regclass))"
                          " FROM live_data_window") == [(True,)]
