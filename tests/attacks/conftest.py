"""Prints what each attack did, at the end."""

import pytest

FIGURES = pytest.StashKey()


def pytest_configure(config):
    config.stash[FIGURES] = []


@pytest.fixture
def report(request):
    """`report(text)` adds a line to the table of figures."""
    return request.config.stash[FIGURES].append


def pytest_terminal_summary(terminalreporter):
    for line in terminalreporter.config.stash[FIGURES]:
        terminalreporter.write_line(line)
