"""A DeleteSite that was interrupted: the site is gone for every caller, and maintenance goes on."""

import grpc
import pytest
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2
from google.protobuf import field_mask_pb2

from support.calls import (
    JUNE, configuration, create_entry, create_site, entry, fail, new_uuid, outcome, stamp, store_many,
)  # fmt: skip
from support.ingest import Ingest, refused
from support.maintenance import runs
from support.metrics import counted
from support.process import wait_until
from support.watch import Watch

pytestmark = pytest.mark.one_server("kills the process")

ROWS = 100_000
# Behind the rows of store_many, and so deleted last.
JULY = JUNE + 30 * 86400
NEVER = ("--maintenance_interval=1h",)
OFTEN = ("--maintenance_interval=100ms",)


def rows_of(database, site_id, table="live_data"):
    return database.query(f"SELECT count(*) FROM {table} WHERE site_id = {site_id}")[0][0]


def is_deleted(database, site_id):
    return database.query(f"SELECT id FROM sites WHERE id = {site_id}") == []


def stamped(site_id):
    return entry(site_id, dt_stamp=stamp(JULY))


class Ghost:
    """A site with configurations and entries whose deletion a kill -9 interrupted; and another
    site, with the same."""

    def __init__(self, start_server, database):
        self.database = database
        self.server = start_server(database, flags=NEVER)
        self.stubs = self.server.stubs()
        self.resume_token = Watch(self.stubs).token
        self.site_id = store_many(self.stubs, database, ROWS)
        self.other_id = create_site(self.stubs).id
        self.requests = {name: self._with_ids(make) for name, make in self._writes().items()}
        for method, request in self.requests.values():
            method(request, timeout=30)
        self.configuration = self._create_configuration(self.site_id)
        self.other_configuration = self._create_configuration(self.other_id)
        self.entry = create_entry(self.stubs, self.site_id, dt_stamp=stamp(JULY))
        self.other_entry = create_entry(self.stubs, self.other_id, dt_stamp=stamp(JULY))
        self._interrupt(start_server(database, flags=NEVER))

    def _writes(self):
        """Writes that name the site."""
        stubs, one, other = self.stubs, self.site_id, self.other_id
        return {
            "CreateConfiguration": (
                stubs.configurations.CreateConfiguration,
                configurations_pb2.CreateConfigurationRequest(configuration=configuration(one)),
            ),
            "CreateLiveDataEntry": (
                stubs.live_data.CreateLiveDataEntry,
                live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=stamped(one)),
            ),
            "BatchCreateLiveDataEntries": (
                stubs.live_data.BatchCreateLiveDataEntries,
                live_data_pb2.BatchCreateLiveDataEntriesRequest(
                    entries=[stamped(other), stamped(one)]
                ),
            ),
        }

    @staticmethod
    def _with_ids(write):
        method, request = write
        request.request_id = new_uuid()
        return method, request

    def _create_configuration(self, site_id):
        request = configurations_pb2.CreateConfigurationRequest(
            configuration=configuration(site_id)
        )
        return self.stubs.configurations.CreateConfiguration(request, timeout=30)

    def _interrupt(self, victim):
        stored = rows_of(self.database, self.site_id)
        call = victim.stubs().sites.DeleteSite.future(
            sites_pb2.DeleteSiteRequest(id=self.site_id), timeout=60
        )
        wait_until(
            lambda: rows_of(self.database, self.site_id) < stored, 30, "the deletion is under way"
        )
        victim.kill()
        assert call.exception(timeout=30) is not None
        # The last statement of the server that was killed is over.
        wait_until(lambda: not self._is_locked(), 30, "no transaction holds the site")
        assert 0 < rows_of(self.database, self.site_id) < stored

    def _is_locked(self):
        return self.database.query(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
            " AND query LIKE '%DELETE%' AND pid <> pg_backend_pid()"
        )


@pytest.fixture
def ghost(start_server, database):
    return Ghost(start_server, database)


