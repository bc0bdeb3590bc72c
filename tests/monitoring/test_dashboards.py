"""The Grafana dashboards, panel by panel, before a Prometheus that watched a server under load."""

import json
import math

import pytest
import yaml
from promql import metrics_of
from support.prometheus import FOLDER

GRAFANA = FOLDER / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text())
              for path in sorted((GRAFANA / "dashboards").glob("*.json"))}  # fmt: skip
PANELS = [(name, panel) for name, dashboard in DASHBOARDS.items()
          for panel in dashboard["panels"] if panel["type"] != "row"]  # fmt: skip
IDS = [f"{name}: {panel['title']}" for name, panel in PANELS]
# Of Grafana's own list; a misspelt unit shows bare numbers.
UNITS = {"none", "s", "bytes", "percentunit", "reqps", "cps", "dateTimeAsIso"}

# What a dashboard must show: a metric of it, and the alert that asks for that, too.
TOPICS = {
    "traffic": ("grpc_server_started_total", "EnergySitesTrafficGone"),
    "errors": ("method:grpc_server_failed:rate5m", "EnergySitesErrorRatioHigh"),
    "latency": ("method:grpc_server_handling_seconds:p99_5m", "EnergySitesLatencyHigh"),
    "saturation": ("energy_sites_executor_queued_calls", "EnergySitesExecutorSaturated"),
    # As large as callers make them, up to a limit: nobody must act.
    "batch sizes": ("energy_sites_batch_entries_bucket", None),
    "broken rules": ("energy_sites_validation_violations_total", "EnergySitesViolationsSurge"),
    "database": ("energy_sites_database_available", "EnergySitesDatabaseAway"),
    "replication": ("energy_sites_database_replication_lag_bytes", "EnergySitesReplicationLag"),
    "clocks": ("energy_sites_maintenance_clock_jumps_total", "EnergySitesClockJumped"),
    "partitions": ("energy_sites_database_months_ahead", "EnergySitesMonthsAheadMissing"),
}


def as_grafana_asks(expression):
    """With what Grafana puts in place of its variables."""
    asked = expression.replace("$__rate_interval", "1m").replace("$instance", ".+")
    assert "$" not in asked
    return asked


def test_each_dashboard_and_panel_has_an_id_of_its_own():
    assert len(DASHBOARDS) == 3
    assert [dashboard["uid"] for dashboard in DASHBOARDS.values()] == list(DASHBOARDS)
    assert len({dashboard["title"] for dashboard in DASHBOARDS.values()}) == 3
    assert len(set(IDS)) == len(IDS)
    for dashboard in DASHBOARDS.values():
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("topic", TOPICS)
def test_each_topic_has_a_panel_and_an_alert(topic):
    metric, name = TOPICS[topic]
    shown = [metrics_of(target["expr"]) for _, panel in PANELS for target in panel["targets"]]
    assert metric in set().union(*shown)
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    alerts = {rule["alert"]: metrics_of(rule["expr"]) for rule in groups[0]["rules"]}
    # Where it says that there is none, there is none.
    assert {one for one, asked in alerts.items() if metric in asked} == ({name} if name else set())


def test_grafana_is_told_how_often_prometheus_scrapes():
    """Else it asks for rates over too short a time, which are empty."""
    provisioned = yaml.safe_load((GRAFANA / "provisioning/datasources/energy-sites.yaml").read_text())
    (source,) = provisioned["datasources"]
    scraped = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["type"] == "prometheus" and source["jsonData"]["timeInterval"] == scraped


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_do_not_overlap(name):
    taken = set()
    for panel in DASHBOARDS[name]["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=IDS)
def test_each_panel_has_a_unit_and_shows_something(name, panel, watched):
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"]["uid"] == "${datasource}" and panel["targets"]
    for target in panel["targets"]:
        shown = watched.prometheus.query(as_grafana_asks(target["expr"]))
        assert any(not math.isnan(value) for _, value in shown), target["expr"]
        # A legend that names a label which the series does not have would be empty.
        for labels, _ in shown:
            legend = target["legendFormat"]
            for label in labels:
                legend = legend.replace("{{%s}}" % label, labels[label])
            assert "{{" not in legend, (target["legendFormat"], labels)
