"""Configurations, from creation to deletion, and every way in which a call is refused."""

from energysites.v1 import configurations_pb2

from support.calls import configuration, contents, create_site, fail

UNKNOWN = 9_223_372_036_854_775_807
# A value of each field that must have one.
REQUIRED = {
    "battery_vendor": "KATL", "battery_capacity_kwh": 1, "battery_max_power_kw": 2,
    "production_pv_units": 3, "production_bio_units": 4, "production_cro_units": 5,
}  # fmt: skip

# Changes in the body, mask -> changes stored; None is an optional field without a value. What is
# stored first is `configuration()`.
MASKS = {
    "one field": ({"battery_vendor": "KATL"}, ["battery_vendor"], {"battery_vendor": "KATL"}),
    "zeros": (
        {"production_pv_units": 0, "battery_capacity_kwh": 0},
        ["production_pv_units", "battery_capacity_kwh"],
        {"production_pv_units": 0, "battery_capacity_kwh": 0},
    ),
    "an optional field": (
        {"production_cro_kwp": -2.5},
        ["production_cro_kwp"],
        {"production_cro_kwp": -2.5},
    ),
    "clear an optional field": ({}, ["production_pv_kwp"], {"production_pv_kwp": None}),
    "set one and clear one": (
        {"production_cro_kwp": 1.5},
        ["production_pv_kwp", "production_cro_kwp"],
        {"production_pv_kwp": None, "production_cro_kwp": 1.5},
    ),
    "empty": (
        {"battery_max_power_kw": 7.5, "production_bio_units": 2},
        [],
        {"battery_max_power_kw": 7.5, "production_bio_units": 2},
    ),
    "empty clears nothing": ({"production_cro_kwp": 3}, [], {"production_cro_kwp": 3}),
    "a star sets what is there and clears the rest": (
        REQUIRED,
        ["*"],
        {**REQUIRED, "production_pv_kwp": None},
    ),
    "a bad field outside the mask": (
        {"battery_vendor": "tesla", "production_pv_units": 9},
        ["production_pv_units"],
        {"production_pv_units": 9},
    ),
}

# Changes in the body, mask -> violations.
BAD_MASKS = {
    "the site": ({}, ["site_id"], [("update_mask", "field_mask.settable")]),
    "the id": ({}, ["id"], [("update_mask", "field_mask.settable")]),
    "the etag": ({}, ["etag"], [("update_mask", "field_mask.settable")]),
    "an output field": ({}, ["update_time"], [("update_mask", "field_mask.settable")]),
    "an unknown field": ({}, ["production_wind_units"], [("update_mask", "field_mask.settable")]),
    "nothing": ({}, [], [("update_mask", "field_mask.not_empty")]),
    "a required field without a value": (
        {},
        ["battery_vendor"],
        [("configuration.battery_vendor", "required")],
    ),
    "bad values": (
        {
            "battery_capacity_kwh": float("nan"),
            "production_pv_units": -1,
            "production_pv_kwp": float("inf"),
        },
        [],
        [
            ("configuration.battery_capacity_kwh", "double.finite"),
            ("configuration.battery_capacity_kwh", "double.gte"),
            ("configuration.production_pv_kwp", "double.finite"),
            ("configuration.production_pv_units", "int32.gte"),
        ],
    ),
}


def create(stubs, site_id, **changes):
    return stubs.configurations.CreateConfiguration(
        configurations_pb2.CreateConfigurationRequest(
            configuration=configuration(site_id, **changes)
        )
    )


def get_request(one):
    return configurations_pb2.GetConfigurationRequest(site_id=one.site_id, id=one.id)


def update_request(one, changes, mask):
    return configurations_pb2.UpdateConfigurationRequest(
        configuration={"site_id": one.site_id, "id": one.id, **changes}, update_mask={"paths": mask}
    )


def without_output(one):
    fields = configurations_pb2.Configuration()
    fields.CopyFrom(one)
    for name in ("id", "etag", "create_time", "update_time"):
        fields.ClearField(name)
    return fields


