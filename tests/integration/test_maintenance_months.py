"""Months are made ahead, and the window of months moves on."""

import datetime

from energysites.v1 import live_data_pb2

from support.calls import create_site
from support.maintenance import (
    COMMAND, NOW, create, entries_of, maintain, month, partitions, put_window_back, table, window,
)  # fmt: skip


def get(stubs, one):
    request = live_data_pb2.GetLiveDataEntryRequest(site_id=one.site_id, id=one.id)
    return stubs.live_data.GetLiveDataEntry(request, timeout=30)


@COMMAND
def test_months_are_made_ahead(database):
    ahead = {table(month(n)) for n in range(4)}
    assert not ahead & partitions(database)
    assert "months_ahead: made" in maintain(database)
    assert partitions(database) == ahead | {"live_data_past", "live_data_far_future"}
    assert maintain(database) == "maintain: done\n"


def test_the_window_moves_on_with_the_entries_beyond_it(database, start_service):
    """The server was not looked after for two and a half years."""
    put_window_back(database, month(-6))
    stubs = start_service(database).stubs()
    site_id = create_site(stubs).id
    moments = [month(-7), month(-6), NOW, month(1) - datetime.timedelta(seconds=1), month(1),
               month(24) - datetime.timedelta(seconds=1), month(24), month(500)]  # fmt: skip
    stored = [create(stubs, site_id, moment) for moment in moments]
    before = entries_of(database)
    assert [before[one.id][0] for one in stored] == (
        [table(month(-7))] + ["live_data_far_future"] * 7
    )

    assert f"window: moved the window on, its last month is that of {month(23):%Y-%m-%d}" in (
        maintain(database)
    )
    assert window(database) == (month(24), None)
    after = entries_of(database)
    places = [*map(table, moments[:6]), "live_data_far_future", "live_data_far_future"]
    assert [after[one.id][0] for one in stored] == places
    assert {key: row[1] for key, row in after.items()} == {
        key: row[1] for key, row in before.items()
    }
    assert [get(stubs, one) for one in stored] == stored
    for moment in moments:
        create(stubs, site_id, moment)
    assert "window" not in maintain(database)
    # Nothing of the moving stays behind.
    assert database.query(
        "SELECT count(*) FROM pg_constraint WHERE confrelid = 'sites'::regclass AND conparentid = 0"
        " AND conrelid::regclass::text LIKE 'live_data_2%%'"
    ) == [(0,)]


@COMMAND
def test_the_window_waits_for_who_uses_the_future(database):
    put_window_back(database, month(20))
    with database.connect(database.app_url) as connection, connection.transaction():
        connection.execute("SELECT 1 FROM live_data WHERE dt_stamp > %s", [month(100)])
        assert "window: postponed" in maintain(database)
        assert window(database)[0] == month(20)
    assert "window: moved" in maintain(database)
    assert window(database)[0] == month(24)
