"""Judge 2 of the validation corpus: the published protovalidate, on the same descriptors."""

import collections

import corpus
import protovalidate
import pytest

POOL = corpus.load_pool()
CASES = list(corpus.load_cases(POOL))
VALIDATOR = protovalidate.Validator()


def judge(message, prefix=""):
    """What protovalidate finds, as violations of our corpus."""
    return [
        corpus.Violation(prefix + path_text(violation.proto.field), violation.proto.rule_id)
        for violation in VALIDATOR.collect_violations(message)
    ]


def path_text(path):
    names = []
    for element in path.elements:
        index = f"[{element.subscript.value}]" if element.subscript else ""
        names.append(element.field_name + index)
    return ".".join(names)


def judge_update(request):
    """protovalidate cannot see the mask: it judges the whole resource, and we keep the masked part."""
    resource_field = request.DESCRIPTOR.fields[0]
    found = judge(request)
    if not request.HasField(resource_field.name):
        return found
    resource = getattr(request, resource_field.name)
    paths = list(request.update_mask.paths)
    if not paths:
        paths = [field.name for field, _ in resource.ListFields()]
    masked = set(paths) & SETTABLE[resource.DESCRIPTOR.name]
    if paths == ["*"]:
        masked = SETTABLE[resource.DESCRIPTOR.name]
    prefix = resource_field.name + "."
    return found + [v for v in judge(resource, prefix) if v.field.removeprefix(prefix) in masked]


# By hand, so that the judge shares no reading of the options with the judged.
SETTABLE = {
    "Site": {"name", "location"},
    "Configuration": {
        "battery_vendor",
        "battery_capacity_kwh",
        "battery_max_power_kw",
        "production_pv_units",
        "production_bio_units",
        "production_cro_units",
        "production_pv_kwp",
        "production_cro_kwp",
    },
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_protovalidate_agrees(case):
    found = judge_update(case.request) if case.is_update else judge(case.request)
    declared = [violation for violation in case.violations if not violation.not_declared]
    assert sorted(found) == declared


def test_only_rules_of_our_own_are_marked_as_not_declared():
    own = collections.Counter(
        violation.rule_id
        for case in CASES
        for violation in case.violations
        if violation.not_declared
    )
    assert set(own) == {
        "timestamp.valid",
        "field_mask.settable",
        "field_mask.not_empty",
        "required",
    }
    for case in CASES:
        for violation in case.violations:
            if violation.not_declared and violation.rule_id == "required":
                assert case.is_update and "." not in violation.field


def test_the_corpus_covers_every_request():
    # Everything but the responses and the resources is a request.
    requests = {
        method.input_type.name
        for service in ("Sites", "Configurations", "LiveData")
        for method in POOL.FindServiceByName(f"energysites.v1.{service}").methods
    }
    assert {case.request_type for case in CASES} == requests
    assert len(CASES) >= 300
    assert len({case.name for case in CASES}) == len(CASES)
