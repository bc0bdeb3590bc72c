"""When a call goes to another instance."""

from typed import typed

# Only where the server cannot have seen the call: a repeat is safe. By another instance, if one is.
CALL = {
    "retry_on": "connect-failure,refused-stream",
    "num_retries": 2,
    "retry_host_predicate": [typed(
        "envoy.retry_host_predicates.previous_hosts",
        "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    )],
    # One that refuses calls has none under way, so that the least of two is mostly that again.
    "host_selection_retry_max_attempts": 20,
}  # fmt: skip
