"""The page for operators names what there is, and its backup comes back."""

import os
import re
import subprocess

import pytest
from energysites.v1 import live_data_pb2

from support import markdown
from support.calls import create_site
from support.ingest import Ingest, numbered
from support.metrics import scrape
from support.postgres import BIN
from support.process import ROOT
from support.server import BINARY


@pytest.fixture(scope="module")
def text():
    return markdown.read("deploy/README.md")


@pytest.mark.one_server("about the page and one process's metrics")
def test_flags_and_metrics_exist(text, server):
    printed = subprocess.run([BINARY, "--print_config"], capture_output=True, text=True, check=True)
    flags = {"print_config", *re.findall(r"^--(\w+)=", printed.stdout, re.MULTILINE)}
    named = {code[2:] for code in markdown.codes(markdown.prose(text)) if re.fullmatch(r"--\w+", code)}
    assert named and named <= flags
    create_site(server.stubs())
    page = scrape(server)
    source = "".join(path.read_text() for path in (ROOT / "services").rglob("*.cc"))
    metrics = [markdown.codes(row[0])[0] for row in markdown.table(text, "| metric | wrong if |")]
    assert [one for one in metrics if f"# TYPE {one} " not in page and one not in source] == []


def test_the_backup_comes_back(text, stubs, database, postgres, start_service, tmp_path):
    site_id = create_site(stubs).id
    stream = Ingest(stubs)
    stream.send(1, numbered(site_id, 0, 50))
    stream.until(1)
    stream.rest()

    empty = postgres.empty_database()
    commands = re.search(r"```sh\n(pg_dump .*?)```", text, re.DOTALL)[1]
    environment = {
        **os.environ, "PATH": f"{BIN}:{os.environ['PATH']}",
        "MIGRATE_DATABASE_URL": database.owner_url, "RESTORED_DATABASE_URL": empty.owner_url,
    }  # fmt: skip
    done = subprocess.run(["bash", "-ec", commands], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr

    restored = start_service(empty).stubs()
    request = live_data_pb2.ExportLiveDataRequest(site_ids=[site_id])
    answers = list(restored.live_data.ExportLiveData(request, timeout=30))
    assert sum(len(answer.live_data_entries) for answer in answers) == 50
    restored.close()
    everything = "SELECT t.* FROM {} AS t ORDER BY t"
    for table in ("sites", "live_data", "schema_migrations"):
        assert empty.query(everything.format(table)) == database.query(everything.format(table))