def calls_that_name(ghost):
    """Name, method and request of every call that names the site and fails where there is none."""
    sites, configurations = ghost.stubs.sites, ghost.stubs.configurations
    live_data, site_id = ghost.stubs.live_data, ghost.site_id
    key = {"site_id": site_id, "id": ghost.configuration.id}
    entry_key = {"site_id": site_id, "id": ghost.entry.id}
    changed = sites_pb2.Site(id=site_id, name="Mill")
    vendor = configurations_pb2.Configuration(**key, battery_vendor="KATL")
    yield "GetSite", sites.GetSite, sites_pb2.GetSiteRequest(id=site_id)
    for dry in (True, False):
        yield f"UpdateSite, {dry}", sites.UpdateSite, sites_pb2.UpdateSiteRequest(
            site=changed, update_mask=field_mask_pb2.FieldMask(paths=["name"]), validate_only=dry
        )
        yield (
            f"UpdateConfiguration, {dry}", configurations.UpdateConfiguration,
            configurations_pb2.UpdateConfigurationRequest(
                configuration=vendor, validate_only=dry,
                update_mask=field_mask_pb2.FieldMask(paths=["battery_vendor"]),
            ),
        )  # fmt: skip
    yield (
        "GetConfiguration", configurations.GetConfiguration,
        configurations_pb2.GetConfigurationRequest(**key),
    )  # fmt: skip
    yield (
        "ListConfigurations", configurations.ListConfigurations,
        configurations_pb2.ListConfigurationsRequest(site_id=site_id),
    )  # fmt: skip
    yield (
        "GetLiveDataEntry", live_data.GetLiveDataEntry,
        live_data_pb2.GetLiveDataEntryRequest(**entry_key),
    )  # fmt: skip
    for order in ("", "dt_stamp"):
        yield (
            f"ListLiveDataEntries, {order}", live_data.ListLiveDataEntries,
            live_data_pb2.ListLiveDataEntriesRequest(site_id=site_id, order_by=order),
        )  # fmt: skip
    yield (
        "AggregateLiveData", live_data.AggregateLiveData,
        live_data_pb2.AggregateLiveDataRequest(
            site_ids=[ghost.other_id, site_id], start_time=stamp(JUNE), end_time=stamp(JULY),
            bucket="day",
        ),
    )  # fmt: skip
    yield (
        "ExportLiveData", listed(live_data.ExportLiveData),
        live_data_pb2.ExportLiveDataRequest(site_ids=[ghost.other_id, site_id]),
    )  # fmt: skip
    yield (
        "DownloadLiveData", listed(live_data.DownloadLiveData),
        live_data_pb2.DownloadLiveDataRequest(site_ids=[ghost.other_id, site_id]),
    )  # fmt: skip
    for name, (method, request) in ghost.requests.items():
        yield f"{name} again", method, request
        for change in ({"request_id": new_uuid()}, {"validate_only": True}):
            other = type(request)()
            other.CopyFrom(request)
            other.MergeFrom(type(request)(**change))
            yield f"{name}, {change}", method, other
        other = type(request)()
        other.CopyFrom(request)
        other.ClearField("request_id")
        yield f"{name} without request_id", method, other
    for dry in (True, False):
        yield (
            f"DeleteConfiguration, {dry}", configurations.DeleteConfiguration,
            configurations_pb2.DeleteConfigurationRequest(**key, validate_only=dry),
        )  # fmt: skip
        yield (
            f"DeleteLiveDataEntry, {dry}", live_data.DeleteLiveDataEntry,
            live_data_pb2.DeleteLiveDataEntryRequest(**entry_key, validate_only=dry),
        )  # fmt: skip


def listed(method):
    return lambda request, timeout: list(method(request, timeout=timeout))


def codes(calls):
    return {name: getattr(outcome(method, request), "code", "OK") for name, method, request in calls}


def test_every_call_that_names_the_site_says_not_found(ghost):
    found = codes(calls_that_name(ghost))
    assert len(found) > 25
    assert {name: code for name, code in found.items() if code != "NOT_FOUND"} == {}
    # Nothing of it was changed.
    assert rows_of(ghost.database, ghost.site_id, "configurations") == 2


def test_calls_with_a_verdict_for_each_site_leave_it_out(ghost):
    live_data = ghost.stubs.live_data
    latest = live_data.GetLatestLiveData(
        live_data_pb2.GetLatestLiveDataRequest(site_ids=[ghost.site_id, ghost.other_id])
    )
    assert [one.id for one in latest.live_data_entries] == [ghost.other_entry.id]
    assert list(latest.missing_site_ids) == [ghost.site_id]
    batch = live_data.BatchCreateLiveDataEntries(
        live_data_pb2.BatchCreateLiveDataEntriesRequest(
            entries=[stamped(ghost.site_id), stamped(ghost.other_id)], return_partial_success=True
        ),
        timeout=30,
    )
    not_found = grpc.StatusCode.NOT_FOUND.value[0]
    assert {i: status.code for i, status in batch.failed_requests.items()} == {0: not_found}
    stream = Ingest(ghost.stubs)
    stream.send(1, [stamped(ghost.site_id), stamped(ghost.other_id)])
    (failed,) = refused(stream.rest()).values()
    assert {i: status.code for i, status in failed.failed_entries.items()} == {0: not_found}