def test_a_life(stubs):
    site_id = create_site(stubs).id
    created = create(stubs, site_id)
    assert created.id > 0 and created.etag and created.create_time == created.update_time
    assert without_output(created) == configuration(site_id)
    assert not created.HasField("production_cro_kwp")
    assert stubs.configurations.GetConfiguration(get_request(created)) == created

    changed = stubs.configurations.UpdateConfiguration(
        update_request(created, {"battery_vendor": "KATL"}, ["battery_vendor"])
    )
    assert changed.etag != created.etag and changed.create_time == created.create_time
    assert changed.update_time.ToNanoseconds() > created.update_time.ToNanoseconds()
    assert stubs.configurations.GetConfiguration(get_request(created)) == changed
    of_site = configurations_pb2.ListConfigurationsRequest(site_id=site_id)
    assert list(stubs.configurations.ListConfigurations(of_site).configurations) == [changed]

    stubs.configurations.DeleteConfiguration(
        configurations_pb2.DeleteConfigurationRequest(site_id=site_id, id=created.id)
    )
    assert not stubs.configurations.ListConfigurations(of_site).configurations


def test_masks(stubs):
    site_id = create_site(stubs).id
    for name, (changes, mask, expected) in MASKS.items():
        old = create(stubs, site_id)
        new = stubs.configurations.UpdateConfiguration(update_request(old, changes, mask))
        assert without_output(new) == configuration(site_id, **expected), name
        assert stubs.configurations.GetConfiguration(get_request(old)) == new, name


def test_bad_masks_change_nothing(stubs, database):
    old = create(stubs, create_site(stubs).id)
    before = contents(database)
    for name, (changes, mask, violations) in BAD_MASKS.items():
        failure = fail(stubs.configurations.UpdateConfiguration, update_request(old, changes, mask))
        assert (failure.code, failure.violations) == ("INVALID_ARGUMENT", violations), name
    assert contents(database) == before


def test_not_found(stubs, database):
    """An id is only good together with its site."""
    here, elsewhere = create_site(stubs).id, create_site(stubs).id
    one = create(stubs, here)
    deleted = create(stubs, here)
    stubs.configurations.DeleteConfiguration(
        configurations_pb2.DeleteConfigurationRequest(site_id=here, id=deleted.id)
    )
    before = contents(database)
    for site_id, config_id in (
        (here, UNKNOWN), (elsewhere, one.id), (UNKNOWN, one.id), (here, deleted.id),
    ):  # fmt: skip
        names = {"site_id": site_id, "id": config_id}
        change = {**names, "battery_vendor": "KATL"}
        for method, request in (
            ("Get", configurations_pb2.GetConfigurationRequest(**names)),
            ("Delete", configurations_pb2.DeleteConfigurationRequest(**names)),
            ("Delete", configurations_pb2.DeleteConfigurationRequest(**names, etag="1")),
            ("Update", configurations_pb2.UpdateConfigurationRequest(configuration=change)),
            (
                "Update",
                configurations_pb2.UpdateConfigurationRequest(
                    configuration={**change, "etag": "1"}
                ),
            ),
        ):
            failure = fail(getattr(stubs.configurations, f"{method}Configuration"), request)
            assert failure.code == "NOT_FOUND", request
            resource = failure.details["ResourceInfo"]
            assert resource.resource_type == "energysites.v1.Configuration"
            assert resource.resource_name == f"{site_id}/{config_id}"
    assert contents(database) == before


def test_rest_by_both_paths(stubs, rest):
    site_id = create_site(stubs).id
    fields = {
        "battery_vendor": "KATL", "battery_capacity_kwh": 0.1, "battery_max_power_kw": 3,
        "production_pv_units": 1, "production_bio_units": 0, "production_cro_units": 0,
    }  # fmt: skip
    nested = rest.post(f"/v1/sites/{site_id}/configurations", fields)
    flat = rest.post("/v1/configurations", {**fields, "site_id": str(site_id)})
    assert (nested.status_code, flat.status_code) == (200, 200)
    path = f"/v1/sites/{site_id}/configurations"
    assert rest.get(path).json()["configurations"] == [nested.json(), flat.json()]
    assert rest.get("/v1/configurations").json()["configurations"] == [nested.json(), flat.json()]
    one = nested.json()
    assert one["production_bio_units"] == 0 and "production_pv_kwp" not in one
    changed = rest.patch(f"{path}/{one['id']}", {"production_pv_kwp": -1.5, "etag": one["etag"]})
    assert changed.json()["production_pv_kwp"] == -1.5
    assert rest.delete(f"{path}/{one['id']}?etag={one['etag']}").status_code == 409
    assert rest.delete(f"{path}/{one['id']}").status_code == 200
    assert rest.get(f"{path}/{one['id']}").status_code == 404
