"""Repeats calls that failed, when it is safe and when they can succeed later."""

import random
import time

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

CALL_SECONDS = 30
GIVE_UP_SECONDS = 60


def retry_delay(error):
    """The seconds that the server asks the client to wait (RetryInfo), or None."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return info.retry_delay.ToTimedelta().total_seconds()
    return None


def may_succeed_later(error):
    """Whether the same call can succeed later. It does not say whether this call had an effect."""
    if retry_delay(error) is not None:
        return True
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return True
    # Envoy resets a stream whose server stopped.
    return error.code() == grpc.StatusCode.INTERNAL and "RST_STREAM" in error.details()


class Backoff:
    """Waits between attempts: as long as RetryInfo says, else longer each time, with jitter."""

    def __init__(self):
        self._give_up = time.monotonic() + GIVE_UP_SECONDS
        self._pause = 0.1

    def wait(self, error):
        """Returns when it is time for the next attempt. Raises `error` if there is to be none."""
        pause = (retry_delay(error) or self._pause) * random.uniform(1, 1.5)
        if not may_succeed_later(error) or time.monotonic() + pause > self._give_up:
            raise error
        self._pause = min(self._pause * 2, 5)
        time.sleep(pause)


def call(method, request):
    """The answer of a unary call, which is repeated if it fails for a reason that can pass.

    A call that failed can have had its effect. So pass only a request that may be repeated: a read,
    or a write with a `request_id`, which stays the same in each attempt.
    """
    backoff = Backoff()
    while True:
        try:
            return method(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            backoff.wait(error)
