"""Callers that write all the while, and keep a history of every call."""

import itertools
import threading
import time

from energysites.v1 import live_data_pb2

from history import MEANS, Call, Outcome
from support.calls import JUNE, entry, new_uuid, outcome, stamp
from support.process import wait_until
from support.stubs import OWN_CONNECTION, Stubs

# How long a caller waits before it tries again; RetryInfo asks for more.
PAUSE_SECONDS = 0.02
# How long a call with a request_id is repeated before it counts as unanswered.
PATIENCE_SECONDS = 60
# A killed server is back long before gRPC's own first pause is over.
RECONNECT_SOON = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 200),
    *OWN_CONNECTION,
)


class Load:
    """`callers` threads that write to sites in turn from `with` to its end.

    They send entries and batches, with a request_id and without. A call with one is repeated until
    it is answered; one without is sent once.
    """

    def __init__(self, address, site_ids, callers=6, timeout=10, batch=5, first_number=0):
        self.history = []  # Of the calls that are over.
        self.failed_tries = 0  # Of all calls.
        self._stubs = Stubs(address, options=RECONNECT_SOON)
        self._site_ids = itertools.cycle(site_ids)
        self._timeout = timeout
        self._batch = batch
        self._numbers = itertools.count(first_number)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._faults = []
        self._threads = [threading.Thread(target=self._run) for _ in range(callers)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE_SECONDS)
        self._stubs.close()
        assert not self._faults, self._faults[0]
        assert not any(thread.is_alive() for thread in self._threads), "a caller never ended"

    def acknowledged(self):
        with self._lock:
            return sum(call.outcome is Outcome.ACKNOWLEDGED for call in self.history)

    def wait_acknowledged(self, more, seconds=60):
        """Waits until `more` calls than now are acknowledged."""
        goal = self.acknowledged() + more
        wait_until(lambda: self.acknowledged() >= goal, seconds, f"{more} more calls are answered")

    def _run(self):
        try:
            for kind in itertools.cycle(itertools.product((1, self._batch), (True, False))):
                if self._over.is_set():
                    return
                self._write(*kind)
        except BaseException as fault:  # Told where the load ends.
            self._faults.append(fault)

    def _write(self, count, with_request_id):
        with self._lock:
            first = [next(self._numbers) for _ in range(count)][0]
            site_id = next(self._site_ids)
        call = Call(range(first, first + count), new_uuid() if with_request_id else "")
        method, request = self._request(call, site_id)
        call.began = time.monotonic()
        while True:
            answer = outcome(method, request, self._timeout)
            call.codes.append(getattr(answer, "code", "OK"))
            if call.codes[-1] == "OK":
                entries = getattr(answer, "live_data_entries", [answer])
                call.ids = {int(one.load_kwh): one.id for one in entries}
                break
            call.failures.append(answer)
            with self._lock:
                self.failed_tries += 1
            patient = time.monotonic() < call.began + PATIENCE_SECONDS
            if not (with_request_id and patient and call.codes[-1] in MEANS):
                break
            time.sleep(PAUSE_SECONDS)
        call.ended = time.monotonic()
        with self._lock:
            self.history.append(call)
        if call.outcome is not Outcome.ACKNOWLEDGED:
            time.sleep(PAUSE_SECONDS)

    def _request(self, call, site_id):
        entries = [
            entry(site_id, load_kwh=number, dt_stamp=stamp(JUNE + number % 86400))
            for number in call.numbers
        ]
        if len(entries) == 1:
            return self._stubs.live_data.CreateLiveDataEntry, live_data_pb2.CreateLiveDataEntryRequest(
                live_data_entry=entries[0], request_id=call.request_id or None
            )
        return (
            self._stubs.live_data.BatchCreateLiveDataEntries,
            live_data_pb2.BatchCreateLiveDataEntriesRequest(
                entries=entries, request_id=call.request_id or None
            ),
        )
