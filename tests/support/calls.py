"""Valid requests, calls that must fail, and their effects in the database."""

import concurrent.futures
import contextlib
import dataclasses
import threading
import uuid

import grpc
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2
from google.protobuf import message, timestamp_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

# The time of the first entry in the sample data: 2016-06-01T00:00:00Z.
JUNE = 1464739200


def new_uuid():
    return str(uuid.uuid4())


def stamp(seconds, nanos=0):
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=nanos)


def site(**changes):
    return sites_pb2.Site(**{"name": "Farm Novák", "location": "Brno", **changes})


def configuration(site_id, **changes):
    fields = {
        "site_id": site_id, "battery_vendor": "Tesla", "battery_capacity_kwh": 13.5,
        "battery_max_power_kw": 5, "production_pv_units": 12, "production_bio_units": 0,
        "production_cro_units": 1, "production_pv_kwp": 4.2,
    }  # fmt: skip
    return configurations_pb2.Configuration(**{**fields, **changes})


def entry(site_id, **changes):
    fields = {
        "site_id": site_id, "dt_stamp": stamp(JUNE), "soc": 55.5, "load_kwh": 0.31,
        "net_load_kwh": 0.12, "pv_notification": True, "bio_notification": False,
        "cro_notification": False,
    }  # fmt: skip
    return live_data_pb2.LiveDataEntry(**{**fields, **changes})


def create_site(stubs, **changes):
    """A site as stored."""
    return stubs.sites.CreateSite(sites_pb2.CreateSiteRequest(site=site(**changes)), timeout=30)


def create_entry(stubs, site_id, **changes):
    """An entry as stored."""
    request = live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entry(site_id, **changes))
    return stubs.live_data.CreateLiveDataEntry(request, timeout=30)


def create_entries(stubs, entries):
    """The entries of one batch, as stored."""
    request = live_data_pb2.BatchCreateLiveDataEntriesRequest(entries=entries)
    return list(stubs.live_data.BatchCreateLiveDataEntries(request, timeout=60).live_data_entries)


def store_many(stubs, database, rows):
    """A site with `rows` entries; 300,000 fill all buffers between the database and a client that
    does not read."""
    site_id = create_site(stubs).id
    create_entry(stubs, site_id)
    database.query(
        """INSERT INTO live_data (id, site_id, dt_stamp, soc, load_kwh, net_load_kwh,
                                  pv_notification, bio_notification, cro_notification)
           SELECT id + n, site_id, dt_stamp + n * interval '1 second', soc, load_kwh, net_load_kwh,
                  true, true, true
           FROM live_data, generate_series(1000, %s) AS n RETURNING NULL""",
        [999 + rows],
    )
    return site_id


@contextlib.contextmanager
def locked(database, site_id):
    """Locks the row of the site, so that changes of it wait."""
    with database.connect() as connection:
        connection.execute("BEGIN")
        connection.execute(f"SELECT FROM sites WHERE id = {site_id} FOR UPDATE")
        yield


@dataclasses.dataclass
class Failure:
    """An error as the client receives it."""

    code: str
    text: str
    details: dict[str, message.Message]  # By type name, such as `BadRequest`.
    trailers: dict[str, str]

    @property
    def violations(self):
        """Sorted pairs of path and rule id."""
        found = self.details.get("BadRequest", error_details_pb2.BadRequest())
        return sorted((violation.field, violation.reason) for violation in found.field_violations)

    @property
    def reason(self):
        return self.details["ErrorInfo"].reason


def failure_of(error):
    """The Failure for a grpc.RpcError."""
    status = rpc_status.from_call(error)
    details = {}
    for packed in status.details if status else []:
        detail = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])()
        assert packed.Unpack(detail)
        details[detail.DESCRIPTOR.name] = detail
    info = details.get("ErrorInfo")
    assert info is None or (info.domain == "energysites.v1" and info.reason), info
    # Without `details`, whose order is not defined, and without the metadata that Envoy adds.
    trailers = {name: value for name, value in error.trailing_metadata()
                if name.startswith("grpc-") and name != "grpc-status-details-bin"}  # fmt: skip
    return Failure(error.code().name, error.details(), details, trailers)


def fail(method, request, timeout=30):
    """Makes a call that must fail and returns the Failure."""
    try:
        answer = method(request, timeout=timeout)
    except grpc.RpcError as error:
        return failure_of(error)
    raise AssertionError(f"accepted: {request} -> {answer}")


def outcome(method, request, timeout=30):
    """The response or the Failure."""
    try:
        return method(request, timeout=timeout)
    except grpc.RpcError as error:
        return failure_of(error)


def at_once(calls):
    """Runs each of `calls` in its own thread, started together; returns their results in order."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        barrier.wait(timeout=30)
        return call()

    with concurrent.futures.ThreadPoolExecutor(len(calls)) as threads:
        return [future.result(timeout=60) for future in [threads.submit(run, c) for c in calls]]


def contents(database):
    """All rows of all tables, to detect whether a call changed anything."""
    tables = ("sites", "configurations", "live_data", "write_requests")
    with database.connect() as connection:
        return {
            table: connection.execute(f"SELECT t.* FROM {table} AS t ORDER BY t").fetchall()
            for table in tables
        }
