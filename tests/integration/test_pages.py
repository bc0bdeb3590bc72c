"""Lists page by page: nothing lost, nothing twice, and no token but the list's own."""

import base64

import pytest
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2

from support.calls import JUNE, fail, stamp

ROWS = 2500


@pytest.fixture
def rows(database):
    """Two sites have all the rows but sites; half of the entries share one stamp."""
    statements = (
        f"SELECT make_live_data_month(to_timestamp({JUNE}))",
        f"""
        INSERT INTO sites (name, location)
        SELECT 'Farm ' || n, 'Brno' FROM generate_series(1, {ROWS}) AS n
        """,
        f"""
        INSERT INTO configurations (
          site_id, battery_vendor, battery_capacity_kwh, battery_max_power_kw,
          production_pv_units, production_bio_units, production_cro_units)
        SELECT 1 + n % 3 % 2, 'KATL', n, 0, 0, 0, 0 FROM generate_series(1, {ROWS}) AS n
        """,
        # The numbers of the ids follow neither the order of insertion nor that of time.
        f"""
        INSERT INTO live_data
        SELECT (24186::bigint << 46) + n * 7919 % {ROWS}, 1 + n % 3 % 2,
               to_timestamp({JUNE} + CASE WHEN n % 2 = 0 THEN 0 ELSE n % 11 END),
               n % 100, 0, 0, false, false, false
        FROM generate_series(1, {ROWS}) AS n
        """,
    )
    with database.connect() as connection:
        for statement in statements:
            connection.execute(statement)


def lists(stubs):
    """Name -> method, request type, parameters, and the query of what the list must hold."""
    sites = (stubs.sites.ListSites, sites_pb2.ListSitesRequest)
    configurations = (
        stubs.configurations.ListConfigurations, configurations_pb2.ListConfigurationsRequest,
    )  # fmt: skip
    entries = (stubs.live_data.ListLiveDataEntries, live_data_pb2.ListLiveDataEntriesRequest)
    oldest, newest = "ORDER BY dt_stamp, id", "ORDER BY dt_stamp DESC, id DESC"
    part = {"start_time": stamp(JUNE), "end_time": stamp(JUNE + 5)}
    in_part = f"dt_stamp >= to_timestamp({JUNE}) AND dt_stamp < to_timestamp({JUNE + 5})"
    return {
        "sites": (*sites, {}, "SELECT id FROM sites ORDER BY id"),
        "configurations": (
            *configurations,
            {},
            "SELECT id FROM configurations ORDER BY site_id, id",
        ),
        "configurations of a site": (
            *configurations,
            {"site_id": 2},
            "SELECT id FROM configurations WHERE site_id = 2 ORDER BY id",
        ),
        "oldest entries first": (
            *entries,
            {"order_by": "dt_stamp"},
            f"SELECT id FROM live_data {oldest}",
        ),
        "newest entries first": (
            *entries,
            {"order_by": "dt_stamp desc"},
            f"SELECT id FROM live_data {newest}",
        ),
        "oldest of a site": (
            *entries,
            {"site_id": 2, "order_by": "dt_stamp"},
            f"SELECT id FROM live_data WHERE site_id = 2 {oldest}",
        ),
        "newest of a site": (
            *entries,
            {"site_id": 2},
            f"SELECT id FROM live_data WHERE site_id = 2 {newest}",
        ),
        "oldest in a range": (
            *entries,
            {"site_id": 1, "order_by": "dt_stamp", **part},
            f"SELECT id FROM live_data WHERE site_id = 1 AND {in_part} {oldest}",
        ),
        "newest in a range": (*entries, part, f"SELECT id FROM live_data WHERE {in_part} {newest}"),
    }


def items(page):
    """The rows of a page, whatever their type."""
    return getattr(page, page.DESCRIPTOR.fields[0].name)


def walk(method, request_type, parameters, page_size):
    """The ids of all pages, and the pages' sizes."""
    ids, sizes, token = [], [], ""
    while True:
        page = method(request_type(**parameters, page_size=page_size, page_token=token), timeout=30)
        ids += [one.id for one in items(page)]
        sizes.append(len(items(page)))
        token = page.next_page_token
        if not token:
            return ids, sizes


def test_pages_lose_and_repeat_nothing(rows, stubs, database):
    for name, (method, request_type, parameters, sql) in lists(stubs).items():
        expected = [row[0] for row in database.query(sql)]
        assert len(expected) > 300, name
        for page_size in (97, 1000, len(expected), len(expected) - 1):
            ids, sizes = walk(method, request_type, parameters, page_size)
            assert ids == expected, (name, page_size)
            full = min(page_size, 1000)
            assert all(size == full for size in sizes[:-1]) and 0 < sizes[-1] <= full, (name, sizes)


