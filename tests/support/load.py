"""A small load of every kind that the metrics have, with valid and invalid calls."""

import contextlib

from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2

from support.calls import JUNE, at_once, configuration, create_site, entry, fail, site, stamp
from support.ingest import Ingest, numbered

CALLS_AT_ONCE = 16


@contextlib.contextmanager
def watching(stubs):
    """An open stream of WatchLiveData."""
    call = stubs.live_data.WatchLiveData(live_data_pb2.WatchLiveDataRequest(), timeout=600)
    try:
        yield call
    finally:
        call.cancel()


def every_kind(stubs, watch):
    """Calls of every method that has a panel; watches until all stored entries have arrived."""
    site_id = create_site(stubs).id
    create = configurations_pb2.CreateConfigurationRequest
    stubs.configurations.CreateConfiguration(create(configuration=configuration(site_id)))
    stored = create_entries_at_once(stubs, site_id)
    get = live_data_pb2.GetLiveDataEntryRequest(site_id=site_id, id=stored[0].id)
    at_once([lambda: stubs.live_data.GetLiveDataEntry(get, timeout=30)] * CALLS_AT_ONCE)
    batch = live_data_pb2.BatchCreateLiveDataEntriesRequest(entries=numbered(site_id, 0, 100))
    stubs.live_data.BatchCreateLiveDataEntries(batch, timeout=30)
    ingest = Ingest(stubs, session=f"load-{site_id}")
    ingest.send(1, numbered(site_id, 100, 100))
    ingest.until(1)
    ingest.rest()
    list(stubs.live_data.ExportLiveData(live_data_pb2.ExportLiveDataRequest(site_ids=[site_id])))
    aggregate = live_data_pb2.AggregateLiveDataRequest(
        site_ids=[site_id], start_time=stamp(JUNE), end_time=stamp(JUNE + 86400), bucket="day"
    )
    stubs.live_data.AggregateLiveData(aggregate, timeout=30)
    fail(stubs.sites.CreateSite, sites_pb2.CreateSiteRequest(site=site(name="")))
    fail(stubs.sites.GetSite, sites_pb2.GetSiteRequest(id=2**62))
    for answer in watch:
        if any(one.load_kwh == 199 for one in answer.live_data_entries):
            break


def create_entries_at_once(stubs, site_id):
    create = live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entry(site_id))
    call = lambda: stubs.live_data.CreateLiveDataEntry(create, timeout=30)  # noqa: E731
    return at_once([call] * CALLS_AT_ONCE)
