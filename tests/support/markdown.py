"""Reads the Markdown pages: their shown commands, their tables, their links and headings."""

import json
import re
import subprocess
from dataclasses import dataclass

from support.process import ROOT


def pages():
    """The paths of all Markdown files of the project, relative to its root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    return [page for page in listed if (ROOT / page).exists()]


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def prose(text):
    """`text` without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def links(text):
    """The targets of the links to other pages and headings of the project."""
    found = re.findall(r"\]\(([^)]+)\)", prose(text))
    return [target for target in found if "://" not in target]


def anchors(text):
    """The anchors of the headings, as GitHub names them."""
    found, counts = set(), {}
    for heading in re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        count = counts[name] = counts.get(name, -1) + 1
        found.add(f"{name}-{count}" if count else name)
    return found


@dataclass
class Example:
    """A command as shown, and the output shown below it."""

    line: int
    command: str
    shown: str


def examples(text):
    """The commands in the ```console blocks, in order. A command continues while a quote is open or
    its line ends with a backslash."""
    found = []
    for block in re.finditer(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        first = text.count("\n", 0, block.start()) + 2
        open_command = False
        for number, line in enumerate(block[1].splitlines(), first):
            if line.startswith("$ "):
                found.append(Example(number, line[2:], ""))
            elif open_command:
                found[-1].command += "\n" + line
            else:
                found[-1].shown += line + "\n"
                continue
            command = found[-1].command
            open_command = command.endswith("\\") or command.count("'") % 2 == 1
    return found


def table(text, header):
    """The rows below the row `header`, each as a list of stripped cells."""
    lines = iter(text.splitlines())
    if header not in lines:  # Continues after it.
        raise AssertionError(f"the page has no table {header}")
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def codes(cell):
    """The texts between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def normal(output):
    """`output` without values that differ between runs, and JSON without its layout.

    Removes creation times, speeds, ids of live data and tokens, and sorts the details of an error,
    whose order is not defined.
    """
    output = re.sub(r'("(?:create|update)_time": ?")[^"]+', r"\1...", output.strip())
    output = re.sub(r'("id": ?)"\d{15,19}"', r'\1"..."', output)
    output = re.sub(r'("(?:next_page|resume)_token": ?)"[^"]+"', r'\1"..."', output)
    output = re.sub(r"\([\d.]+ s, [\d,]+ rows/s\)", "(...)", output)
    if output.startswith("ERROR:"):
        head, *details = re.split(r"^\s+\d+\)\t", output, flags=re.MULTILINE)
        return [head.strip(), sorted(json.dumps(json.loads(one), sort_keys=True) for one in details)]
    try:
        return _sorted_details(json.loads(output))
    except json.JSONDecodeError:
        return output.splitlines()


def _sorted_details(value):
    if isinstance(value, list):
        return [_sorted_details(one) for one in value]
    if not isinstance(value, dict):
        return value
    value = {key: _sorted_details(one) for key, one in value.items()}
    if isinstance(value.get("details"), list):
        value["details"].sort(key=lambda one: json.dumps(one, sort_keys=True))
    return value
