"""A private PostgreSQL of one test session, with one database for each test."""

import contextlib
import glob
import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import urllib.parse

import psycopg

from support.process import free_ports, wait_until

BIN = "/usr/lib/postgresql/15/bin"
OWNER = "energy_sites_owner"
APP = "energy_sites"


def _runs(pid):
    """Whether the process exists and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Database:
    """One database: the URLs of its two roles and of the superuser."""

    def __init__(self, cluster, name):
        self.name = name
        self.app_url = cluster.url(name, APP)
        self.owner_url = cluster.url(name, OWNER)
        self.superuser_url = cluster.url(name, "postgres")
        self._cluster = cluster

    def app_url_through(self, address):
        """Like `app_url`, through a proxy that listens at `address`, or by the cluster's own port."""
        return self._cluster.url(self.name, APP, address)

    def owner_url_through(self, address):
        return self._cluster.url(self.name, OWNER, address)

    def connect(self, url=None):
        """A connection in autocommit mode; by default the superuser's."""
        return psycopg.connect(url or self.superuser_url, autocommit=True)

    def query(self, sql, parameters=None):
        """The rows of `sql`, as the superuser."""
        with self.connect() as connection:
            return connection.execute(sql, parameters).fetchall()

    def close(self):
        """Closes all connections and rejects new ones."""
        self._cluster.query(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
        self._cluster.query(f"""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                                WHERE datname = '{self.name}'""")


class Postgres:
    """A cluster in a temporary folder, on a Unix socket. `durable` turns fsync on.

    With `disk_mib`, which requires root, the folder is a disk of that size. With the folder
    `certificates`, it also listens at `localhost:port` with the certificate `postgres`. With
    `movable_clock`, `set_clock` changes its clock.
    """

    def __init__(self, durable=False, max_connections=200, auth="scram-sha-256", disk_mib=0,
                 certificates=None, movable_clock=False):  # fmt: skip
        # In /tmp and not in TMPDIR, because the path of a socket is limited to 107 bytes.
        self.dir = tempfile.mkdtemp(prefix="es-pg-", dir="/tmp")
        self._numbers = itertools.count(1)
        self._password = secrets.token_hex(16)
        self.port = free_ports(1)[0] if certificates else 5432
        self._disk_mib = disk_mib
        self._movable_clock = movable_clock
        if disk_mib:
            self._mount()
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            os.chown(self.dir, pwd.getpwnam(self._user).pw_uid, -1)
        try:
            self._initialize(durable, max_connections, auth, certificates)
        except BaseException:
            # The caller does not have the object yet.
            self.remove()
            raise

    def _initialize(self, durable, max_connections, auth, certificates):
        password_file = os.path.join(self.dir, "password")
        self.run("install", "-m", "600", "/dev/null", password_file)
        with open(password_file, "w", encoding="ascii") as file:
            file.write(self._password)
        self.run(
            f"{BIN}/initdb", f"--pgdata={self.dir}/data", "--username=postgres",
            f"--pwfile={password_file}", f"--auth={auth}", "--encoding=UTF8",
            "--locale=C.UTF-8", "--no-sync",
        )  # fmt: skip
        listen = "localhost" if certificates else ""
        self._options = f"-c listen_addresses='{listen}' -c unix_socket_directories='{self.dir}'"
        self._options += f" -c port={self.port}"
        self._options += f" -c timezone=UTC -c max_connections={max_connections}"
        # After a crash, one sync of the whole file system instead of one per file.
        self._options += " -c recovery_init_sync_method=syncfs"
        if not durable:
            self._options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        if certificates:
            self._options += self._tls(certificates)
        if self._movable_clock:
            self.set_clock(0)
        self.start()
        for role in (OWNER, APP):
            self.query(f"CREATE ROLE {role} LOGIN PASSWORD '{self._password}'")

    def _tls(self, certificates):
        # PostgreSQL requires a key that its own user owns and that no other user can read.
        for name in ("postgres.pem", "postgres.key"):
            self.run("install", "-m", "600", "/dev/null", f"{self.dir}/{name}")
            shutil.copyfile(certificates / name, f"{self.dir}/{name}")
        return (
            f" -c ssl=on -c ssl_cert_file={self.dir}/postgres.pem"
            f" -c ssl_key_file={self.dir}/postgres.key"
        )

    def url(self, database, role, address=None):
        """By the socket, or through a proxy that listens at `address`."""
        if address:
            return f"postgresql://{role}:{self._password}@{address}/{database}"
        host = urllib.parse.quote(self.dir, safe="")
        return f"postgresql://{role}:{self._password}@:{self.port}/{database}?host={host}"

    def make_template(self, migrate):
        """Makes the database that `new_database` copies; `migrate(database)` fills it."""
        database = self._create("template_migrated", f"OWNER {OWNER}")
        migrate(database)

    def new_database(self):
        """A new migrated database."""
        return self._create(f"test_{next(self._numbers)}", f"TEMPLATE template_migrated OWNER {OWNER}")

    def empty_database(self):
        """A database without tables."""
        return self._create(f"test_{next(self._numbers)}", f"OWNER {OWNER}")

    def drop(self, database):
        self.query(f"DROP DATABASE {database.name} WITH (FORCE)")

    def query(self, sql):
        """The rows of `sql`, if it has any, as the superuser in the database `postgres`."""
        with psycopg.connect(self.url("postgres", "postgres"), autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else None

    def set_clock(self, seconds_ahead):
        """Sets its clock to so many seconds after the real time."""
        file = f"{self.dir}/clock"
        with open(f"{file}.new", "w", encoding="ascii") as new:
            new.write(f"{seconds_ahead:+d}\n")
        os.replace(f"{file}.new", file)

    def start(self):
        self._pg_ctl("start", f"--options={self._options}", f"--log={self.dir}/log")

    def stop(self, mode="fast"):
        """`mode` is pg_ctl's: with `immediate`, the database crashes."""
        self._pg_ctl("stop", f"--mode={mode}")

    def runs(self):
        """Whether it accepts connections or is starting."""
        with contextlib.suppress(RuntimeError):
            self._pg_ctl("status")
            return True
        return False

    @contextlib.contextmanager
    def paused(self):
        """Stops all its processes with SIGSTOP, as on a machine that hangs."""
        processes = self._pause()
        try:
            yield
        finally:
            self._go_on(processes)

    @contextlib.contextmanager
    def full_disk(self):
        """Fills its disk; requires `disk_mib`."""
        ballast = os.path.join(self.dir, "ballast")
        try:
            with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))
            yield
        finally:
            os.remove(ballast)

    def kill(self):
        """Kills the postmaster with SIGKILL; returns when all its child processes have ended, too."""
        processes = self._pause()
        os.kill(processes[0], signal.SIGKILL)
        self._go_on(processes[1:])
        wait_until(lambda: not any(_runs(pid) for pid in processes), 30, "PostgreSQL is gone")
        # If the init process does not reap orphans, their pids stay in use and look like a server.
        for file in (f"{self.dir}/data/postmaster.pid", f"{self.socket}.lock"):
            os.remove(file)

    def _mount(self):
        options = f"size={self._disk_mib}m,mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.dir], check=True)

    @contextlib.contextmanager
    def standing_still(self, pids):
        """Stops these processes with SIGSTOP, as on a disk that hangs."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            self._go_on(pids)

    def postmaster(self):
        """The pid of the process that takes connections and starts all others."""
        with open(f"{self.dir}/data/postmaster.pid", encoding="ascii") as file:
            return int(file.readline())

    def _pause(self):
        """The pids of the stopped processes, the parent first."""
        postmaster = self.postmaster()
        # The parent first, so that it starts no further processes.
        os.kill(postmaster, signal.SIGSTOP)
        with open(f"/proc/{postmaster}/task/{postmaster}/children", encoding="ascii") as file:
            processes = [postmaster, *map(int, file.read().split())]
        for pid in processes[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        return processes

    @staticmethod
    def _go_on(processes):
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):  # It was stopped while it was ending.
                os.kill(pid, signal.SIGCONT)

    def ensure_started(self):
        if not self.runs():
            self.start()

    def remove(self):
        with contextlib.suppress(RuntimeError):  # It does not run.
            self.stop("immediate")
        if self._disk_mib:
            subprocess.run(["umount", self.dir], check=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def socket(self):
        """The path of the socket that it listens on."""
        return f"{self.dir}/.s.PGSQL.{self.port}"

    def _create(self, name, options):
        self.query(f"CREATE DATABASE {name} {options}")
        return Database(self, name)

    def _pg_ctl(self, action, *arguments):
        self.run(
            f"{BIN}/pg_ctl", action, "--wait", "--silent", f"--pgdata={self.dir}/data", *arguments
        )

    def run(self, *command):
        """Runs `command` as the user of the cluster, with the superuser's password in PGPASSWORD."""
        environment = {**os.environ, "PGPASSWORD": self._password}
        if self._movable_clock:
            (library,) = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
            environment |= {
                "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": f"{self.dir}/clock",
                "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }  # fmt: skip
        # Output to a file, because the postmaster inherits it and would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            result = subprocess.run(
                command, user=self._user, cwd="/", stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, check=False, env=environment,
            )  # fmt: skip
            if result.returncode != 0:
                output.seek(0)
                raise RuntimeError(f"{' '.join(command)}:\n{output.read().decode()}")


class Standby:
    """A hot standby of `cluster`, in its folder, with streaming replication."""

    def __init__(self, cluster):
        self._cluster = cluster
        self._data = f"{cluster.dir}/standby"
        cluster.run(f"{BIN}/pg_basebackup", f"--pgdata={self._data}", "--write-recovery-conf",
                     "--checkpoint=fast", f"--dbname={cluster.url('postgres', 'postgres')}")  # fmt: skip
        self._port = 5433
        cluster.run(
            f"{BIN}/pg_ctl", "start", "--wait", "--silent", f"--pgdata={self._data}",
            f"--options=-p {self._port} -c listen_addresses='' -c max_connections=200"
            f" -c unix_socket_directories='{cluster.dir}'",
            f"--log={cluster.dir}/standby.log",
        )  # fmt: skip

    def execute(self, sql):
        """Runs `sql` on the standby, as the superuser."""
        url = f"{self._cluster.url('postgres', 'postgres')}&port={self._port}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql)

    def stop(self):
        self._cluster.run(f"{BIN}/pg_ctl", "stop", "--wait", "--silent", "--mode=immediate",
                           f"--pgdata={self._data}")  # fmt: skip
