"""What the command forgets, and what it refuses."""

import pytest

from support.calls import new_uuid
from support.maintenance import COMMAND, maintain
from support.server import run


@COMMAND
def test_what_is_old_is_forgotten(database):
    ages = {"8 days": False, "169 hours": False, "167 hours": True, "1 minute": True}
    ids = {age: new_uuid() for age in ages}
    for age, request_id in ids.items():
        database.query(
            "INSERT INTO write_requests (site_id, request_id, request_hash, response, create_time)"
            " VALUES (0, %s, '', '', now() - %s::interval) RETURNING 1",
            (request_id, age),
        )
        database.query(
            "INSERT INTO ingest_sessions (owner, session, update_time)"
            " VALUES ('', %s, now() - %s::interval) RETURNING 1",
            (request_id, age),
        )
        database.query(
            "INSERT INTO ingest_refusals (owner, session, sequence, refused, failed_count)"
            " VALUES ('', %s, 1, '', 1) RETURNING 1",
            (request_id,),
        )
    said = maintain(database)
    assert "request_ids: forgot request_ids: 2" in said
    assert "ingest_sessions: forgot ingest sessions: 2" in said
    young = sorted(ids[age] for age, kept in ages.items() if kept)
    for column, name in (("request_id", "write_requests"), ("session", "ingest_sessions"),
                         ("session", "ingest_refusals")):  # fmt: skip
        rows = database.query(f"SELECT {column}::text FROM {name} ORDER BY 1")
        assert [row[0] for row in rows] == young
    maintain(database, "--request_id_ttl=1s", "--ingest_session_ttl=1s")
    assert database.query("SELECT 1 FROM write_requests, ingest_sessions") == []


@COMMAND
@pytest.mark.parametrize("flag", ["--live_data_retention=1h", "--nonsense"])
def test_nonsense_is_refused(database, flag):
    done = run("maintain", flag, MIGRATE_DATABASE_URL=database.owner_url)
    assert done.returncode == 1 and flag.split("=")[0].strip("-") in done.stderr
