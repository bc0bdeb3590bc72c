"""How Envoy's configuration says which message a part of it is."""

_API = "type.googleapis.com/envoy"


def typed(name, kind, **fields):
    """An extension by name, with its configuration of type envoy.`kind`."""
    return {"name": name, "typed_config": config(kind, **fields)}


def config(kind, **fields):
    return {"@type": f"{_API}.{kind}", **fields}
