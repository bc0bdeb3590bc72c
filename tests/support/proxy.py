"""A TCP proxy that cuts connections when the test says so."""

import contextlib
import socket
import threading


class Proxy:
    """Listens on 127.0.0.1 and passes bytes on to the port `target`. `cut` resets what is open."""

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.forwarded = 0  # Bytes that clients sent.
        self._lock = threading.Lock()
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """Closes every connection; returns whether there was one."""
        with self._lock:
            closing, self._open = self._open, []
        for one in closing:
            # Wakes the thread that reads from it, which close alone does not.
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        return bool(closing)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # The server is away just now.
                client.close()
                continue
            with self._lock:
                self._open += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source, sink):
        to_server = sink.getpeername()[1] == self._target
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
                if to_server:
                    self.forwarded += len(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
