"""An HTTP/2 client that sends whatever it is told, for attacks: nothing is checked."""

import collections
import dataclasses
import select
import socket
import ssl
import time

import grpc
import hpack
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME = 16384  # The largest frame that every peer takes.
DEFAULT_WINDOW = 65535
CODES = {str(code.value[0]): code.name for code in grpc.StatusCode}


class Cut(Exception):
    """The peer closed the connection or the stream, or takes nothing any more."""


@dataclasses.dataclass(frozen=True)
class Target:
    host: str
    port: int
    tls: bool = False

    def headers(self, path):
        """Those of a gRPC call."""
        return [
            (":method", "POST"), (":scheme", "https" if self.tls else "http"), (":path", path),
            (":authority", self.host), ("te", "trailers"), ("content-type", "application/grpc"),
        ]  # fmt: skip

    def connect(self, seconds=10):
        plain = socket.create_connection((self.host, self.port), timeout=seconds)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.tls:
            return plain
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        return context.wrap_socket(plain)


class Connection:
    """One connection. `send` raises Cut; `settings` are those of the SETTINGS frame by number.

    `seen` counts what it did and what it got for it: `bytes` sent, `calls` begun by `open`, and
    those ended with an answer by its gRPC code, such as `UNIMPLEMENTED`.
    """

    gone = frozenset()  # Streams that the peer has ended, where that is no Cut.

    def __init__(self, target, settings=None, seen=None):
        self.seen = collections.Counter() if seen is None else seen
        self._target = target
        try:
            self._socket = target.connect()
        except OSError as error:
            raise Cut(str(error)) from None
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self._received = b""
        self._initial_window = DEFAULT_WINDOW
        self._windows = {0: DEFAULT_WINDOW}
        self.send(PREFACE, SettingsFrame(0, settings=settings or {}))

    def send(self, *parts):
        """Sends frames and bytes in one piece."""
        data = b"".join(p.serialize() if isinstance(p, Frame) else p for p in parts)
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Cut(str(error)) from None
        self.seen["bytes"] += len(data)

    def greet(self):
        """Waits for the peer's settings: an answer to them would break up a header block."""
        frames = []
        while not any(isinstance(frame, SettingsFrame) for frame in frames):
            if not (frames := self.receive(10)):
                raise Cut("never greeted")

    def block(self, path, *headers):
        """The header block of a gRPC call."""
        return self._encoder.encode([*self._target.headers(path), *headers])

    def open(self, stream, path, *headers):
        """The frame that begins a call."""
        self.seen["calls"] += 1
        return HeadersFrame(stream, self.block(path, *headers), flags=["END_HEADERS"])

    def discard(self):
        """Throws away what has come, so that the peer may send on."""
        try:
            while self._has_data(0):
                if not self._socket.recv(1 << 20):
                    raise Cut("closed by the peer")
        except OSError as error:
            raise Cut(str(error)) from None

    def upload(self, stream, data, seconds, end=True):
        """Sends `data` on an open stream as fast as the peer's windows allow. `seconds` in all."""
        limit = time.monotonic() + seconds
        self._windows.setdefault(stream, self._initial_window)
        position = 0
        while position < len(data) and stream not in self.gone:
            room = min(FRAME, len(data) - position, self._windows[0], self._windows[stream])
            if room > 0:
                self.send(DataFrame(stream, data[position : position + room]))
                position += room
                self._windows[0] -= room
                self._windows[stream] -= room
            self.receive(0 if room > 0 else max(0, limit - time.monotonic()))
            if time.monotonic() > limit:
                raise Cut(f"{position} of {len(data)} bytes were taken")
        if end:
            self.send(DataFrame(stream, flags=["END_STREAM"]))

    def receive(self, seconds):
        """Reads the frames that have come, or waits for one; returns those of answers."""
        frames = []
        try:
            while self._has_data(0 if frames else seconds):
                if not (data := self._socket.recv(1 << 16)):
                    raise Cut("closed by the peer")
                self._received += data
                frames += self._parse()
                if frames or not seconds:
                    break
        except OSError as error:
            raise Cut(str(error)) from None
        for frame in frames:
            if isinstance(frame, HeadersFrame):
                self._read_headers(frame)
        for frame in frames:
            self._react(frame)
        return frames

    def close(self):
        self._socket.close()

    def _has_data(self, seconds):
        # TLS may hold what was read from the socket already. Not select(): it takes no descriptor
        # above 1,023.
        if self._target.tls and self._socket.pending():
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _parse(self):
        frames = []
        while len(self._received) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self._received[:9]))
            if len(self._received) < 9 + length:
                break
            frame.parse_body(memoryview(self._received[9 : 9 + length]))
            self._received = self._received[9 + length :]
            frames.append(frame)
        return frames

    def _read_headers(self, frame):
        """Gives `frame` its `headers`."""
        try:
            frame.headers = dict(self._decoder.decode(frame.data))
        except hpack.HPACKError:
            frame.headers = {}  # `discard` threw away what it refers to.
        if "grpc-status" in frame.headers:
            self.seen[CODES[frame.headers["grpc-status"]]] += 1

    def _react(self, frame):
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            window = frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self._initial_window)
            for stream in self._windows.keys() - {0}:
                self._windows[stream] += window - self._initial_window
            self._initial_window = window
            self.send(SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, WindowUpdateFrame):
            stream = frame.stream_id
            self._windows.setdefault(stream, self._initial_window)
            self._windows[stream] += frame.window_increment
        elif isinstance(frame, (GoAwayFrame, RstStreamFrame)):
            raise Cut(repr(frame))
        elif isinstance(frame, HeadersFrame) and "END_STREAM" in frame.flags:
            raise Cut("answered before the end")


class StubbornConnection(Connection):
    """Stays when it is asked to leave, and goes on with its other streams where one is `ended`."""

    def __init__(self, target, settings=None, seen=None):
        self.gone = set()
        super().__init__(target, settings, seen)

    def until_gone(self, streams, seconds):
        """Waits until the peer has ended these."""
        limit = time.monotonic() + seconds
        while not streams <= self.gone and (rest := limit - time.monotonic()) > 0:
            self.receive(rest)

    def _react(self, frame):
        if isinstance(frame, (HeadersFrame, RstStreamFrame)):
            self.seen["ended"] += frame.stream_id not in self.gone
            self.gone.add(frame.stream_id)
        elif not isinstance(frame, GoAwayFrame):
            super()._react(frame)
