"""Starts Prometheus with the configuration of deploy/monitoring/ on a server."""

import subprocess

import requests

from support.process import ROOT, Process, free_ports, wait_until

FOLDER = ROOT / "deploy" / "monitoring"


def promtool(*arguments, text=None, folder=FOLDER):
    """Runs `promtool` with `text` as its input; on an error fails with its output."""
    done = subprocess.run(["promtool", *map(str, arguments)], input=text, cwd=folder,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Prometheus:
    """Scrapes `server` and evaluates its rules every second, so that a test need not wait."""

    def __init__(self, server, folder):
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        subprocess.run([FOLDER / "render", str(server.admin_port), folder], check=True)
        config = folder / "prometheus.yml"
        text = config.read_text()
        assert text.count("_interval: 15s") == 2
        config.write_text(text.replace("_interval: 15s", "_interval: 1s"))
        self.process = Process(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{self.port}"],
            folder / "prometheus.log",
        )  # fmt: skip
        self.process.wait_healthy(self.is_ready, 60, f"{self.url}/-/ready answers")

    def is_ready(self):
        try:
            return requests.get(f"{self.url}/-/ready", timeout=5).ok
        except requests.ConnectionError:
            return False

    def get(self, path, **parameters):
        answer = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30).json()
        assert answer["status"] == "success", (path, parameters, answer)
        return answer["data"]

    def query(self, expression):
        """The result as pairs of labels and value."""
        found = self.get("query", query=expression)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def metric_names(self):
        return set(self.get("label/__name__/values"))

    def wait_for_scrapes(self, count):
        """Until it scraped as many times from now on, and evaluated its rules once after that."""
        def scrapes():
            found = self.query('count_over_time(up{job="energy-sites"}[1h])')
            return found[0][1] if found else 0

        goal = scrapes() + count
        wait_until(lambda: scrapes() >= goal, 60, f"{count} scrapes")