def test_lists_exports_and_watches_of_all_sites_leave_it_out(ghost):
    sites, configurations = ghost.stubs.sites, ghost.stubs.configurations
    live_data, other = ghost.stubs.live_data, ghost.other_id
    listed_sites = sites.ListSites(sites_pb2.ListSitesRequest(), timeout=30).sites
    assert [one.id for one in listed_sites] == [other]
    request = configurations_pb2.ListConfigurationsRequest()
    found = configurations.ListConfigurations(request, timeout=30).configurations
    assert [one.id for one in found] == [ghost.other_configuration.id]
    expected = ghost.database.query(f"SELECT id FROM live_data WHERE site_id = {other} ORDER BY id")
    expected = [entry_id for (entry_id,) in expected]
    for order in ("", "dt_stamp"):
        request = live_data_pb2.ListLiveDataEntriesRequest(order_by=order)
        found = live_data.ListLiveDataEntries(request, timeout=30).live_data_entries
        assert sorted(one.id for one in found) == expected
    answers = live_data.ExportLiveData(live_data_pb2.ExportLiveDataRequest(), timeout=30)
    exported = [one for answer in answers for one in answer.live_data_entries]
    assert sorted(one.id for one in exported) == expected
    watch = Watch(ghost.stubs, token=ghost.resume_token)
    created = create_entry(ghost.stubs, other)
    wait_until(lambda: created.id in watch.ids, 30, "what was stored last")
    assert {one.site_id for one in watch.entries} == {other}


def test_a_repeated_call_goes_on(ghost):
    ghost.stubs.sites.DeleteSite(sites_pb2.DeleteSiteRequest(id=ghost.site_id), timeout=60)
    assert_gone(ghost)


def test_maintenance_finishes_it(ghost, start_server):
    ghost.server.kill()  # It leads, and its next round is in an hour.
    server = start_server(ghost.database, flags=OFTEN)
    wait_until(lambda: is_deleted(ghost.database, ghost.site_id), 60, "the deletion is finished")
    ghost.stubs = server.stubs()
    assert_gone(ghost)
    wait_until(lambda: runs(server, "site_deletions", "done"), 20, "the step is counted")
    assert not counted([server], "energy_sites_maintenance_runs_total", outcome="failed")


def assert_gone(ghost):
    assert is_deleted(ghost.database, ghost.site_id)
    for table in ("live_data", "configurations", "live_data_rollups", "live_data_dirty_buckets",
                  "write_requests"):  # fmt: skip
        assert rows_of(ghost.database, ghost.site_id, table) == 0, table
    assert rows_of(ghost.database, ghost.other_id) == 2
    request = sites_pb2.DeleteSiteRequest(id=ghost.site_id)
    assert fail(ghost.stubs.sites.DeleteSite, request).code == "NOT_FOUND"


def test_maintenance_leaves_a_deletion_under_way_to_its_call(start_server, database):
    """Else it could take the site away between two parts, and the call would say NOT_FOUND."""
    server = start_server(database, flags=OFTEN)
    stubs = server.stubs()
    site_id = store_many(stubs, database, ROWS)
    before = runs(server, "site_deletions", "done")
    stubs.sites.DeleteSite(sites_pb2.DeleteSiteRequest(id=site_id), timeout=60)
    assert is_deleted(database, site_id)
    wait_until(lambda: runs(server, "site_deletions", "done") > before, 20, "rounds beside it")
    assert "site_deletions" not in server.log_text()


def test_a_deletion_that_cannot_go_on_does_not_stop_others(start_server, database):
    server = start_server(database, flags=["--maintenance_interval=100ms"])
    stubs = server.stubs()
    blocked, other = create_site(stubs).id, create_site(stubs).id
    with database.connect() as holder:
        holder.execute("BEGIN")
        holder.execute(f"SELECT FROM sites WHERE id = {blocked} FOR KEY SHARE")
        for site_id, minutes in ((blocked, 2), (other, 1)):
            database.query(
                f"UPDATE sites SET delete_time = now() - interval '{minutes} minutes'"
                f" WHERE id = {site_id} RETURNING id"
            )
        remaining = "SELECT id FROM sites ORDER BY id"
        wait_until(lambda: database.query(remaining) == [(blocked,)], 20, "the other site is gone")
    wait_until(lambda: not database.query(remaining), 20, "the site is gone when it is let go")
    stubs.close()
