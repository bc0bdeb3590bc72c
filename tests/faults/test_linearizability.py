"""Etag updates of sites by many clients: as if they were carried out one at a time."""

import concurrent.futures
import json
import random
import subprocess
import threading
import time

import pytest
from energysites.v1 import sites_pb2

from support.calls import new_uuid, outcome, site
from support.process import ROOT, wait_until

CLIENTS = 32
# Each judged by itself: the time that it takes grows with the calls on one at the same time.
SITES = 8
CHECKER = ROOT / ".deps" / "bin" / "linearizability"
# An update whose answer was lost may be carried out at any later time.
NEVER = 1 << 62
# Tells afterwards which of them were.
KEEP_VERSIONS = """
CREATE TABLE versions (site_id bigint, etag bigint, location text);
CREATE FUNCTION keep_version() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN INSERT INTO public.versions VALUES (NEW.id, NEW.etag, NEW.location); RETURN NULL; END $$;
CREATE TRIGGER keep_version AFTER UPDATE ON sites FOR EACH ROW EXECUTE FUNCTION keep_version();
"""


class Client:
    """Reads and updates sites, by the etags that it saw last, and notes each call."""

    def __init__(self, stubs, site_ids, number, seed):
        self.history = []
        self._stubs = stubs
        self._number = number
        self._random = random.Random(f"{seed}-{number}")
        self._etags = dict.fromkeys(site_ids, "1")

    def run(self, calls):
        for turn in range(calls):
            site_id = self._random.choice(list(self._etags))
            if self._random.random() < 0.4:
                self.read(site_id)
            else:
                self._update(site_id, f"by {self._number}, turn {turn}")

    def read(self, site_id):
        request = sites_pb2.GetSiteRequest(id=site_id)
        self._note("read", self._stubs.sites.GetSite, request, site_id, "")

    def _update(self, site_id, location):
        changed = site(id=site_id, location=location, etag=self._etags[site_id])
        request = sites_pb2.UpdateSiteRequest(site=changed)
        self._note("update", self._stubs.sites.UpdateSite, request, site_id, location)

    def _note(self, kind, method, request, site_id, value):
        expected, started = self._etags[site_id], time.monotonic_ns()
        answer = outcome(method, request, timeout=20)
        ended = time.monotonic_ns()
        result = "ok"
        version = {}
        if not hasattr(answer, "code"):
            version = {"etag": answer.etag, "value": answer.location}
            self._etags[site_id] = answer.etag
        elif answer.code == "ABORTED" and answer.reason == "STALE_ETAG":
            result = "stale"
            self._etags[site_id] = str(int(expected) + 1)  # Perhaps; a read will tell.
        elif kind == "read":
            assert answer.code == "UNAVAILABLE", answer
            return
        else:
            assert answer.code in ("UNAVAILABLE", "ABORTED"), answer
            # A conflict was rolled back, like a call that was never made.
            if answer.code == "ABORTED":
                return
            result, ended = "unknown", NEVER
        self.history.append({
            "client": self._number, "resource": site_id, "started_ns": started, "ended_ns": ended, "kind": kind,
            "expected": expected, "value": value, "outcome": result, "answer": version,
        })  # fmt: skip


def new_site(stubs):
    """The id of one, however often it is tried: connections were ended in the round before."""
    request = sites_pb2.CreateSiteRequest(site=site(), request_id=new_uuid())
    create = stubs.sites.CreateSite
    return wait_until(
        lambda: getattr(outcome(create, request, timeout=20), "id", None), 30, "a site is created"
    )


def run_clients(stubs, seed, calls, meanwhile):
    """The history of CLIENTS clients with `calls` each; `meanwhile(over, site_ids)` runs beside."""
    site_ids = [new_site(stubs) for _ in range(SITES)]
    first = Client(stubs, site_ids, CLIENTS, seed)
    for site_id in site_ids:
        first.read(site_id)
    clients = [Client(stubs, site_ids, number, seed) for number in range(CLIENTS)]
    over = threading.Event()
    beside = threading.Thread(target=meanwhile, args=(over, site_ids))
    beside.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as threads:
            list(threads.map(lambda client: client.run(calls), clients))
    finally:
        over.set()
        beside.join()
    return first.history + [one for client in clients for one in client.history]


def with_lost_answers(history, database):
    """The history with every update that was carried out, and none that was not."""
    rows = database.query("SELECT site_id, location, etag FROM versions")
    etags = {(site_id, location): str(etag) for site_id, location, etag in rows}
    settled = []
    for one in history:
        etag = etags.get((one["resource"], one["value"]))
        if one["outcome"] == "unknown" and etag:
            answer = {"etag": etag, "value": one["value"]}
            settled.append({**one, "outcome": "ok", "answer": answer})
        elif one["outcome"] != "unknown":
            settled.append(one)
    return settled


def is_linearizable(history):
    result = subprocess.run([CHECKER], input=json.dumps(history), capture_output=True, text=True,
                            timeout=300, check=False)  # fmt: skip
    assert result.returncode in (0, 1), result.stdout + result.stderr
    return result.returncode == 0


def test_etag_updates_are_linearizable(stubs, database, report, rounds):
    """While connections of the server are ended, so that some answers are lost."""

    def end_connections(over, _):
        while not over.wait(0.3):
            database.query(
                """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE usename = 'energy_sites' AND datname = current_database()
                   ORDER BY random() LIMIT 2"""
            )

    with database.connect() as connection:
        connection.execute(KEEP_VERSIONS)
    totals = {"ok": 0, "stale": 0, "unknown": 0}
    for seed in range(rounds(2, 10)):
        history = run_clients(stubs, seed, rounds(10, 40), end_connections)
        assert is_linearizable(with_lost_answers(history, database)), f"seed {seed}"
        for one in history:
            totals[one["outcome"]] += one["kind"] == "update"
    for result, count in totals.items():
        report.note(f"updates {result}", count)
    assert totals["ok"] and totals["stale"]


def test_a_planted_lost_update_is_found(stubs, database):
    """Someone turns the etag back, so that two updates go by the same one."""

    def turn_back(over, site_ids):
        while not over.wait(0.05):
            database.query(
                "UPDATE sites SET etag = etag - 1 WHERE id = %s AND etag > 1 RETURNING id",
                [site_ids[0]],
            )

    assert not is_linearizable(run_clients(stubs, 0, 20, turn_back))


@pytest.mark.parametrize("outcome_of_second", ["ok", "stale"])
def test_the_judge_knows_right_from_wrong(outcome_of_second):
    def operation(kind, start, result="ok", **fields):
        return {"client": start, "resource": 1, "started_ns": start, "ended_ns": start + 5, "kind": kind,
                "expected": "", "value": "", "outcome": result, "answer": {}, **fields}  # fmt: skip

    history = [
        operation("read", 0, answer={"etag": "1", "value": "Brno"}),
        operation("update", 10, expected="1", value="a", answer={"etag": "2", "value": "a"}),
        operation("update", 11, outcome_of_second, expected="1", value="b",
                  answer={"etag": "2", "value": "b"}),
    ]  # fmt: skip
    assert is_linearizable(history) == (outcome_of_second == "stale")
