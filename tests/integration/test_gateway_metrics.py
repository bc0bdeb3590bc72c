"""What Prometheus reads of the gateway, and that its port gives nothing else."""

import re

import requests

from support.process import free_ports, wait_until


def test_prometheus_reads_the_gateway(start_gateway, echo, issuer):
    (port,) = free_ports(1)
    gateway = start_gateway([echo.port], metrics_listen=f"127.0.0.1:{port}")
    admin = f"http://127.0.0.1:{port}"

    def calls(code_class):
        page = requests.get(f"{admin}/stats/prometheus", timeout=10)
        assert page.ok
        found = re.search(
            rf'^envoy_http_downstream_rq_xx\{{envoy_response_code_class="{code_class}",'
            r'envoy_http_conn_manager_prefix="edge"\} (\d+)$', page.text, re.MULTILINE,
        )  # fmt: skip
        return int(found[1]) if found else 0

    before = calls(4)
    assert gateway.rest().get("/v1/sites").status_code == 401
    wait_until(lambda: calls(4) == before + 1, 30, "the refused call is counted")
    for path in ("/", "/config_dump", "/certs", "/stats", "/clusters", "/runtime"):
        assert requests.get(admin + path, timeout=10).status_code == 403, path
    for path in ("/quitquitquit", "/drain_listeners", "/healthcheck/fail", "/logging?level=trace"):
        assert requests.post(admin + path, timeout=10).status_code == 403, path
    assert gateway.process.runs()