def test_page_sizes(rows, stubs):
    for name, (method, request_type, parameters, _) in lists(stubs).items():
        for page_size, expected in (
            (0, 50),
            (1, 1),
            (999, 999),
            (1000, 1000),
            (1001, 1000),
            (2**31 - 1, 1000),
        ):
            page = method(request_type(**parameters, page_size=page_size))
            assert len(items(page)) == min(
                expected, len(walk(method, request_type, parameters, 1000)[0])
            ), name
        for page_size in (-1, -(2**31)):
            failure = fail(method, request_type(**parameters, page_size=page_size))
            assert (failure.code, failure.violations) == (
                "INVALID_ARGUMENT",
                [("page_size", "int32.gte")],
            )


def test_the_page_size_may_change_on_the_way(rows, stubs):
    page = stubs.sites.ListSites(sites_pb2.ListSitesRequest(page_size=3))
    page = stubs.sites.ListSites(
        sites_pb2.ListSitesRequest(page_token=page.next_page_token, page_size=2)
    )
    assert [site.id for site in page.sites] == [4, 5]


def broken(token):
    """What is nearly the token."""
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    flipped = [bytes([*raw[:i], raw[i] ^ 1, *raw[i + 1 :]]) for i in range(len(raw))]
    encoded = [
        base64.urlsafe_b64encode(one).decode().rstrip("=")
        for one in [*flipped, raw[:-1], raw + b"\0"]
    ]
    return [
        *encoded,
        token[:-1],
        token + "A",
        token + "=",
        " " + token,
        token + "\n",
        token * 2,
        "x",
        "0",
        "!",
        "é",
        "A" * 5000,
        token.replace("A", "+", 1) if "A" in token else "+",
    ]


def test_tokens_that_are_not_the_lists_own(rows, stubs):
    every = lists(stubs)
    tokens = {
        name: method(request_type(**parameters, page_size=7)).next_page_token
        for name, (method, request_type, parameters, _) in every.items()
    }
    assert len(set(tokens.values())) == len(tokens)
    for name, (method, request_type, parameters, _) in every.items():
        # The default order may be named or not: that is another list, or the same.
        foreign = [token for other, token in tokens.items() if other != name]
        for token in broken(tokens[name]) + foreign:
            failure = fail(method, request_type(**parameters, page_token=token))
            assert failure.code == "INVALID_ARGUMENT", (name, token)
            assert failure.violations == [("page_token", "page_token.valid")], (name, token)
        assert items(method(request_type(**parameters, page_token=tokens[name])))


def test_changed_parameters_need_a_new_walk(rows, stubs):
    base = {
        "site_id": 2,
        "order_by": "dt_stamp",
        "start_time": stamp(JUNE),
        "end_time": stamp(JUNE + 9),
    }
    method, request_type = (
        stubs.live_data.ListLiveDataEntries,
        live_data_pb2.ListLiveDataEntriesRequest,
    )
    token = method(request_type(**base, page_size=5)).next_page_token
    changes = [
        {"site_id": 1}, {"site_id": 0}, {"order_by": "dt_stamp desc"}, {"order_by": ""},
        {"start_time": stamp(JUNE, 1000)}, {"start_time": None}, {"end_time": stamp(JUNE + 8)},
        {"end_time": None},
    ]  # fmt: skip
    for change in changes:
        failure = fail(method, request_type(**{**base, **change}, page_token=token))
        assert (failure.code, failure.violations) == (
            "INVALID_ARGUMENT",
            [("page_token", "page_token.valid")],
        )


def test_a_list_survives_what_happens_on_the_way(rows, stubs, database):
    """Rows deleted and added between two pages disturb no other row."""
    request = live_data_pb2.ListLiveDataEntriesRequest(order_by="dt_stamp", page_size=1000)
    expected = [row[0] for row in database.query("SELECT id FROM live_data ORDER BY dt_stamp, id")]
    page = stubs.live_data.ListLiveDataEntries(request)
    ids = [one.id for one in page.live_data_entries]
    gone = [ids[-1], expected[1500]]  # The last key itself too.
    database.query("DELETE FROM live_data WHERE id = ANY(%s) RETURNING id", [gone])
    while page.next_page_token:
        request.page_token = page.next_page_token
        page = stubs.live_data.ListLiveDataEntries(request)
        ids += [one.id for one in page.live_data_entries]
    assert ids == [one for one in expected if one != gone[1]]
