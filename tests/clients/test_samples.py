"""The sample clients work from a clean clone, and store each reading once whatever stops."""

import itertools
import json
import os
import re
import shutil
import subprocess

import pytest
from support import markdown
from support.calls import JUNE, stamp
from support.process import ROOT, Process, wait_until
from support.proxy import Proxy

VENV = ROOT / ".deps/venv"
# deploy/install --tests puts what package.json names there.
NODE_MODULES = ROOT / ".deps/samples/typescript/node_modules"
PROGRAMS = {
    "python": [".venv/bin/python", "clients/samples/python/send_readings.py"],
    "typescript": ["node", "clients/samples/typescript/send_readings.ts"],
}
# Many batches, so that whatever stops does so in the middle.
LINES, BATCH_LINES = 20_000, 100


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """A clean clone in which the page's commands have run, but for those that install."""
    folder = tmp_path_factory.mktemp("clone")
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard",
         "proto", "clients/samples", "buf.yaml"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, folder / file)
    (folder / ".deps").mkdir()
    shutil.copytree(ROOT / ".deps/proto", folder / ".deps/proto")
    (folder / ".venv").symlink_to(VENV)
    (folder / "clients/samples/typescript/node_modules").symlink_to(NODE_MODULES)
    return folder


def environment():
    return {**os.environ, "PATH": f"{ROOT}/.deps/bin:{VENV}/bin:{os.environ['PATH']}"}


def shell(clone, commands):
    """What the commands print; they must succeed."""
    done = subprocess.run(["bash", "-euc", commands], cwd=clone, env=environment(),
                          capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def page():
    """The page's blocks: those of the shell, and what a program prints."""
    section = markdown.read("clients/README.md").partition("\n## Generate a client\n")[2]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    commands = [text for kind, text in blocks if kind == "sh"]
    (shown,) = [text for kind, text in blocks if kind == "text"]
    return commands, shown


@pytest.fixture(scope="session")
def generated(clone, page):
    """The clone, in which everything is generated and checked as the page says."""
    commands, _ = page
    installs = r"fetch_third_party|-m venv|pip install|npm .* install|send_readings"
    for block in commands:
        lines = block.splitlines() if "END" not in block else []
        shell(clone, "\n".join(line for line in lines if not re.search(installs, line)))
    return clone


@pytest.fixture(params=PROGRAMS)
def language(request):
    return request.param


def readings(first, count):
    """Lines whose load_kwh tells them apart."""
    fields = {"soc": 55.5, "net_load_kwh": 0, "pv_notification": True, "bio_notification": False,
              "cro_notification": False}  # fmt: skip
    return "".join(
        json.dumps({"dt_stamp": stamp(JUNE + number).ToJsonString(), "load_kwh": number, **fields}) + "\n"
        for number in range(first, first + count)
    )


class Sample:
    """A program of the samples, with a state and readings of its own."""

    def __init__(self, language, clone, folder):
        self._command, self._clone, self._folder = PROGRAMS[language], clone, folder
        self._state, self.readings = folder / "state", folder / "readings.ndjson"
        self._logs = itertools.count()

    def start(self, address):
        """A Process, whose command runs in the clone."""
        command = [*self._command, "--target", address, "--batch_lines", str(BATCH_LINES),
                   str(self._state), str(self.readings)]  # fmt: skip
        log = self._folder / f"client-{next(self._logs)}.log"
        return Process(["env", "-C", self._clone, *command], log, environment())

    def run(self, address):
        """What a run that succeeds prints, on both outputs."""
        process = self.start(address)
        try:
            assert process.wait(60) == 0, process.tail()
            return process.log.read_text()
        finally:
            process.kill()

    def acknowledged(self):
        return json.loads(self._state.read_text())["acknowledged"] if self._state.exists() else 0


@pytest.fixture
def sample(language, generated, tmp_path):
    return Sample(language, generated, tmp_path)


def stored(database):
    """The numbers of the entries stored, in order."""
    rows = database.query("SELECT load_kwh::bigint FROM live_data ORDER BY load_kwh")
    return [number for (number,) in rows]


def test_the_commands_of_the_page_work(language, generated, page, server):
    commands, shown = page
    (make_readings,) = [block for block in commands if "END" in block]
    shell(generated, make_readings)
    (command,) = [line for block in commands for line in block.splitlines()
                  if line.startswith(" ".join(PROGRAMS[language]))]  # fmt: skip
    printed = shell(generated, command.replace("127.0.0.1:50051", server.address))
    assert printed == shown


def test_a_session_goes_on_after_all_that_can_stop(sample, cluster, start_server):
    database = cluster.new_database()
    server = start_server(database)
    sample.readings.write_text(readings(0, LINES))

    # The database is away at the first call, which gets UNAVAILABLE with RetryInfo.
    cluster.stop()
    client = sample.start(server.address)
    wait_until(lambda: "Unavailable" in server.log_text(), 30, "a call is refused")
    cluster.start()
    # The client is killed between two acknowledgements.
    wait_until(lambda: sample.acknowledged() >= 10, 30, "some batches are stored")
    client.kill()
    before = sample.acknowledged()
    assert before * BATCH_LINES < LINES

    # The next one sees the server and the database restart.
    client = sample.start(server.address)
    wait_until(lambda: sample.acknowledged() >= before + 10, 30, "the client goes on")
    server.restart()
    wait_until(lambda: sample.acknowledged() >= before + 30, 30, "it goes on with the new server")
    cluster.stop()
    cluster.start()
    assert client.wait(60) == 0, client.tail()

    assert stored(database) == list(range(LINES))
    assert database.query("SELECT count(*) FROM sites") == [(1,)]
    batches = LINES // BATCH_LINES
    assert database.query("SELECT committed_sequence FROM ingest_sessions") == [(batches,)]


def test_a_site_is_created_once_though_the_answer_is_lost(sample, server, database):
    sample.readings.write_text(readings(0, 1))
    waiting = """SELECT count(*) FROM pg_stat_activity
                 WHERE wait_event_type = 'Lock' AND query LIKE '%INSERT INTO sites%'"""
    proxy = Proxy(server.port)
    try:
        with database.connect() as blocker, blocker.transaction():
            blocker.execute("LOCK TABLE sites IN SHARE MODE")
            client = sample.start(proxy.address)
            wait_until(lambda: database.query(waiting) != [(0,)], 30, "the call waits in the database")
            proxy.stall()
        wait_until(lambda: database.query("SELECT count(*) FROM sites") == [(1,)], 30, "it is stored")
        proxy.cut()
        proxy.go_on()
        assert client.wait(60) == 0, client.tail()
    finally:
        proxy.close()
    assert database.query("SELECT count(*) FROM sites") == [(1,)]
    assert stored(database) == [0]


def test_refused_readings_are_reported_and_incomplete_ones_wait(sample, server, database):
    good, bad = readings(0, 1), readings(1, 1).replace("55.5", "155.5")
    sample.readings.write_text(good + bad + readings(2, 1).rstrip())
    printed = sample.run(server.address)
    assert "batch 1, entry 1: entries[1].soc: must be from 0 to 100, got 155.5" in printed
    assert stored(database) == [0] and sample.acknowledged() == 1

    with sample.readings.open("a") as file:
        file.write("\n")
    assert "must be" not in sample.run(server.address)
    assert stored(database) == [0, 2] and sample.acknowledged() == 2
