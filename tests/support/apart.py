"""The three services apart, two instances of each, behind the production gateway."""

import concurrent.futures

from support.gateway import server_tls
from support.stubs import NAMES


class Apart:
    """The interface of `Server` for all instances together. Clients have a token."""

    def __init__(self, start_server, start_gateway, certificates, issuer, database, flags=(),
                 environment=None, ready=True):  # fmt: skip
        """With `ready` False, waits only until the instances run and the gateway responds."""
        self._start_gateway, self._issuer = start_gateway, issuer
        # The delay is longer than the gateway needs to detect the change.
        flags = (*server_tls(certificates), "--drain_delay=4s", *flags)

        def start(name):
            server = start_server(
                database, flags=(*flags, f"--services={name}"), environment=environment, ready=ready
            )
            return name, server

        self.servers = _at_once(start, [*NAMES, *NAMES])
        self.gateway = self.front(ready=ready)
        self.port = self.gateway.port

    def instances(self, name=None):
        return [server for of, server in self.servers if name in (None, of)]

    def peaks_mib(self, name=None):
        return [one.process.peak_mib() for one in self.instances(name)]

    def front(self, **settings):
        """A gateway with these settings in front of the same instances."""
        ports = {name: [one.port for one in self.instances(name)] for name in NAMES}
        gateway = self._start_gateway(ports, **settings)
        gateway.token = self._issuer.token()
        return gateway

    def stubs(self, address=None, **claims):
        """`claims` replace those of the token."""
        return self.gateway.stubs(self._issuer.token(**claims), address)

    def client_flags(self):
        """Of import and export."""
        token = self._issuer.jwks.with_name("token")
        token.write_text(self._issuer.token() + "\n", encoding="ascii")
        return [f"--target={self.gateway.address}", f"--tls_ca={self.gateway.ca}", f"--token_file={token}"]

    def resets(self, failure):
        """The gateway resets a stream whose server has ended or reset it; gRPC reports INTERNAL.

        Before the first response, the gateway returns an error instead.
        """
        before_answers = failure.code == "UNAVAILABLE" and "remote reset" in failure.text
        return before_answers or (failure.code == "INTERNAL" and "RST_STREAM" in failure.text)

    def is_up(self):
        """Whether all services are ready; the gateway checks by gRPC and reports by HTTP."""
        return self._ready() == {True} and self.gateway.answers(200)

    def is_down(self):
        return self._ready() == {False} and self.gateway.answers(503)

    def _ready(self):
        return {one.admin_answers("readyz") for one in self.instances()}

    def log_text(self):
        return "".join(one.log_text() for one in self.instances())

    def start(self):
        _at_once(lambda one: one.start(), self.instances())

    def stop(self):
        _at_once(lambda one: one.stop(), self.instances())

    def kill(self):
        _at_once(lambda one: one.kill(), self.instances())

    def restart(self):
        self.stop()
        self.start()


def _at_once(act, on):
    with concurrent.futures.ThreadPoolExecutor(len(on)) as threads:
        return list(threads.map(act, on))
