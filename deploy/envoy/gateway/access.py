"""Who may call what: tokens are verified, and each rpc takes one scope.

What the services may rely on: `x-energy-sites-subject` is the token's `sub`, and
`x-energy-sites-site-ids` its `site_ids` as a JSON array. Without the latter the token is not bound
to sites; an empty array binds it to none. No client can set either.
"""

from typed import typed

SUBJECT = "x-energy-sites-subject"
SITE_IDS = "x-energy-sites-site-ids"

# Every rpc stands in one scope; else `render` fails where there is `jwt`.
SCOPES = {
    "sites.read": [
        "Sites/GetSite",
        "Sites/ListSites",
        "Configurations/GetConfiguration",
        "Configurations/ListConfigurations",
    ],
    "sites.write": [
        "Sites/CreateSite",
        "Sites/UpdateSite",
        "Sites/DeleteSite",
        "Configurations/CreateConfiguration",
        "Configurations/UpdateConfiguration",
        "Configurations/DeleteConfiguration",
    ],
    "livedata.read": [
        "LiveData/GetLiveDataEntry",
        "LiveData/ListLiveDataEntries",
        "LiveData/ExportLiveData",
        "LiveData/DownloadLiveData",
        "LiveData/WatchLiveData",
        "LiveData/GetLatestLiveData",
        "LiveData/AggregateLiveData",
    ],
    "livedata.write": [
        "LiveData/CreateLiveDataEntry",
        "LiveData/BatchCreateLiveDataEntries",
        "LiveData/DeleteLiveDataEntry",
        "LiveData/IngestLiveData",
    ],
}

_JWT = "envoy.filters.http.jwt_authn"
_PAYLOAD = "payload"


# gRPC 1.51 drops the connection, and with it the calls of all others, where the value of such a
# header is not base64. The services read none.
_BINARY = {"remove_on_match": {"key_matcher": {"suffix": "-bin"}}}


def strip_headers():
    """Before anything else looks at a request, in every configuration."""
    return typed(
        "envoy.http.early_header_mutation.header_mutation",
        "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[{"remove": SUBJECT}, {"remove": SITE_IDS}, _BINARY],
    )


def strip_trailers():
    """What follows a request's body. The services read none of it."""
    return typed(
        "trailers",
        "extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"request_trailers_mutations": [_BINARY]},
    )


def verify_token(jwt):
    """401 for a call without a valid token. The token itself goes no further."""
    provider = {
        "issuer": jwt.issuer,
        "audiences": [jwt.audience],
        # Visible ASCII, so that it is a header as it stands. A token without one is refused.
        "subjects": {"safe_regex": {"regex": "[!-~]+"}},
        "require_expiration": True,
        "clock_skew_seconds": 10,
        # Never from the query, which would stand in logs.
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "forward": False,
        "payload_in_metadata": _PAYLOAD,
        "normalize_payload_in_metadata": {"space_delimited_claims": ["scope"]},
    }
    if jwt.jwks_file:
        provider["local_jwks"] = {"filename": jwt.jwks_file}
    else:
        provider["remote_jwks"] = {
            "http_uri": {"uri": jwt.jwks_url, "cluster": "jwks", "timeout": "5s"},
            "cache_duration": "300s",
            # Fetched at the start and ahead of time, so that no call waits for it.
            "async_fetch": {},
        }
    rule = {"match": {"prefix": "/"}, "requires": {"provider_name": "tokens"}}
    return typed(
        _JWT,
        "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        providers={"tokens": provider},
        rules=[rule],
    )


def set_identity():
    """From the verified token. A header whose claim is absent stays absent."""

    def header(name, claim):
        value = f"%DYNAMIC_METADATA({_JWT}:{_PAYLOAD}:{claim})%"
        return {"append": {
            "header": {"key": name, "value": value},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }}  # fmt: skip

    return typed(
        "envoy.filters.http.header_mutation",
        "extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": [header(SUBJECT, "sub"), header(SITE_IDS, "site_ids")]},
    )


def check_scope(contract):
    """403 for a call whose token lacks the scope. Behind the transcoder: each path is an rpc's."""
    check_complete(contract)
    policies = {
        scope: {
            "permissions": [
                {"url_path": {"path": {"exact": f"/energysites.v1.{rpc}"}}} for rpc in rpcs
            ],
            "principals": [{"and_ids": {"ids": [has(scope), {"not_id": malformed_binding()}]}}],
        }
        for scope, rpcs in SCOPES.items()
    }
    return typed(
        "envoy.filters.http.rbac",
        "extensions.filters.http.rbac.v3.RBAC",
        rules={"action": "ALLOW", "policies": policies},
    )


def check_complete(contract):
    listed = sorted(rpc for rpcs in SCOPES.values() for rpc in rpcs)
    there = sorted(f"{service.name}/{method.name}" for service, method in contract.methods())
    if listed != there:
        wrong = sorted(set(listed) ^ set(there)) or "one rpc in two scopes"
        raise ValueError(f"SCOPES and the contract differ: {wrong}")


def has(scope):
    return claim("scope", {"list_match": {"one_of": {"string_match": {"exact": scope}}}})


def malformed_binding():
    """`site_ids` that is there and no array: what it means is not guessed.

    null and "" would leave no header, and so bind to nothing. An object goes on as it is, and the
    service refuses it.
    """
    values = (
        {"null_match": {}},
        {"string_match": {"safe_regex": {"regex": "(?s).*"}}},
        {"bool_match": True},
        {"bool_match": False},
        {"double_match": {"range": {"start": -1e300, "end": 1e300}}},
    )
    return {"or_ids": {"ids": [claim("site_ids", value) for value in values]}}


def claim(name, value):
    path = [{"key": _PAYLOAD}, {"key": name}]
    matcher = {"filter": _JWT, "path": path, "value": value}
    return {"sourced_metadata": {"metadata_matcher": matcher}}
