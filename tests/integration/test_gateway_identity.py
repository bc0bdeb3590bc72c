"""The services learn from the gateway, and from nobody else, who calls and for which sites."""

import grpc
import pytest
from energysites.v1 import sites_pb2

from support.rest_errors import check

SUBJECT, SITE_IDS = "x-energy-sites-subject", "x-energy-sites-site-ids"
FORGED = {SUBJECT: "admin", SITE_IDS: '["1"]', "X-Energy-Sites-Site-Ids": "[]"}

# The claim `site_ids`, and the header that comes of it; ... is none at all.
BINDINGS = [
    (..., ...),
    ([], "[]"),
    (["1", "2"], '["1","2"]'),
    ([1, 2], "[1,2]"),
    (["9223372036854775807"], '["9223372036854775807"]'),
    ({"1": True}, '{"1":true}'),
]
# What is no array of ids is not guessed at.
REFUSED = ["5", "", '["1"]', 5, 0.5, True, False, None]


def call(gateway, token, forged):
    """The same call over gRPC and REST."""
    stubs = gateway.stubs(token)
    metadata = [(key.lower(), value) for key, value in forged.items()]
    stubs.sites.ListSites(sites_pb2.ListSitesRequest(), metadata=metadata)
    stubs.close()
    assert gateway.rest(token).get("/v1/sites", headers=forged).ok


def test_headers_come_from_the_token(start_gateway, echo, issuer):
    gateway = start_gateway([echo.port])
    for claim, header in BINDINGS:
        for forged in ({}, FORGED):
            echo.calls.clear()
            call(gateway, issuer.token(site_ids=claim), forged)
            assert len(echo.calls) == 2
            for _, headers in echo.calls:
                assert headers[SUBJECT] == "meter-7"
                assert headers.get(SITE_IDS, ...) == header, claim
                assert "authorization" not in headers


def test_a_binding_that_is_no_array(start_gateway, echo, issuer):
    gateway = start_gateway([echo.port])
    for claim in REFUSED:
        token = issuer.token(site_ids=claim)
        check(gateway.rest(token).get("/v1/sites"), 403, "PERMISSION_DENIED")
        stubs = gateway.stubs(token)
        with pytest.raises(grpc.RpcError) as error:
            stubs.sites.ListSites(sites_pb2.ListSitesRequest())
        assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED
        stubs.close()
    assert echo.calls == []


def test_without_tokens_nobody_is_anybody(start_gateway, echo):
    """The local configuration sets neither, and lets neither pass."""
    gateway = start_gateway([echo.port], jwt=None)
    answer = gateway.rest().get("/v1/sites", headers=FORGED)
    assert answer.ok, answer.text
    assert not {SUBJECT, SITE_IDS} & set(echo.headers())
