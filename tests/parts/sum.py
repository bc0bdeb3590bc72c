"""Sums up what the parts left behind: tests/parts/sum.py FOLDER PART...

Prints a line a part and the closing one; exits with 1 unless everything passed.
"""

import pathlib
import sys
import xml.etree.ElementTree as xml


def count(folder):
    """The passed and the failed tests of the JUnit files in `folder`, pytest's and GoogleTest's."""
    passed = failed = 0
    for file in folder.glob("*.xml"):
        for case in xml.parse(file).iter("testcase"):
            outcomes = {child.tag for child in case}
            if outcomes & {"failure", "error"}:
                failed += 1
            elif "skipped" not in outcomes and case.get("status") != "notrun":
                passed += 1
    return passed, failed


def judge(folder):
    """Like `count`; what no test says, a failed build or an empty run, is a failure more."""
    try:
        passed, failed = count(folder)
    except xml.ParseError as error:
        return 0, 1, f"a result cannot be read: {error}"
    status = int((folder / "status").read_text())
    if status != 0 and failed == 0:
        return passed, 1, f"ended with {status}"
    if passed + failed == 0:
        return 0, 1, "ran no test"
    return passed, failed, ""


def main():
    results, parts = pathlib.Path(sys.argv[1]), sys.argv[2:]
    totals = [0, 0]
    print()
    for part in parts:
        passed, failed, note = judge(results / part)
        totals[0] += passed
        totals[1] += failed
        print(f"{part}: {passed} passed / {failed} failed" + (f" ({note})" if note else ""))
    print(f"{totals[0]} passed, {totals[1]} failed")
    return 1 if totals[1] else 0


if __name__ == "__main__":
    sys.exit(main())
