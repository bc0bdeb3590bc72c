"""Calls of many kinds at a constant rate over gRPC and REST. Each call must succeed."""

import collections
import itertools
import queue
import random
import threading
import time

import grpc
import requests
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2
from google.protobuf import json_format

from support.calls import configuration, create_site, entry, new_uuid, stamp

CALLERS = 16
START = 1_700_000_000
SECONDS = 20  # The timeout of a call.


class Failed(Exception):
    """A REST answer that is not 200."""


class MixedLoad:
    """`calls_a_second` in all, from its start until `stop`; each outcome counts."""

    def __init__(self, service, calls_a_second):
        self.outcomes = collections.Counter()
        self.entries = queue.SimpleQueue()  # Ids that were acknowledged.
        self.configurations = queue.SimpleQueue()
        self._stubs = service.stubs()
        self._rests = [service.gateway.rest() for _ in range(CALLERS)]
        sites = [create_site(self._stubs).id for _ in range(5)]
        self._known = [self._create_configuration(site) for site in sites]
        self._pause = CALLERS / calls_a_second
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(rest,), daemon=True) for rest in self._rests
        ]
        for thread in self._threads:
            thread.start()

    @property
    def good(self):
        return self.outcomes["OK"]

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join(3 * SECONDS)
            assert not thread.is_alive()
        self._stubs.close()

    def _run(self, rest):
        next_call = time.monotonic() + random.random() * self._pause
        while not self._over.wait(max(0, next_call - time.monotonic())):
            next_call += self._pause
            number = next(self._numbers)
            call = self._KINDS[number % len(self._KINDS)]
            try:
                call(self, rest, random.choice(self._known), number)
                self.outcomes["OK"] += 1
            except grpc.RpcError as error:
                self.outcomes[f"{error.code().name}: {error.details()}"] += 1
            except (Failed, requests.RequestException) as error:
                self.outcomes[f"REST: {error}"] += 1

    def _get_site(self, _, known, __):
        self._stubs.sites.GetSite(sites_pb2.GetSiteRequest(id=known.site_id), timeout=SECONDS)

    def _list_entries(self, _, known, __):
        page = live_data_pb2.ListLiveDataEntriesRequest(site_id=known.site_id, page_size=5)
        self._stubs.live_data.ListLiveDataEntries(page, timeout=SECONDS)

    def _create_entry(self, _, known, number):
        request = live_data_pb2.CreateLiveDataEntryRequest(
            live_data_entry=entry(known.site_id, dt_stamp=stamp(START + number)),
            request_id=new_uuid(),
        )
        self.entries.put(self._stubs.live_data.CreateLiveDataEntry(request, timeout=SECONDS).id)

    def _get_configuration(self, _, known, __):
        request = configurations_pb2.GetConfigurationRequest(site_id=known.site_id, id=known.id)
        self._stubs.configurations.GetConfiguration(request, timeout=SECONDS)

    def _update_configuration(self, _, known, number):
        change = {"site_id": known.site_id, "id": known.id, "production_pv_units": number % 100}
        request = configurations_pb2.UpdateConfigurationRequest(configuration=change)
        self._stubs.configurations.UpdateConfiguration(request, timeout=SECONDS)

    def _create_another_configuration(self, _, known, __):
        self._create_configuration(known.site_id)

    def _get_site_by_rest(self, rest, known, _):
        _checked(rest.get(f"/v1/sites/{known.site_id}", timeout=SECONDS))

    def _list_entries_by_rest(self, rest, known, _):
        _checked(rest.get(f"/v1/sites/{known.site_id}/liveData?page_size=5", timeout=SECONDS))

    def _create_entry_by_rest(self, rest, known, number):
        created = entry(known.site_id, dt_stamp=stamp(START + number))
        self.entries.put(_post(rest, "/v1/liveData", created))

    def _create_configuration_by_rest(self, rest, known, _):
        path = f"/v1/sites/{known.site_id}/configurations"
        self.configurations.put(_post(rest, path, configuration(known.site_id)))

    # Reads and writes of each service, alternating between gRPC and REST.
    _KINDS = (
        _get_site, _create_entry_by_rest, _list_entries, _get_site_by_rest, _create_entry,
        _get_configuration, _create_configuration_by_rest, _update_configuration,
        _list_entries_by_rest, _create_another_configuration,
    )  # fmt: skip

    def _create_configuration(self, site):
        request = configurations_pb2.CreateConfigurationRequest(
            configuration=configuration(site), request_id=new_uuid()
        )
        stored = self._stubs.configurations.CreateConfiguration(request, timeout=SECONDS)
        self.configurations.put(stored.id)
        return stored


def taken(acknowledged):
    """The content of one of its queues, sorted."""
    return sorted(acknowledged.get() for _ in range(acknowledged.qsize()))


def _post(rest, path, message):
    """The id of the created resource."""
    body = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return int(_checked(rest.post(path, body, timeout=SECONDS)).json()["id"])


def _checked(answer):
    if answer.status_code != 200:
        raise Failed(f"{answer.status_code}: {answer.text}")
    return answer
