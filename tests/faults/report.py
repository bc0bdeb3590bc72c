"""Durations and ratios of a run: shown and written down, and judged only where that is wanted."""

import dataclasses
import json


@dataclasses.dataclass
class Figure:
    """One measured value; `goal` is what it should be at most, or at least. None: no goal."""

    fault: str
    what: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = False

    @property
    def met(self):
        if self.goal is None:
            return True
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def goal_text(self):
        if self.goal is None:
            return ""
        return f"{'at least' if self.at_least else 'at most'} {self.goal:g}"


class Report:
    """The figures of all tests of a run."""

    def __init__(self):
        self.figures = []

    def markdown(self):
        lines = ["| fault | figure | value | unit | goal | met |", "|---|---|---:|---|---|---|"]
        for one in self.figures:
            met = "" if one.goal is None else ("yes" if one.met else "**no**")
            lines.append(
                f"| {one.fault} | {one.what} | {one.value:,.4g} | {one.unit} "
                f"| {one.goal_text()} | {met} |"
            )
        return "\n".join(lines) + "\n"

    def write(self, path):
        """As JSON or as Markdown, as the suffix of `path` says."""
        if path.suffix == ".json":
            rows = [{**dataclasses.asdict(one), "met": one.met} for one in self.figures]
            path.write_text(json.dumps(rows, indent=2) + "\n")
        else:
            path.write_text(self.markdown())


class Reporter:
    """What one test adds to the report, all of it about the same fault."""

    def __init__(self, report, fault):
        self._report = report
        self._fault = fault
        self.missed = []

    def note(self, what, value, unit=""):
        self._add(Figure(self._fault, what, value, unit))

    def at_most(self, what, value, goal, unit):
        self._add(Figure(self._fault, what, value, unit, goal))

    def at_least(self, what, value, goal, unit):
        self._add(Figure(self._fault, what, value, unit, goal, at_least=True))

    def outcomes(self, counts):
        """What `check` counted."""
        for outcome, count in counts.items():
            self.note(f"calls {outcome.value}", count)

    def _add(self, figure):
        self._report.figures.append(figure)
        if not figure.met:
            self.missed.append(figure)
