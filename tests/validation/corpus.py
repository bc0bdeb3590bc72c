"""Reads the validation corpus: what every judge in Python starts from.

ENERGY_SITES_BUILD_DIR names the build to take the descriptors from (default: build/dev).
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory, text_format

FOLDER = pathlib.Path(__file__).parent
ROOT = FOLDER.parent.parent
FILES = sorted(FOLDER.glob("corpus_*.textproto"))


def build_dir() -> pathlib.Path:
    return ROOT / os.environ.get("ENERGY_SITES_BUILD_DIR", "build/dev")


@dataclasses.dataclass(frozen=True, order=True)
class Violation:
    """A broken rule; `not_declared` where no option in the .proto says it."""

    field: str
    rule_id: str
    not_declared: bool = dataclasses.field(default=False, compare=False)


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    request: message.Message
    violations: tuple[Violation, ...]  # Sorted; empty if the request is valid.

    @property
    def request_type(self) -> str:
        return self.request.DESCRIPTOR.name

    @property
    def is_update(self) -> bool:
        return "update_mask" in self.request.DESCRIPTOR.fields_by_name


def load_pool(build: pathlib.Path | None = None) -> descriptor_pool.DescriptorPool:
    """A pool of its own, so that generated stubs may live beside it."""
    pool = descriptor_pool.DescriptorPool()
    for name in ("energy_sites.pb", "corpus.pb"):
        files = descriptor_pb2.FileDescriptorSet.FromString(((build or build_dir()) / name).read_bytes())
        for file in files.file:
            # The other files of corpus.pb are for the unit tests.
            if name != "corpus.pb" or file.name.endswith("/corpus.proto"):
                pool.Add(file)
    return pool


def load_cases(pool: descriptor_pool.DescriptorPool | None = None) -> Iterator[Case]:
    """Yields every case; requests are messages of `pool`."""
    pool = pool or load_pool()
    corpus_type = message_factory.GetMessageClass(
        pool.FindMessageTypeByName("energysites.test.Corpus")
    )
    for path in FILES:
        corpus = text_format.Parse(
            path.read_text(encoding="utf-8"), corpus_type(), descriptor_pool=pool
        )
        bases = {base.name: base.request for base in corpus.bases}
        for case in corpus.cases:
            yield Case(
                name=case.name,
                request=_request(case, bases, pool),
                violations=tuple(
                    sorted(Violation(v.field, v.rule_id, v.not_declared) for v in case.violations)
                ),
            )


def _request(case, bases, pool) -> message.Message:
    parts = [bases[case.base]] if case.base else []
    if case.HasField("request"):
        parts.append(case.request)
    type_name = parts[0].type_url.rpartition("/")[2]
    request = message_factory.GetMessageClass(pool.FindMessageTypeByName(type_name))()
    for part in parts:
        request.MergeFromString(part.value)
    for path in case.clear:
        owner, field = _resolve(request, path)
        owner.ClearField(field)
    for long_text in case.long_texts:
        owner, field = _resolve(request, long_text.field)
        setattr(owner, field, long_text.text * long_text.times)
    if case.copies > 1:
        owner, field = _resolve(request, case.copied or "entries")
        items = list(getattr(owner, field))
        owner.ClearField(field)
        getattr(owner, field).extend(items[:1] * case.copies + items[1:])
    return request


def _resolve(request: message.Message, path: str) -> tuple[message.Message, str]:
    *parents, field = path.split(".")
    for parent in parents:
        request = getattr(request, parent)
    return request, field
