"""Reads the contract's descriptor set with the options of google.api and buf.validate decoded."""

from dataclasses import dataclass
from typing import Iterator

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "energysites.v1"


@dataclass(frozen=True)
class Binding:
    """One google.api.http pattern of a method; `index` 0 is the first, the rest are additional."""

    index: int
    verb: str
    path: str
    body: str


class Contract:
    """A FileDescriptorSet made with imports and source info.

    The options are extensions that this package's own descriptors define, so no generated code is
    needed: the set's classes are made from the set itself. `files` are the files of our package
    and may be changed in place, as the tests do to plant faults; `extensions` are the options'.
    """

    def __init__(self, serialized: bytes):
        pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(serialized).file:
            pool.AddSerializedFile(file.SerializeToString())
        make = message_factory.GetMessageClass
        file_set = make(pool.FindMessageTypeByName("google.protobuf.FileDescriptorSet"))
        self.extensions = {
            name: pool.FindExtensionByName(name)
            for name in ("google.api.http", "google.api.field_behavior", "buf.validate.field")
        }
        behaviors = pool.FindEnumTypeByName("google.api.FieldBehavior")
        self._behavior_names = {value.number: value.name for value in behaviors.values}
        self._set = file_set.FromString(serialized)
        self.files = [file for file in self._set.file if file.package == PACKAGE]

    def messages(self) -> dict:
        """Our messages by name without the package, nested ones as `Outer.Inner`."""
        found = {}
        for file in self.files:
            for _, name, element in elements(file):
                if element.DESCRIPTOR.name == "DescriptorProto":
                    found[name] = element
        return found

    def message(self, type_name: str):
        """Our message that a `type_name` (or an rpc's input or output type) names, else None."""
        return self.messages().get(type_name.removeprefix(f".{PACKAGE}."))

    def methods(self) -> Iterator[tuple]:
        """Every (service, method)."""
        for file in self.files:
            for service in file.service:
                for method in service.method:
                    yield service, method

    def rules(self, field):
        """The field's buf.validate.FieldRules, empty if it has none."""
        return field.options.Extensions[self.extensions["buf.validate.field"]]

    def behaviors(self, field) -> set:
        """Names of the field's google.api.field_behavior values."""
        values = field.options.Extensions[self.extensions["google.api.field_behavior"]]
        return {self._behavior_names[value] for value in values}

    def http(self, method):
        """The method's google.api.HttpRule, None if it has none."""
        http = self.extensions["google.api.http"]
        return method.options.Extensions[http] if method.options.HasExtension(http) else None

    def bindings(self, method) -> list:
        """Every Binding of the method, the first one first."""
        rule = self.http(method)
        if rule is None:
            return []
        found = []
        for index, one in enumerate([rule, *rule.additional_bindings]):
            verb = one.WhichOneof("pattern")
            found.append(Binding(index, verb, getattr(one, verb), one.body))
        return found

    def field_at(self, message, path: str):
        """The field that a dotted path names, from `message` on; None if there is none."""
        name, _, rest = path.partition(".")
        field = next((f for f in message.field if f.name == name), None)
        if field is None or not rest:
            return field
        inner = self.message(field.type_name)
        return self.field_at(inner, rest) if inner else None

    def comments(self) -> dict:
        """Leading comments by name (`Site`, `Site.name`, `Sites.GetSite`), maybe empty."""
        found = {}
        for file in self.files:
            texts = {tuple(l.path): l.leading_comments for l in file.source_code_info.location}
            for path, name, _ in elements(file):
                # Each line of a comment still starts with the blank that follows the slashes.
                lines = texts.get(path, "").splitlines()
                found[name] = "\n".join(line.removeprefix(" ") for line in lines).strip()
        return found


def elements(file) -> Iterator[tuple]:
    """Every (path, name, descriptor) of a file that needs a comment; path as in SourceCodeInfo."""
    for m, message in enumerate(file.message_type):
        yield from _message_elements((4, m), message.name, message)
    for e, enum in enumerate(file.enum_type):
        yield from _enum_elements((5, e), enum.name, enum)
    for s, service in enumerate(file.service):
        yield (6, s), service.name, service
        for m, method in enumerate(service.method):
            yield (6, s, 2, m), f"{service.name}.{method.name}", method


def _message_elements(path, name, message):
    yield path, name, message
    for f, field in enumerate(message.field):
        yield (*path, 2, f), f"{name}.{field.name}", field
    for n, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from _message_elements((*path, 3, n), f"{name}.{nested.name}", nested)
    for e, enum in enumerate(message.enum_type):
        yield from _enum_elements((*path, 4, e), f"{name}.{enum.name}", enum)


def _enum_elements(path, name, enum):
    yield path, name, enum
    for v, value in enumerate(enum.value):
        yield (*path, 2, v), f"{name}.{value.name}", value
