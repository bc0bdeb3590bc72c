"""A TCP proxy that closes, resets, pauses or refuses connections on request of the test."""

import contextlib
import dataclasses
import socket
import struct
import threading
import time

# With this option, close sends a RST.
RESET_AT_CLOSE = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@dataclasses.dataclass
class Trap:
    first: bytes
    then: bytes
    forward: bool
    pair: tuple | None = None  # The connection on which `first` was sent.


class Proxy:
    """Listens on 127.0.0.1 and forwards bytes to `target`: a port there or the path of a socket."""

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.forwarded = 0  # Bytes that clients sent.
        self.trapped_at = None  # When the last trap closed a connection, in seconds since 1970.
        self._lock = threading.Lock()
        self._open = []
        self._trap = None
        self._moving = threading.Event()
        self._moving.set()
        self._listen()

    def cut(self, reset=False):
        """Ends every connection; returns whether there was one. `reset`: for clients by a RST."""
        with self._lock:
            closing, self._open = self._open, []
        for pair in closing:
            self._end(pair, reset)
        return bool(closing)

    def trap(self, first, then, forward):
        """Once: closes the connection on which a client has sent `first` when it sends `then`.

        Immediately after `then` or, with `forward` False, immediately before it.
        """
        with self._lock:
            self._trap = Trap(first, then, forward)

    def stall(self):
        """Forwards nothing until `go_on`; new connections are accepted, but get no response."""
        self._moving.clear()

    def go_on(self):
        self._moving.set()

    def refuse(self):
        """Refuses new connections until `accept`; open ones stay open."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def accept(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listen()

    def close(self):
        with contextlib.suppress(OSError):  # It may be refusing.
            self.refuse()
        self._moving.set()
        self.cut()

    def _listen(self):
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._moving.wait()
            try:
                server = self._connect()
            except OSError:  # The server is not available.
                client.close()
                continue
            pair = (client, server)
            with self._lock:
                self._open.append(pair)
            for source, sink in (pair, pair[::-1]):
                arguments = (pair, source, sink)
                threading.Thread(target=self._pass_on, args=arguments, daemon=True).start()

    def _connect(self):
        if isinstance(self._target, int):
            return socket.create_connection(("127.0.0.1", self._target))
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._target)
        return server

    def _pass_on(self, pair, source, sink):
        to_server = source is pair[0]
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._moving.wait()
                forward, cut = self._judge(pair, data) if to_server else (True, False)
                if forward:
                    sink.sendall(data)
                if cut:
                    break
                if to_server:
                    self.forwarded += len(data)
        with self._lock:
            known = pair in self._open
            if known:
                self._open.remove(pair)
        if known:
            self._end(pair)

    def _judge(self, pair, data):
        """Whether to forward `data`, and whether to close the connection afterwards."""
        with self._lock:
            trap = self._trap
            if trap and trap.first in data:
                trap.pair = pair
            if not trap or trap.pair is not pair or trap.then not in data:
                return True, False
            self._trap = None
            self.trapped_at = time.time()
        return trap.forward, True

    @staticmethod
    def _end(pair, reset=False):
        client, _ = pair
        with contextlib.suppress(OSError):
            if reset:
                client.setsockopt(*RESET_AT_CLOSE)
        for one in pair:
            # Wakes the thread that reads from it; close alone does not.
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
            one.close()
