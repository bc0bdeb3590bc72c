"""Judge 4 of the validation corpus: the schema, by inserting past the service.

Of each case it judges the columns: what the request says besides (ids, masks, request_id, output
fields) SQL does not see, so that a row may be good where the request is not.
"""

import corpus
import psycopg
import pytest

TEXTS = ("name", "location")
CONFIGURATION = (
    "battery_vendor", "battery_capacity_kwh", "battery_max_power_kw", "production_pv_units",
    "production_bio_units", "production_cro_units", "production_pv_kwp", "production_cro_kwp",
)  # fmt: skip
ENTRY = (
    "soc", "load_kwh", "net_load_kwh", "pv_notification", "bio_notification", "cro_notification",
)  # fmt: skip
# The resource's field in the request -> its table, and its columns.
TABLES = {
    "site": ("sites", TEXTS),
    "configuration": ("configurations", ("site_id", *CONFIGURATION)),
    "live_data_entry": ("live_data", ("site_id", "dt_stamp", *ENTRY)),
    "entries": ("live_data", ("site_id", "dt_stamp", *ENTRY)),
}
# Exact where a float or an interval of seconds would not be.
STAMP = (
    "(timestamptz 'epoch' + make_interval(days => %(days)s::int,"
    " secs => %(second)s::float8 + %(microsecond)s::float8 / 1000000))"
)


def resource_field(case):
    """The field that holds what is written, or None."""
    if case.request_type.startswith(("Create", "Update", "Batch")):
        return next(name for name in case.request.DESCRIPTOR.fields_by_name if name in TABLES)
    return None


def resources(case, field):
    value = getattr(case.request, field)
    return list(value) if field == "entries" else [value]


def masked_columns(case, field):
    """The columns that an update sets; nothing if its mask is at fault."""
    if any(violation.field == "update_mask" for violation in case.violations):
        return ()
    columns = set(TABLES[field][1]) - {"site_id"}
    paths = set(case.request.update_mask.paths)
    if not paths:
        paths = {set_field.name for set_field, _ in getattr(case.request, field).ListFields()}
    return tuple(sorted(columns if paths == {"*"} else columns & paths))


def columns_of(case):
    field = resource_field(case)
    return masked_columns(case, field) if case.is_update else TABLES[field][1]


def in_scope(case):
    field = resource_field(case)
    if field is None or not resources(case, field):
        return False
    # A message that is not there is no row, and a timestamptz has no nanos that could be wrong.
    if field != "entries" and not case.request.HasField(field):
        return False
    rules = {
        (violation.field.rpartition(".")[2], violation.rule_id) for violation in case.violations
    }
    return ("dt_stamp", "timestamp.valid") not in rules and bool(columns_of(case))


CASES = [case for case in corpus.load_cases() if in_scope(case)]


def is_row_bad(case):
    """Whether the corpus finds fault with a column."""
    field, columns = resource_field(case), columns_of(case)
    prefixes = tuple(f"{field}.{column}" for column in columns)
    indexed = {f".{column}" for column in columns}
    return any(
        violation.field in prefixes
        or (
            violation.field.startswith("entries[")
            and violation.field[violation.field.index("]") + 1 :] in indexed
        )
        for violation in case.violations
    )


def parameters(resource, columns):
    """The values by name; None for a field that is not there."""
    values = {}
    for column in columns:
        value = getattr(resource, column) if resource.HasField(column) else None
        if column == "dt_stamp" and value is not None:
            days, second = divmod(value.seconds, 86400)
            values |= {"days": days, "second": second, "microsecond": value.nanos // 1000}
        values[column] = value if column != "dt_stamp" else None
    return values


def expression(resource, column):
    return STAMP if column == "dt_stamp" and resource.HasField("dt_stamp") else f"%({column})s"


@pytest.fixture(scope="module")
def owner(postgres):
    """The owner's connection to a database with the sites that the corpus names."""
    database = postgres.new_database()
    site_ids = {
        one.site_id
        for case in CASES
        for one in resources(case, resource_field(case))
        if "site_id" in one.DESCRIPTOR.fields_by_name and one.site_id > 0
    } | {1}
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO sites (id, name, location) OVERRIDING SYSTEM VALUE"
            " SELECT id, 'Farm', 'Brno' FROM unnest(%s::bigint[]) AS id",
            [sorted(site_ids)],
        )
        # Clear of the ids given above.
        connection.execute("ALTER TABLE sites ALTER id RESTART WITH 1000")
        connection.execute(
            "INSERT INTO configurations (site_id, battery_vendor, battery_capacity_kwh,"
            " battery_max_power_kw, production_pv_units, production_bio_units,"
            " production_cro_units) VALUES (1, 'KATL', 0, 0, 0, 0, 0)"
        )
        yield connection


def write(owner, case):
    field, columns = resource_field(case), columns_of(case)
    table = TABLES[field][0]
    for resource in resources(case, field):
        values = parameters(resource, columns)
        texts = [expression(resource, column) for column in columns]
        if case.is_update:
            changes = ", ".join(f"{column} = {text}" for column, text in zip(columns, texts))
            key = "id" if table == "sites" else "site_id"
            assert (
                owner.execute(f"UPDATE {table} SET {changes} WHERE {key} = 1", values).rowcount == 1
            )
            continue
        if "days" in values:
            owner.execute(f"SELECT make_live_data_month({STAMP})", values)
        names = ", ".join(columns)
        if table == "live_data":
            names, texts = f"{names}, id", [*texts, "nextval('live_data_numbers')"]
        owner.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join(texts)})", values)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_schema_agrees(owner, case):
    try:
        with owner.transaction(force_rollback=True):
            write(owner, case)
        refused = None
    # NOT NULL, CHECKs and keys; what a type cannot hold.
    except (psycopg.IntegrityError, psycopg.DataError) as error:
        refused = error
    assert (refused is not None) == is_row_bad(case), refused


def test_the_schema_judges_most_of_the_corpus():
    assert len(CASES) > 350
    assert sum(map(is_row_bad, CASES)) > 150 and sum(not is_row_bad(case) for case in CASES) > 150
