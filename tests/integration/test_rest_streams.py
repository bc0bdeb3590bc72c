"""Streams through Envoy: over REST a line an answer, and no timeout of Envoy's ends them."""

import json
import queue

import pytest
from energysites.v1 import live_data_pb2
from google.protobuf import json_format

from support.calls import create_entry, create_site, entry
from support.server import standing_still


@pytest.fixture
def hasty_front(start_front):
    """An Envoy that gives calls, but not streams, half a second."""
    return start_front(call_timeout="0.5s", stream_idle_timeout="0.5s")


def let_calls_time_out(rest, service):
    """Returns once a call has been given up by Envoy, which takes longer than a stream may idle."""
    with standing_still(service):
        assert rest.get("/v1/sites").status_code in (408, 504)


def answer_of(line):
    return json_format.Parse(line, live_data_pb2.WatchLiveDataResponse())


def entries_of(lines, count):
    """The next `count` entries of a watch, and the last token."""
    found = []
    while len(found) < count:
        answer = answer_of(next(lines))
        found += answer.live_data_entries
        token = answer.resume_token
    return found, token


def test_a_watch_outlives_the_timeouts_of_calls(hasty_front, service, stubs):
    site_id = create_site(stubs).id
    rest = hasty_front.rest()
    with rest.get(f"/v1/liveData:watch?site_ids={site_id}", stream=True) as watch:
        assert watch.status_code == 200
        lines = watch.iter_lines(chunk_size=1)
        first = json.loads(next(lines))
        assert first["live_data_entries"] == [] and first["resume_token"]
        let_calls_time_out(rest, service)
        stored = create_entry(stubs, site_id)
        assert entries_of(lines, 1)[0] == [stored]


def test_a_watch_goes_on_behind_the_token_of_a_line(rest, stubs):
    site_id = create_site(stubs).id
    with rest.get(f"/v1/liveData:watch?site_ids={site_id}", stream=True) as watch:
        lines = watch.iter_lines(chunk_size=1)
        next(lines)
        stored = [create_entry(stubs, site_id)]
        found, token = entries_of(lines, 1)
    stored += [create_entry(stubs, site_id) for _ in range(2)]
    parameters = {"site_ids": site_id, "resume_token": token}
    with rest.get("/v1/liveData:watch", params=parameters, stream=True) as watch:
        found += entries_of(watch.iter_lines(chunk_size=1), 2)[0]
    assert found == stored


@pytest.mark.parametrize(
    ("given", "content_type", "text"),
    [
        ("csv", "text/csv; charset=utf-8", "site_id,soc\n{id},55.5\n{id},55.5\n# end 2 rows\n"),
        ("ndjson", "application/x-ndjson",
         '{{"site_id":"{id}","soc":55.5}}\n' * 2 + '{{"end":{{"rows":2}}}}\n'),
    ],
)  # fmt: skip
def test_a_download_is_a_file(rest, stubs, given, content_type, text):
    """With the columns of `read_mask`, in the order of the contract and not of the mask."""
    site_id = create_site(stubs).id
    for _ in range(2):
        create_entry(stubs, site_id)
    parameters = {"site_ids": site_id, "format": given, "read_mask": "soc,site_id"}
    answer = rest.get("/v1/liveData:download", params=parameters)
    assert answer.text == text.format(id=site_id)
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-disposition"] == f'attachment; filename="live-data.{given}"'


def test_a_refused_download_is_no_file(rest):
    answer = rest.get("/v1/liveData:download?site_ids=987654321")
    assert answer.status_code == 404 and answer.json()["code"] == 5
    assert answer.headers["content-type"] == "application/json"
    assert "content-disposition" not in answer.headers


def test_an_ingest_outlives_the_timeouts_of_calls(hasty_front, service, stubs):
    site_id = create_site(stubs).id
    client = hasty_front.stubs()
    requests = queue.SimpleQueue()
    try:
        answers = client.live_data.IngestLiveData(iter(requests.get, None), timeout=60)
        requests.put(live_data_pb2.IngestLiveDataRequest(start={"session": "gateway-7"}))
        assert next(answers).committed_sequence == 0
        let_calls_time_out(hasty_front.rest(), service)
        batch = live_data_pb2.IngestBatch(sequence=1, entries=[entry(site_id)])
        requests.put(live_data_pb2.IngestLiveDataRequest(batch=batch))
        assert next(answers).committed_sequence == 1
    finally:
        requests.put(None)
        client.close()
