"""Envoy with the production configuration, and an upstream that records what reaches a service."""

import concurrent.futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from support.envoy import Envoy, Rest
from support.process import BUILD, free_ports
from support.stubs import NAMES, Stubs
from support.tokens import AUDIENCE, ISSUER


def server_tls(folder):
    """Flags of a server that accepts only calls of the gateway; `folder` has the certificates."""
    return [f"--tls_cert={folder}/server.pem", f"--tls_key={folder}/server.key",
            f"--tls_client_ca={folder}/ca.pem", "--identity=envoy"]  # fmt: skip


def production_settings(port, instances, certificates, issuer, **changes):
    """`instances` is a list of ports for all three services, or one such list by service name."""
    ports = instances if isinstance(instances, dict) else dict.fromkeys(NAMES, instances)
    own = {"certificate": f"{certificates}/gateway.pem", "key": f"{certificates}/gateway.key"}
    return {
        "listen": f"127.0.0.1:{port}",
        "descriptor_set": str(BUILD / "energy_sites.pb"),
        "upstream": {
            **{name: [f"127.0.0.1:{one}" for one in ports[name]] for name in NAMES},
            "tls": {"ca": f"{certificates}/ca.pem", "server_name": "127.0.0.1", **own},
        },
        "tls": {"certificate": f"{certificates}/server.pem", "key": f"{certificates}/server.key"},
        "jwt": {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(issuer.jwks)},
        "access_log": True,
        # Because tests call more often than users.
        "rate_limits": {"all_per_second": 1000000, "subject_per_second": 1000000},
        **changes,
    }


class Gateway(Envoy):
    """Clients have a token: `gateway.rest(token)`, `gateway.stubs(token)`."""

    token = None  # For clients that do not specify a token.

    def __init__(self, instances, folder, certificates, issuer, ready=True, **changes):
        self.ca = certificates / "ca.pem"
        self.metrics_url = f"http://{changes.get('metrics_listen')}/stats/prometheus"
        (port,) = free_ports(1)
        settings = production_settings(port, instances, certificates, issuer, **changes)
        self.start(settings, folder, ready)

    def rest(self, token=None, **headers):
        token = token or self.token
        authorization = {"authorization": f"Bearer {token}"} if token else {}
        return Rest(self.url, self.ca, {**authorization, **headers})

    def stubs(self, token=None, address=None):
        """`address` is that of a proxy in front of it."""
        credentials = grpc.ssl_channel_credentials(self.ca.read_bytes()) if self.ca else None
        if token := token or self.token:
            credentials = grpc.composite_channel_credentials(
                credentials, grpc.access_token_call_credentials(token)
            )
        return Stubs(address or self.address, credentials)


class Echo:
    """Responds to every call with an empty message and records `(path, headers)`."""

    def __init__(self, certificates):
        self.calls = []
        # The responses to a call, or a function `answer(context)`.
        self.answer = lambda _: iter([b""])

        def read(name):
            return (certificates / name).read_bytes()

        credentials = grpc.ssl_server_credentials(
            [(read("server.key"), read("server.pem"))], read("ca.pem"), require_client_auth=True
        )
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), [self._handlers()])
        checker = health.HealthServicer()
        for service in ("Sites", "Configurations", "LiveData"):
            checker.set(f"energysites.v1.{service}", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(checker, self._server)
        self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    def stop(self):
        self._server.stop(0).wait()

    def headers(self):
        """The headers of the only call."""
        ((_, headers),) = self.calls
        return headers

    def _handlers(self):
        echo = self

        class Handlers(grpc.GenericRpcHandler):
            def service(self, handler_call_details):
                path = handler_call_details.method
                if path.startswith("/grpc.health."):
                    return None
                echo.calls.append((path, dict(handler_call_details.invocation_metadata)))
                return grpc.stream_stream_rpc_method_handler(
                    lambda _, context: echo.answer(context)
                )

        return Handlers()
