"""What callers sent and what they were told, and whether the database agrees with it.

Each entry carries a number of its own as load_kwh, by which it is found again.
"""

import collections
import dataclasses
import enum


class Outcome(enum.Enum):
    ACKNOWLEDGED = "acknowledged"  # Stored, exactly once.
    REFUSED = "refused"  # Certainly not stored.
    UNKNOWN = "unknown"  # Stored or not, but never twice.


# What each code says of the write that got it. Any other one is a fault of the service.
MEANS = {
    "OK": Outcome.ACKNOWLEDGED,
    "INVALID_ARGUMENT": Outcome.REFUSED,
    "NOT_FOUND": Outcome.REFUSED,
    "ALREADY_EXISTS": Outcome.REFUSED,
    "FAILED_PRECONDITION": Outcome.REFUSED,
    "RESOURCE_EXHAUSTED": Outcome.REFUSED,
    "ABORTED": Outcome.REFUSED,
    "UNAVAILABLE": Outcome.UNKNOWN,
    "CANCELLED": Outcome.UNKNOWN,
    "DEADLINE_EXCEEDED": Outcome.UNKNOWN,
}


@dataclasses.dataclass
class Call:
    """One write of one entry or of a batch, with all its tries."""

    numbers: range
    request_id: str = ""
    codes: list[str] = dataclasses.field(default_factory=list)  # One for each try.
    failures: list = dataclasses.field(default_factory=list)  # Of those that were not OK.
    ids: dict[int, int] = dataclasses.field(default_factory=dict)  # number -> id, as answered.
    began: float = 0  # Monotonic, as is `ended`.
    ended: float = 0

    @property
    def outcome(self):
        means = {MEANS.get(code, Outcome.UNKNOWN) for code in self.codes}
        # A later refusal says nothing about an earlier try.
        for outcome in (Outcome.ACKNOWLEDGED, Outcome.UNKNOWN):
            if outcome in means or not means:
                return outcome
        return Outcome.REFUSED


def stored_entries(database):
    """Pairs of number and id, of every entry in the database."""
    return database.query("SELECT load_kwh, id FROM live_data")


def problems(calls, stored):
    """Everything in which the history and the `stored` entries disagree, as texts."""
    ids = collections.defaultdict(list)
    for number, entry_id in stored:
        ids[number].append(entry_id)
    found = []
    for call in calls:
        found += [f"{call.numbers}: answered {code}" for code in call.codes if code not in MEANS]
        found += _disagreements(call, ids)
    sent = {number for call in calls for number in call.numbers}
    found += [f"stray: {number} is stored, and nobody sent it" for number in ids.keys() - sent]
    return found


def _disagreements(call, ids):
    times = {number: len(ids.get(number, ())) for number in call.numbers}
    found = [f"doubled: {number} is stored {n} times" for number, n in times.items() if n > 1]
    absent = [number for number, n in times.items() if n == 0]
    if call.outcome is Outcome.ACKNOWLEDGED:
        found += [f"lost: {number} was acknowledged" for number in absent]
        found += [
            f"changed: {number} was acknowledged as {call.ids.get(number)}, not {ids[number]}"
            for number in call.numbers
            if times[number] == 1 and ids[number] != [call.ids.get(number)]
        ]
    elif call.outcome is Outcome.REFUSED:
        found += [f"refused, but stored: {number}" for number, n in times.items() if n]
    elif 0 < len(absent) < len(call.numbers):
        found.append(f"torn: of the batch {call.numbers}, {absent} are not stored")
    return found


def check(calls, database):
    """Fails unless the database holds what the history says; returns how often each outcome was."""
    found = problems(calls, stored_entries(database))
    assert not found, f"{len(found)} problems, the first: {found[:5]}"
    return collections.Counter(call.outcome for call in calls)
