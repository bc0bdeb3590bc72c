"""Shared helpers for programs in tests: free ports, waiting, one process."""

import fcntl
import os
import pathlib
import random
import signal
import socket
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("ENERGY_SITES_BUILD_DIR", ROOT / "build" / "dev"))

# Below the ports that the kernel gives to outgoing connections.
_PORTS = range(10_000, 32_000)
_given_ports = set()
_giving_ports = threading.Lock()
# A byte for each port, locked by the process that was given it. Open for as long as the process runs.
_ports_taken = open(f"/tmp/es-ports-{os.getuid()}", "ab")


def _take(port):
    """Whether `port` is free, and now ours."""
    if port in _given_ports:
        return False
    try:
        fcntl.lockf(_ports_taken, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _given_ports.add(port)
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count):
    """`count` free ports of 127.0.0.1 that this function has not returned before.

    So those that start many servers at once, also in several processes, do not give one port to two
    of them.
    """
    with _giving_ports:
        ports = []
        while len(ports) < count:
            port = random.choice(_PORTS)
            if _take(port):
                ports.append(port)
        return ports


def wait_until(condition, seconds, what):
    """Returns the first true value of `condition()`; fails, naming `what`, after `seconds`."""
    limit = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > limit:
            raise TimeoutError(f"after {seconds} s still not: {what}")
        time.sleep(0.01)
    return value


class Process:
    """A program that runs until `stop` or `kill`, with its output in the file `log`."""

    def __init__(self, command, log, environment=None):
        self.log = pathlib.Path(log)
        with open(self.log, "ab") as output:
            self._process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})},
            )  # fmt: skip

    @property
    def pid(self):
        return self._process.pid

    def runs(self):
        return self._process.poll() is None

    def wait_healthy(self, condition, seconds, what):
        """Waits for `condition()`; if the program ends, fails with the end of its log.

        Kills the program on failure, because the caller may not have the object yet.
        """
        try:
            wait_until(lambda: not self.runs() or condition(), seconds, what)
        except BaseException as error:
            self.kill()
            if isinstance(error, TimeoutError):
                raise TimeoutError(f"{error}\n{self.tail()}") from None
            raise
        if not self.runs():
            raise RuntimeError(f"ended with {self._process.returncode}:\n{self.tail()}")

    def memory_mib(self):
        """Its current resident memory."""
        return self._status_mib("VmRSS")

    def peak_mib(self):
        """Its maximum resident memory so far."""
        return self._status_mib("VmHWM")

    def _status_mib(self, name):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        [line] = [line for line in status.splitlines() if line.startswith(f"{name}:")]
        return int(line.split()[1]) / 1024

    def tail(self):
        return self.log.read_text(errors="replace")[-3000:]

    def signal(self, number):
        self._process.send_signal(number)

    def stop(self, seconds=20):
        """Stops it with SIGTERM and returns its exit code."""
        if self.runs():
            self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self):
        if self.runs():
            self.signal(signal.SIGKILL)
        return self.wait(10)

    def wait(self, seconds):
        return self._process.wait(timeout=seconds)
