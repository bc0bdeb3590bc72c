"""The checker itself: whatever is wrong with the database, it says so."""

import pytest
from history import Call, Outcome, check, problems, stored_entries
from load import Load

from support.calls import create_site


@pytest.fixture
def history(server, stubs, database):
    """Of a quiet run, which the database agrees with."""
    with Load(server.address, [create_site(stubs).id], callers=4) as load:
        load.wait_acknowledged(40)
    assert check(load.history, database)[Outcome.ACKNOWLEDGED] >= 40
    return load.history


def first(history, entries=1, request_id=True):
    """The first call of a kind."""
    return next(c for c in history if len(c.numbers) == entries and bool(c.request_id) == request_id)


def test_the_checker_finds_what_was_planted(history, database):
    single = first(history)
    batch = first(history, entries=5, request_id=False)
    columns = """site_id, dt_stamp, soc, load_kwh, net_load_kwh, pv_notification,
                 bio_notification, cro_notification"""

    def insert(load_kwh, id_change):
        with database.connect() as connection:
            connection.execute(
                f"""INSERT INTO live_data (id, {columns})
                    SELECT id + %s, {columns.replace("load_kwh", "%s AS load_kwh", 1)}
                    FROM live_data WHERE load_kwh = %s""",
                [id_change, load_kwh, batch.numbers[0]],
            )

    def delete(number):
        database.query("DELETE FROM live_data WHERE load_kwh = %s RETURNING id", [number])

    insert(single.numbers[0], 400)
    insert(10**6, 401)
    delete(batch.numbers[1])
    found = problems(history, stored_entries(database))
    assert sorted(text.split(":")[0] for text in found) == ["doubled", "lost", "stray"], found
    assert f"doubled: {single.numbers[0]} " in " ".join(found)
    assert f"lost: {batch.numbers[1]} " in " ".join(found)
    with pytest.raises(AssertionError, match="3 problems"):
        check(history, database)


@pytest.mark.parametrize(
    ("codes", "stored", "problem"),
    [
        (["OK"], {1: 1, 2: 1}, None),
        (["OK"], {1: 1}, "lost"),
        (["OK"], {1: 1, 2: 2}, "doubled"),
        (["OK"], {1: 1, 2: 1, 3: 1}, "stray"),
        (["UNAVAILABLE", "OK"], {1: 1, 2: 1}, None),
        (["UNAVAILABLE", "OK"], {1: 2, 2: 1}, "doubled"),
        (["UNAVAILABLE", "OK"], {1: 1}, "lost"),
        (["UNAVAILABLE"], {}, None),
        (["UNAVAILABLE"], {1: 1, 2: 1}, None),
        (["DEADLINE_EXCEEDED"], {1: 1}, "torn"),
        (["CANCELLED"], {1: 2, 2: 1}, "doubled"),
        (["ABORTED"], {}, None),
        (["RESOURCE_EXHAUSTED"], {1: 1, 2: 1}, "refused, but stored"),
        (["UNAVAILABLE", "RESOURCE_EXHAUSTED"], {1: 1, 2: 1}, None),
        (["INTERNAL"], {}, "range(1, 3)"),
        (["UNKNOWN"], {}, "range(1, 3)"),
    ],
)
def test_what_an_outcome_allows(codes, stored, problem):
    """`stored`: how often each number is there."""
    call = Call(range(1, 3), codes=codes, ids={1: 100, 2: 200} if codes[-1] == "OK" else {})
    rows = [(number, 100 * number) for number, times in stored.items() for _ in range(times)]
    found = problems([call], rows)
    assert {text.split(":")[0] for text in found} == ({problem} if problem else set())


def test_an_entry_with_another_id_than_answered_is_found():
    call = Call(range(1, 2), codes=["OK"], ids={1: 100})
    [text] = problems([call], [(1, 300)])
    assert text.startswith("changed")
