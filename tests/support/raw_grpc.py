"""gRPC calls that normal gRPC clients do not make."""

from attacks.hostile import message
from attacks.http2 import Connection, Cut, Target
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame


class RawCaller(Connection):
    """Calls Envoy, one call after the other. `call` raises Cut if there is no response."""

    def __init__(self, front):
        super().__init__(Target("127.0.0.1", front.port, tls=front.ca is not None))
        token = getattr(front, "token", None)
        self._authorization = [("authorization", f"Bearer {token}")] if token else []
        self._stream = -1
        self._answer = {}
        self._ended = False

    def call(self, path, request, headers=(), trailers=()):
        """The headers and trailers of the response."""
        last = [] if trailers else ["END_STREAM"]
        data = message(request.SerializeToString())
        self._begin(path, headers)
        self.send(DataFrame(self._stream, data, flags=last))
        if trailers:
            block = self._encoder.encode(trailers)
            self.send(HeadersFrame(self._stream, block, flags=["END_HEADERS", "END_STREAM"]))
        while not self._ended:
            self.receive(30)
        return self._answer

    def never_end(self, path):
        """As above, for a call whose message is sent byte by byte until there is a response."""
        self._begin(path)
        self.send(DataFrame(self._stream, message(bytes(1 << 20))[:5]))
        while not self._ended:
            self.send(DataFrame(self._stream, b"\0"))
            self.receive(0.1)
        return self._answer

    def _begin(self, path, headers=()):
        self._stream += 2
        self._answer, self._ended = {}, False
        self.send(self.open(self._stream, path, *self._authorization, *headers))

    def _react(self, frame):
        if not isinstance(frame, (HeadersFrame, RstStreamFrame)):
            super()._react(frame)
        elif isinstance(frame, HeadersFrame):
            self._answer.update(frame.headers)
            self._ended = "END_STREAM" in frame.flags
        elif not self._ended:
            raise Cut(repr(frame))
