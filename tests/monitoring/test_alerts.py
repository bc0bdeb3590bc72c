"""The alert rules: that they fire when they must, and that somebody can act on them."""

import re

import pytest
import yaml
from promql import metrics_of
from support.process import wait_until
from support.prometheus import FOLDER, Prometheus, promtool

ALERTS = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
          for rule in group["rules"]]  # fmt: skip
NAMES = [alert["alert"] for alert in ALERTS]


def test_rules_and_configuration_are_sound():
    promtool("check", "rules", "rules.yml", "alerts.yml")
    promtool("check", "config", "prometheus.yml")


def test_alerts_fire_when_they_must_and_not_before():
    promtool("test", "rules", "alerts_test.yml")


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_is_expected_by_a_test(name):
    assert f'alertname="{name}"' in (FOLDER / "alerts_test.yml").read_text()


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_each_alert_says_how_bad_it_is_and_what_to_do(alert):
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"]["summary"] and alert["annotations"]["description"]
    path, anchor = alert["annotations"]["runbook"].split("#")
    assert path == "deploy/monitoring/README.md" and anchor == alert["alert"].lower()
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^### {alert['alert']}$(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL)
    assert "**Look at**" in section[1] and "**Do**" in section[1]


def test_the_runbook_has_no_other_alerts():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == NAMES


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_each_alert_asks_for_metrics_that_there_are(alert, watched):
    asked = metrics_of(alert["expr"])
    assert asked and asked <= watched.prometheus.metric_names()


def test_a_healthy_server_raises_no_alert(watched):
    rules = watched.prometheus.get("rules", type="alert")["groups"][0]["rules"]
    assert {rule["name"]: (rule["health"], rule["state"]) for rule in rules} == {
        name: ("ok", "inactive") for name in NAMES
    }


def test_real_faults_raise_their_alerts(server, database, tmp_path):
    """Pending, which is what they are until they have lasted for a minute."""
    prometheus = Prometheus(server, tmp_path / "prometheus")

    def raised():
        return {alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"]}

    try:
        prometheus.wait_for_scrapes(1)
        # Rules that ran before the first scrape missed it.
        wait_until(lambda: "EnergySitesDown" not in raised(), 30, "the server is up")
        assert "EnergySitesDatabaseAway" not in raised()
        database.close()
        wait_until(
            lambda: "EnergySitesDatabaseAway" in raised(), 30, "the alert of the database"
        )
        assert "EnergySitesDown" not in raised()
        server.kill()
        wait_until(lambda: "EnergySitesDown" in raised(), 30, "the alert of the server")
    finally:
        prometheus.process.kill()
