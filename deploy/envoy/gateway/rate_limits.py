"""How often a token, and all tokens of the same sites, may call: 429 beyond it.

The buckets here are this gateway's own, and always there. Those of an envoyproxy/ratelimit are
shared by all gateways; where it does not answer, the former are what is left.
"""

import access
from typed import typed

# What a refused call is told to wait. Each bucket is full again by then.
RETRY_SECONDS = 1
# Buckets kept at one time, one for each subject and each set of sites; the least used go first.
MAX_BUCKETS = 10000

# The keys by which a call is counted, and the header that has the value.
_KEYS = {"subject": access.SUBJECT, "site_ids": access.SITE_IDS}


def keys():
    """A key whose header is absent does not count."""
    return [
        {"actions": [{"request_headers": {"header_name": header, "descriptor_key": key}}]}
        for key, header in _KEYS.items()
    ]


def own(limits):
    each = {"subject": limits.subject_per_second, "site_ids": limits.bound_sites_per_second}
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return typed(
        "envoy.filters.http.local_ratelimit",
        "extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        stat_prefix="calls",
        rate_limits=keys(),
        token_bucket=bucket(limits.all_per_second),
        filter_enabled=always,
        filter_enforced=always,
        # An entry without a value gets a bucket for each value that comes.
        descriptors=[
            {"entries": [{"key": key}], "token_bucket": bucket(calls)}
            for key, calls in each.items()
        ],
        max_dynamic_descriptors=MAX_BUCKETS,
        rate_limited_as_resource_exhausted=True,
    )


def shared():
    return typed(
        "envoy.filters.http.ratelimit",
        "extensions.filters.http.ratelimit.v3.RateLimit",
        domain="energy-sites",
        rate_limits=keys(),
        timeout="0.1s",
        failure_mode_deny=False,
        rate_limited_as_resource_exhausted=True,
        rate_limit_service={
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "rate_limit_service"}},
        },
    )


def bucket(calls_per_second):
    return {
        "max_tokens": calls_per_second,
        "tokens_per_fill": calls_per_second,
        "fill_interval": "1s",
    }
