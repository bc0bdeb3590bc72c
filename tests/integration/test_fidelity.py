"""What is stored is what was sent: doubles by bits, times by microseconds, text by bytes.

That each field passes on every way is in test_round_trip.py.
"""

import math
import random
import struct
import sys

from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2

from support.calls import configuration, create_site, entry, site, stamp

YEAR_1, YEAR_9999_END = -62135596800, 253402300799
SMALLEST, LEAST_NORMAL, LARGEST = 5e-324, sys.float_info.min, sys.float_info.max


def bits(number):
    return struct.pack(">d", number)


def doubles(generator, low, high, count=300):
    """Edges, and random bit patterns that are numbers from `low` to `high`."""
    found = [
        value
        for value in (
            0.0,
            -0.0,
            SMALLEST,
            -SMALLEST,
            LEAST_NORMAL,
            math.nextafter(LEAST_NORMAL, 0),
            0.1,
            1 / 3,
            0.30000000000000004,
            100,
            math.nextafter(100, 0),
            2.0**53 + 2,
            1e22,
            1e23,
            123456789012345.67,
            LARGEST,
            -LARGEST,
            math.nextafter(LARGEST, 0),
        )
        if low <= value <= high
    ]
    while len(found) < count:
        value = struct.unpack(">d", generator.randbytes(8))[0]
        if low <= value <= high:
            found.append(value)
    return found


def stored_entries(stubs, entries):
    """Sends a batch; the entries as read back, after checking that the answer said the same."""
    request = live_data_pb2.BatchCreateLiveDataEntriesRequest(entries=entries)
    answered = stubs.live_data.BatchCreateLiveDataEntries(request).live_data_entries
    read = [
        stubs.live_data.GetLiveDataEntry(
            live_data_pb2.GetLiveDataEntryRequest(site_id=one.site_id, id=one.id)
        )
        for one in answered
    ]
    assert [one.SerializeToString() for one in read] == [
        one.SerializeToString() for one in answered
    ]
    return read


def test_doubles_of_live_data(stubs):
    generator = random.Random(1)
    site_id = create_site(stubs).id
    columns = {
        "soc": doubles(generator, 0, 100),
        "load_kwh": doubles(generator, 0, LARGEST),
        "net_load_kwh": doubles(generator, 0, LARGEST)[::-1],
    }
    entries = [entry(site_id, **dict(zip(columns, values))) for values in zip(*columns.values())]
    read = stored_entries(stubs, entries)
    assert len(read) == 300
    for column, values in columns.items():
        assert [bits(getattr(one, column)) for one in read] == [bits(value) for value in values]
    assert bits(-0.0) in [bits(one.soc) for one in read]


def test_doubles_of_configurations(stubs):
    generator = random.Random(2)
    site_id = create_site(stubs).id
    # Any finite number, and zero or more.
    for kwp, kwh in zip(
        doubles(generator, -LARGEST, LARGEST, 80), doubles(generator, 0, LARGEST, 80)
    ):
        numbers = {
            "production_pv_kwp": kwp, "production_cro_kwp": -kwp,
            "battery_capacity_kwh": kwh, "battery_max_power_kw": kwh,
        }  # fmt: skip
        request = configurations_pb2.CreateConfigurationRequest(
            configuration=configuration(site_id, **numbers)
        )
        created = stubs.configurations.CreateConfiguration(request)
        read = stubs.configurations.GetConfiguration(
            configurations_pb2.GetConfigurationRequest(site_id=site_id, id=created.id)
        )
        for name, value in numbers.items():
            assert bits(getattr(read, name)) == bits(getattr(created, name)) == bits(value), name


def test_counts_to_the_largest(stubs):
    site_id = create_site(stubs).id
    for units in (0, 1, 2**31 - 1):
        sent = configuration(site_id, production_pv_units=units, production_bio_units=units)
        created = stubs.configurations.CreateConfiguration(
            configurations_pb2.CreateConfigurationRequest(configuration=sent)
        )
        assert (created.production_pv_units, created.production_bio_units) == (units, units)


def test_times_are_cut_to_the_microsecond(stubs):
    """Cut, not rounded, before 1970 too: 9999-12-31T23:59:59.9999999Z stays in its year."""
    generator = random.Random(3)
    seconds = [
        YEAR_1,
        YEAR_1 + 1,
        -2208988800,
        -86400,
        -1,
        0,
        1,
        951782399,
        253370764800,
        YEAR_9999_END,
    ]
    seconds += [generator.randint(YEAR_1, YEAR_9999_END) for _ in range(60)]
    nanos = [0, 1, 999, 1000, 1001, 499_999_999, 500_000_000, 999_999_000, 999_999_499, 999_999_999]
    times = [(second, nano) for second in seconds for nano in nanos]
    site_id = create_site(stubs).id
    # The months of 1 to 9999 that lie outside the window share two partitions.
    read = stored_entries(stubs, [entry(site_id, dt_stamp=stamp(*time)) for time in times])
    assert [(one.dt_stamp.seconds, one.dt_stamp.nanos) for one in read] == [
        (second, nano // 1000 * 1000) for second, nano in times
    ]


TEXTS = {
    "emoji": "🔋☀️👩‍👩‍👧‍👦🏳️‍🌈",
    "combining marks stay apart": "e\u0301 \u00e9 o\u0308 \u1100\u1161",
    "right to left": "\u202eabc\u202c \u05d0\u05d1 \u0639\u0631\u0628\u064a",
    "spaces": " \u00a0\u2003 leading and trailing \u3000 ",
    "quotes": """'"`''""\\'\\" $$ $1 $tag$""",
    "backslashes": "\\ \\\\ \\n \\x41 \\u0041 C:\\farm",
    "an injection": "'); DROP TABLE sites; --",
    "another": "1; UPDATE sites SET name='x' WHERE ''=''; /*",
    "markup": "<script>alert('%s')</script> &amp; %00 %27 {0} ${HOME} ${jndi:ldap://x}",
    "null by name": "NULL",
    "an array": '{"a",b,NULL}',
    "private and last": "\ue000\ufffd\uffff\U0010ffff",
    "no break, joiner, mark of order": "\u2060\u200d\ufeff",
    "255 letters of four bytes": "😀" * 255,
    "255 letters of one byte": "x" * 255,
    "one letter": "x",
}


def test_text(stubs, database):
    for name, text in TEXTS.items():
        created = create_site(stubs, name=text, location=text[::-1])
        read = stubs.sites.GetSite(sites_pb2.GetSiteRequest(id=created.id))
        assert (created.name, created.location) == (text, text[::-1]), name
        assert read == created, name
        update = sites_pb2.UpdateSiteRequest(
            site=site(id=created.id, name=text[::-1], location=text)
        )
        assert stubs.sites.UpdateSite(update).name == text[::-1], name
        row = database.query(
            "SELECT convert_to(location, 'UTF8') FROM sites WHERE id = %s", [created.id]
        )
        assert bytes(row[0][0]) == text.encode(), name
    listed = stubs.sites.ListSites(sites_pb2.ListSitesRequest()).sites
    assert [one.location for one in listed] == list(TEXTS.values())


def test_text_over_rest(rest):
    for name, text in TEXTS.items():
        stored = rest.post("/v1/sites", {"name": text, "location": text}).json()
        assert (stored["name"], stored["location"]) == (text, text), name
        assert rest.get(f"/v1/sites/{stored['id']}").json() == stored, name
