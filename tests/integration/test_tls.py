"""TLS, and certificates demanded of clients."""

import grpc
import pytest
from energysites.v1 import sites_pb2

from support.calls import create_site, fail
from support.certificates import make_certificates
from support.ingest import Ingest, numbered, numbers_stored
from support.server import run
from support.stubs import Stubs

pytestmark = pytest.mark.one_server("about the TLS of a process, of which the gateway is a client")


def tls_call(address, authority, key=None, certificate=None):
    """The code of a call over TLS."""
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    with grpc.secure_channel(address, credentials) as channel:
        try:
            channel.unary_unary("/energysites.v1.Sites/ListSites")(b"", timeout=10)
            return "OK"
        except grpc.RpcError as error:
            return error.code().name


def test_tls(start_server, database, tmp_path):
    read = make_certificates(tmp_path)
    pair = [f"--tls_cert={tmp_path}/server.pem", f"--tls_key={tmp_path}/server.key"]
    server = start_server(database, flags=pair)
    assert tls_call(server.address, read("ca.pem")) == "OK"
    assert tls_call(server.address, read("stranger.pem")) == "UNAVAILABLE"
    plain = Stubs(server.address)
    assert fail(plain.sites.ListSites, sites_pb2.ListSitesRequest()).code == "UNAVAILABLE"
    plain.close()

    server = start_server(database, flags=[*pair, f"--tls_client_ca={tmp_path}/ca.pem"])
    known, spy = (read("client.key"), read("client.pem")), (read("spy.key"), read("spy.pem"))
    assert tls_call(server.address, read("ca.pem"), *known) == "OK"
    assert tls_call(server.address, read("ca.pem"), *spy) == "UNAVAILABLE"
    assert tls_call(server.address, read("ca.pem")) == "UNAVAILABLE"


def test_files_that_do_not_fit_are_named(database, tmp_path):
    make_certificates(tmp_path)
    for cert, key in (("server.pem", "client.key"), ("server.key", "server.pem")):
        done = run("serve", "--listen_address=127.0.0.1:0", "--admin_address=",
                   f"--tls_cert={tmp_path}/{cert}", f"--tls_key={tmp_path}/{key}",
                   DATABASE_URL=database.app_url)  # fmt: skip
        assert done.returncode == 1 and "--tls_key" in done.stderr, done.stderr


def test_an_ingest_session_belongs_to_the_name_in_the_certificate(start_server, database, tmp_path):
    read = make_certificates(tmp_path)
    server = start_server(database, flags=[
        f"--tls_cert={tmp_path}/server.pem", f"--tls_key={tmp_path}/server.key",
        f"--tls_client_ca={tmp_path}/ca.pem",
    ])  # fmt: skip

    def caller(name):
        pair = read(f"{name}.key"), read(f"{name}.pem")
        return Stubs(server.address, grpc.ssl_channel_credentials(read("ca.pem"), *pair))

    callers = {name: caller(name) for name in ("meter", "gateway", "nameless", "renewed")}
    site = create_site(callers["meter"]).id
    first = {}
    for number, name in enumerate(("meter", "gateway", "nameless")):
        stream = first[name] = Ingest(callers[name])
        assert stream.answer().committed_sequence == 0, f"{name} has its own"
        stream.send(1, numbered(site, 10 * number, 1))
        stream.until(1)
    # Nobody took anything from another one.
    for number, (name, stream) in enumerate(first.items()):
        stream.send(2, numbered(site, 10 * number + 1, 1))
        stream.until(2)
        if name != "meter":
            assert stream.rest() == []
    taker = Ingest(callers["renewed"], acknowledged=2)
    assert taker.answer().committed_sequence == 2
    first["meter"].send(3, numbered(site, 100, 1))
    assert first["meter"].failure().reason == "INGEST_SESSION_TAKEN_OVER"
    assert taker.rest() == []
    assert numbers_stored(database) == [0, 1, 10, 11, 20, 21]
    for each in callers.values():
        each.close()
