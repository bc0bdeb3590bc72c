"""pgBackRest beside a cluster of the tests: its WAL is archived, and it can be restored."""

import os
import shutil

from support.process import wait_until

CONFIG = """[global]
repo1-path={folder}/repository
log-path={folder}
lock-path={folder}
spool-path={folder}
log-level-file=off
start-fast=y
[main]
pg1-path={data}
pg1-socket-path={socket}
"""


class Archive:
    """Archives the WAL of `cluster` from now on, which it restarts for it."""

    def __init__(self, cluster):
        self._cluster = cluster
        folder = f"{cluster.dir}/archive"
        cluster.run("mkdir", folder)
        self._config = f"{folder}/pgbackrest.conf"
        text = CONFIG.format(folder=folder, data=f"{cluster.dir}/data", socket=cluster.dir)
        cluster.run("install", "-m", "644", "/dev/null", self._config)
        with open(self._config, "w", encoding="ascii") as file:
            file.write(text)
        for name, value in (
            ("archive_mode", "on"),
            ("archive_command", f"pgbackrest --config={self._config} --stanza=main archive-push %p"),
        ):
            cluster.query(f"ALTER SYSTEM SET {name} = '{value}'")
        cluster.stop()
        cluster.start()
        self._pgbackrest("stanza-create")

    def back_up(self):
        self._pgbackrest("backup", "--type=full")
        [(stopped,)] = self._cluster.query("SELECT date_trunc('second', clock_timestamp())::text")
        # A moment in the second in which the backup ended cannot be restored.
        later = f"SELECT clock_timestamp() >= '{stopped}'::timestamptz + interval '1 second'"
        wait_until(lambda: self._cluster.query(later) == [(True,)], 10, "the next second")

    def restore(self, moment):
        """Puts the data back as they were at `moment`; the cluster stands still for it."""
        self._cluster.stop()
        shutil.rmtree(f"{self._cluster.dir}/data")
        self._pgbackrest(
            "restore", "--type=time", f"--target={moment}", "--target-action=promote"
        )
        self._cluster.start()
        in_recovery = "SELECT pg_is_in_recovery()"
        wait_until(lambda: self._cluster.query(in_recovery) == [(False,)], 60, "it takes writes")

    def _pgbackrest(self, command, *arguments):
        self._cluster.run(
            "pgbackrest", f"--config={self._config}", "--stanza=main", command, *arguments
        )
