"""pgBackRest beside a cluster of the tests, set up by the letter of the page for operators."""

import re
import shlex
import shutil

from support.process import ROOT, wait_until

PAGE = (ROOT / "deploy/README.md").read_text(encoding="utf-8")


def block(start):
    """The page's block of code that begins so."""
    return re.search(rf"^```\w+\n({re.escape(start)}.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[1]


class Archive:
    """Archives the WAL of `cluster` from now on, which it restarts for it."""

    def __init__(self, cluster):
        self._cluster = cluster
        folder = f"{cluster.dir}/archive"
        cluster.run("mkdir", folder)
        self._config = f"{folder}/pgbackrest.conf"
        text = block("[global]")
        for shown, real in {
            "/var/lib/pgbackrest": f"{folder}/repository",
            "/var/lib/postgresql/15/main": f"{cluster.dir}/data",
            "[main]\n": f"log-path={folder}\nlock-path={folder}\nlog-level-file=off\n"
            f"[main]\npg1-socket-path={cluster.dir}\n",
        }.items():
            assert shown in text
            text = text.replace(shown, real)
        cluster.run("install", "-m", "644", "/dev/null", self._config)
        with open(self._config, "w", encoding="ascii") as file:
            file.write(text)
        for line in block("archive_mode").splitlines():
            cluster.query(f"ALTER SYSTEM SET {self._here(line)}")
        cluster.stop()
        cluster.start()
        create, self._back_up = block("pgbackrest --stanza=main stanza-create").splitlines()
        self._run(create)

    def back_up(self):
        self._run(self._back_up)
        [(stopped,)] = self._cluster.query("SELECT date_trunc('second', clock_timestamp())::text")
        # A moment in the second in which the backup ended cannot be restored.
        later = f"SELECT clock_timestamp() >= '{stopped}'::timestamptz + interval '1 second'"
        wait_until(lambda: self._cluster.query(later) == [(True,)], 10, "the next second")

    def restore(self, moment):
        """Puts the data back as they were at `moment`; the cluster stands still for it."""
        self._cluster.stop()
        shutil.rmtree(f"{self._cluster.dir}/data")
        command = block("pgbackrest --stanza=main --type=time").strip()
        self._run(re.sub(r'--target="[^"]*"', f"--target={shlex.quote(moment)}", command))
        self._cluster.start()
        in_recovery = "SELECT pg_is_in_recovery()"
        wait_until(lambda: self._cluster.query(in_recovery) == [(False,)], 60, "it takes writes")

    def _here(self, command):
        return command.replace("pgbackrest ", f"pgbackrest --config={self._config} ")

    def _run(self, command):
        self._cluster.run(*shlex.split(self._here(command)))
