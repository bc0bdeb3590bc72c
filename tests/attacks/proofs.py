"""What each attack has seen at least, by its edge: otherwise it was none."""

MIB = 1 << 20

# Of the short form; the names are those that `hostile` and `http2.Connection` count by.
LEAST = {
    ("rapid_reset", "bare"): {"calls": 1000},
    ("rapid_reset", "envoy"): {"cut": 6},
    # Refused, but not before more came than one message may be.
    ("oversized_messages", "bare"): {"bytes": 16 * MIB, "cut": 4},
    ("oversized_messages", "envoy"): {"bytes": 16 * MIB, "RESOURCE_EXHAUSTED": 4},
    ("gzip_bombs", "bare"): {"UNIMPLEMENTED": 16},
    ("gzip_bombs", "envoy"): {"UNIMPLEMENTED": 16},
    # All that they have, and the server waits on; Envoy does for 10 seconds, which are most of it.
    ("slow_headers", "bare"): {"bytes": 10_800},
    ("slow_headers", "envoy"): {"bytes": 6_000, "cut": 100},
    ("slow_bodies", "bare"): {"calls": 1000, "bytes": 130_000},
    ("slow_bodies", "envoy"): {"calls": 1000, "bytes": 130_000},
    # More than --memory_limit_mib; Envoy has more room.
    ("unfinished_messages", "bare"): {"bytes": 64 * MIB},
    ("unfinished_messages", "envoy"): {"bytes": 256 * MIB},
    # Of the exports, of which few may run.
    ("never_reads", "bare"): {"calls": 1000, "RESOURCE_EXHAUSTED": 1},
    ("never_reads", "envoy"): {"calls": 1000, "RESOURCE_EXHAUSTED": 1},
    ("ping_abuse", "bare"): {"bytes": 2_040_000},
    ("ping_abuse", "envoy"): {"cut": 6},
    ("continuation_flood", "bare"): {"bytes": 32 * MIB},
    ("continuation_flood", "envoy"): {"bytes": 6 * 48 * 1024, "cut": 6},
    ("header_bombs", "bare"): {"cut": 6},
    ("header_bombs", "envoy"): {"cut": 6},
    # The server closes those beyond its descriptors at once; Envoy lets them wait.
    ("many_connections", "bare"): {"served": 900, "cut": 100},
    ("many_connections", "envoy"): {"served": 900},
    ("one_byte_fields", "envoy"): {"bytes": 20 * 48 * 1024, "cut": 20},
    # Cut off somewhere behind the 128 calls that a connection may have open.
    ("open_calls", "envoy"): {"calls": 20 * 129, "cut": 20},
}


def missing(attack, edge, seen):
    """What `seen` lacks."""
    least = LEAST[attack, edge]
    return {name: count for name, count in least.items() if seen[name] < count}
