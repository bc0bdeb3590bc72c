"""Changes passwords of the database roles and checks that a service works with them."""

import urllib.parse

from energysites.v1 import live_data_pb2

from support.calls import create_site
from support.ingest import Ingest, numbered
from support.postgres import APP, OWNER
from support.watch import Watch


def change_passwords(database, password):
    """In the database only."""
    with database.connect() as superuser:
        for role in (APP, OWNER):
            superuser.execute(f"ALTER ROLE {role} PASSWORD '{password}'")


def drop_connections(database):
    database.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY(%s)",
        [[APP, OWNER]],
    )


def with_password(url, password):
    return url.replace(f":{urllib.parse.urlsplit(url).password}@", f":{password}@")


def connected_roles(database):
    return {role for (role,) in database.query("SELECT DISTINCT usename FROM pg_stat_activity")}


def assert_all_works(service, first):
    """Calls that use each kind of connection, with entries from number `first` on."""
    stubs = service.stubs()
    site_id = create_site(stubs).id
    watch = Watch(stubs, [site_id])
    stream = Ingest(stubs, session=f"meter-{first}")
    stream.send(1, numbered(site_id, first, 2))
    stream.until(1)
    stream.rest()
    assert len(watch.wait(2)) == 2
    watch.cancel()
    request = live_data_pb2.ExportLiveDataRequest(site_ids=[site_id])
    answers = list(stubs.live_data.ExportLiveData(request, timeout=30))
    assert sum(len(answer.live_data_entries) for answer in answers) == 2
    stubs.close()
