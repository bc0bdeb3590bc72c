"""Streams of WatchLiveData, and entries that are written directly to the database."""

import threading

import grpc
from energysites.v1 import live_data_pb2

from support.calls import failure_of
from support.process import wait_until

# The month of calls.JUNE in an id, and a number that the service does not reach.
FIRST_ID = ((2016 - 1) * 12 + 5 << 46) + (1 << 40)


class Watch:
    """One stream, read by its own thread. It has begun, unless `wait` is False."""

    def __init__(self, stubs, site_ids=(), token="", wait=True, timeout=120):
        request = live_data_pb2.WatchLiveDataRequest(site_ids=site_ids, resume_token=token)
        self._start(stubs.live_data.WatchLiveData(request, timeout=timeout), token)
        if wait:
            wait_until(lambda: self.tokens or self.failure, 30, "the stream begins")

    @classmethod
    def of_call(cls, call):
        """Reads the rest of a stream that was started without a thread."""
        watch = cls.__new__(cls)
        watch._start(call, token="")
        return watch

    def _start(self, call, token):
        self.call = call
        self.entries = []
        self.token = token
        self.tokens = 0
        self.failure = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def ids(self):
        return [entry.id for entry in self.entries]

    def wait(self, count, seconds=60):
        """Waits for `count` ids and returns them."""
        wait_until(
            lambda: len(self.entries) >= count or self.failure,
            seconds,
            f"{count} entries: there are {len(self.entries)}",
        )
        assert self.failure is None, self.failure
        return self.ids

    def cancel(self):
        self.call.cancel()
        self.end()

    def end(self, seconds=30):
        """The status of the stream."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the stream does not end"
        return self.failure

    def _read(self):
        try:
            for answer in self.call:
                assert answer.resume_token
                self.entries.extend(answer.live_data_entries)
                self.token = answer.resume_token
                self.tokens += 1
        except grpc.RpcError as error:
            self.failure = failure_of(error)


class Follower:
    """A client as the contract describes: it continues after its last token when a stream fails."""

    # The codes with which a stream may fail.
    BROKEN = ("UNAVAILABLE", "CANCELLED")

    def __init__(self, service, site_ids=(), address=None):
        """`address` is that of a proxy in front of the service."""
        self.entries = []
        self.failures = []
        self._service, self._address = service, address
        self._site_ids = site_ids
        self._token = ""
        self._watch = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        wait_until(lambda: self._token, 30, "the stream begins")

    @property
    def ids(self):
        watch = self._watch
        return [entry.id for entry in self.entries] + (watch.ids if watch else [])

    def cut(self):
        watch = self._watch
        if watch is not None:
            watch.call.cancel()

    def stop(self):
        self._over.set()
        self.cut()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _follow(self):
        while not self._over.is_set():
            stubs = self._service.stubs(self._address)
            watch = Watch(stubs, self._site_ids, self._token, wait=False)
            self._watch = watch
            while watch.failure is None and not self._over.wait(0.01):
                self._token = watch.token
            watch.cancel()
            stubs.close()
            broken = watch.failure.code in self.BROKEN or self._service.resets(watch.failure)
            assert broken, watch.failure
            self.failures.append(watch.failure.code)
            self._watch = None
            self.entries += watch.entries
            self._token = watch.token


def in_order(database, site_ids=None):
    """The ids of the stored entries, in the order in which watchers get them."""
    rows = database.query(
        "SELECT id FROM live_data WHERE %(sites)s::bigint[] IS NULL OR site_id = ANY(%(sites)s)"
        " ORDER BY xid, id",
        {"sites": site_ids},
    )
    return [entry_id for (entry_id,) in rows]


def insert(connection, site_id, number):
    """Stores an entry directly in the database, without notifying the service; returns its id."""
    connection.execute(
        "INSERT INTO live_data (id, site_id, dt_stamp, soc, load_kwh, net_load_kwh,"
        " pv_notification, bio_notification, cro_notification)"
        " VALUES (%s, %s, '2016-06-01T00:00:00Z', 50, 1, 0, true, false, false)",
        (FIRST_ID + number, site_id),
    )
    return FIRST_ID + number


def make_month(database):
    """The partition for `insert`."""
    database.query("SELECT make_live_data_month('2016-06-01T00:00:00Z')")
