"""gRPC calls with headers and trailers that no client of gRPC would send."""

import hpack
from attacks.hostile import message
from attacks.http2 import Connection, Target
from hyperframe.frame import DataFrame, HeadersFrame


class RawCaller(Connection):
    """Calls an Envoy, one call after the other. `call` raises Cut where it is not answered."""

    def __init__(self, front):
        super().__init__(Target("127.0.0.1", front.port, tls=front.ca is not None))
        token = getattr(front, "token", None)
        self._authorization = [("authorization", f"Bearer {token}")] if token else []
        self._decoder = hpack.Decoder()
        self._stream = -1
        self._answer = {}
        self._ended = False

    def call(self, path, request, headers=(), trailers=()):
        """The answer's headers and trailers."""
        self._stream += 2
        self._answer, self._ended = {}, False
        last = [] if trailers else ["END_STREAM"]
        self.send(
            self.open(self._stream, path, *self._authorization, *headers),
            DataFrame(self._stream, message(request.SerializeToString()), flags=last),
        )
        if trailers:
            block = self._encoder.encode(trailers)
            self.send(HeadersFrame(self._stream, block, flags=["END_HEADERS", "END_STREAM"]))
        while not self._ended:
            self.receive(30)
        return self._answer

    def _react(self, frame):
        if not isinstance(frame, HeadersFrame):
            super()._react(frame)
            return
        self._answer.update(self._decoder.decode(frame.data))
        self._ended = "END_STREAM" in frame.flags
