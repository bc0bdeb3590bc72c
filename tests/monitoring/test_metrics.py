"""What the metrics of a server say, and that Prometheus finds nothing wrong with their form."""

import os
import re
import time

import pytest
from energysites.v1 import live_data_pb2, sites_pb2
from support import load
from support.calls import create_site, entry, fail, site
from support.ingest import Ingest, numbered
from support.metrics import scrape, value, values
from support.process import wait_until
from support.prometheus import promtool


def test_the_form_of_the_metrics_is_clean(watched):
    assert promtool("check", "metrics", text=scrape(watched.server)) == ""


def test_no_label_tells_of_a_site_or_of_anything_that_callers_send(watched):
    names = set(re.findall(r'[{,]([a-z_]+)="', scrape(watched.server)))
    assert names == {"grpc_type", "grpc_service", "grpc_method", "grpc_code", "le", "executor",
                     "rule", "step", "outcome", "work", "version"}  # fmt: skip


def test_broken_rules_are_counted_by_rule(server, stubs):
    site_id = create_site(stubs).id

    def violations(rule):
        found = values(server, "energy_sites_validation_violations_total", rule=rule)
        return sum(found.values())

    name = "energy_sites_validation_violations_total"
    assert values(server, name) == {}
    fail(stubs.sites.CreateSite, sites_pb2.CreateSiteRequest(site=site(name="", location="")))
    assert values(server, name) == {'rule="string.min_len"': 2}
    # Of a batch that goes on without them, of a stream, and of streams of answers.
    bad = [entry(site_id, soc=101), entry(site_id, soc=-1), entry(site_id)]
    batch = live_data_pb2.BatchCreateLiveDataEntriesRequest(entries=bad, return_partial_success=True)
    stubs.live_data.BatchCreateLiveDataEntries(batch, timeout=30)
    assert violations("double.gte_lte") == 2
    ingest = Ingest(stubs)
    ingest.send(1, bad)
    ingest.until(1)
    ingest.rest()
    assert violations("double.gte_lte") == 4
    for method, request in (
        (stubs.live_data.ExportLiveData, live_data_pb2.ExportLiveDataRequest(site_ids=[0])),
        (stubs.live_data.WatchLiveData, live_data_pb2.WatchLiveDataRequest(site_ids=[0])),
    ):
        before = violations("int64.gt")
        fail(lambda request, timeout, method=method: list(method(request, timeout=timeout)), request)
        assert violations("int64.gt") == before + 1


def test_batches_and_rides_are_measured(server, stubs):
    site_id = create_site(stubs).id
    batch = live_data_pb2.BatchCreateLiveDataEntriesRequest(entries=numbered(site_id, 0, 30))
    stubs.live_data.BatchCreateLiveDataEntries(batch, timeout=30)
    ingest = Ingest(stubs)
    for sequence in (1, 2):
        ingest.send(sequence, numbered(site_id, 100 * sequence, 70))
        ingest.until(sequence)
    ingest.rest()
    for method, count, entries in (("BatchCreateLiveDataEntries", 1, 30), ("IngestLiveData", 2, 140)):
        name = "energy_sites_batch_entries"
        assert value(server, f"{name}_count", grpc_method=method) == count
        assert value(server, f"{name}_sum", grpc_method=method) == entries
    # The month is there now: all of these ride.
    created = len(load.create_entries_at_once(stubs, site_id))
    create = {"grpc_method": "CreateLiveDataEntry"}
    assert value(server, "energy_sites_shared_query_calls_sum", **create) == created
    assert 1 <= value(server, "energy_sites_shared_query_calls_count", **create) <= created


def test_each_executor_tells_of_its_connections(start_server, database):
    server = start_server(database, flags=["--database_connections=3", "--export_connections=2",
                                           "--ingest_connections=1"])  # fmt: skip
    for executor, connections in (("unary", 3), ("export", 2), ("ingest", 1)):
        assert value(server, "energy_sites_executor_connections", executor=executor) == connections
        for state in ("queued", "running"):
            assert value(server, f"energy_sites_executor_{state}_calls", executor=executor) == 0
        assert value(server, "energy_sites_executor_wait_seconds_count", executor=executor) == 0


def test_the_wait_for_a_connection_is_measured(server, stubs):
    stubs.sites.ListSites(sites_pb2.ListSitesRequest(), timeout=30)
    assert value(server, "energy_sites_executor_wait_seconds_count", executor="unary") == 1
    assert value(server, "energy_sites_executor_wait_seconds_sum", executor="unary") > 0


def test_the_schema_and_the_months_ahead(start_server, database):
    server = start_server(database)
    newest = database.query("SELECT max(version) FROM schema_migrations")[0][0]
    assert value(server, "energy_sites_database_schema_version") == newest
    wait_until(lambda: value(server, "energy_sites_database_months_ahead") == 0, 10, "a look")
    # As the owner's maintenance makes them; with one missing, those behind it do not count.
    for months in (0, 1, 3):
        database.query(f"""SELECT make_live_data_month(
            (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '{months} months')
            AT TIME ZONE 'UTC')""")
    wait_until(lambda: value(server, "energy_sites_database_months_ahead") == 1, 10, "one month")


def test_connections_that_break_are_counted(server, stubs, database):
    lost = {"name": "energy_sites_database_connections_lost_total", "executor": "unary"}
    stubs.sites.ListSites(sites_pb2.ListSitesRequest(), timeout=30)
    assert value(server, **lost) == 0
    database.query("""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                      WHERE datname = current_database() AND usename = 'energy_sites'""")

    def lists():
        try:
            stubs.sites.ListSites(sites_pb2.ListSitesRequest(), timeout=30)
        except Exception:  # noqa: BLE001  (which one does not matter here)
            return value(server, **lost) > 0
        return value(server, **lost) > 0

    wait_until(lists, 20, "the call meets the broken connection")
    assert value(server, **lost) == 1


def test_the_process_is_told_as_prometheus_names_it(start_server, database):
    before = time.time()
    server = start_server(database)
    pid = server.process.pid
    resident = server.process.memory_mib() * 2**20
    assert value(server, "process_resident_memory_bytes") == pytest.approx(resident, rel=0.3)
    assert value(server, "process_virtual_memory_bytes") >= resident
    files = len(os.listdir(f"/proc/{pid}/fd"))
    assert value(server, "process_open_fds") == pytest.approx(files, abs=5)
    assert value(server, "process_max_fds") >= files
    assert value(server, "process_cpu_seconds_total") > 0
    started = value(server, "process_start_time_seconds")
    # The kernel tells of its own start in whole seconds.
    assert before - 1 <= started <= time.time() + 1
    assert list(values(server, "energy_sites_build_info")) == ['version="0.1.0"']
