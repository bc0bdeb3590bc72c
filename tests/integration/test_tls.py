"""TLS, and certificates demanded of clients."""

import subprocess

import grpc
from energysites.v1 import sites_pb2

from support.calls import fail
from support.stubs import Stubs


def make_certificates(folder):
    """An authority, and what it signed: `server` for 127.0.0.1, and `client`."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    for authority in ("ca", "stranger"):
        openssl(
            *new,
            "-keyout",
            f"{authority}.key",
            "-out",
            f"{authority}.pem",
            "-subj",
            f"/CN={authority}",
        )
    for name, authority in (("server", "ca"), ("client", "ca"), ("spy", "stranger")):
        openssl(
            *new,
            "-CA",
            f"{authority}.pem",
            "-CAkey",
            f"{authority}.key",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.pem",
            "-subj",
            f"/CN={name}",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        )
    return lambda name: (folder / name).read_bytes()


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
