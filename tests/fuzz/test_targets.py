"""Runs each libFuzzer target on its seeds and what it makes of them.

The short form runs a fixed number of inputs, the same ones each time. FUZZ_SECONDS=3600 lets each
target run for an hour, from another start, and keeps what it finds in build/fuzz/corpus.
"""

import os
import shutil
import subprocess

import pytest
import seeds
from support.process import ROOT

BUILD = ROOT / "build" / "fuzz"
SECONDS = os.environ.get("FUZZ_SECONDS")

# By target: its seeds, and how many inputs the short form runs.
TARGETS = {
    "request_fuzzer": (seeds.of_requests, 20_000),
    "update_mask_fuzzer": (seeds.of_update_masks, 20_000),
    "page_token_fuzzer": (seeds.of_page_tokens, 10_000),
    "csv_fuzzer": (seeds.of_csv, 4_000),
}


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_breaks_a_promise(target, tmp_path):
    make_seeds, runs = TARGETS[target]
    folder = tmp_path / "seeds"
    folder.mkdir()
    for number, data in enumerate(make_seeds()):
        (folder / str(number)).write_bytes(data)
    corpus = BUILD / "corpus" / target if SECONDS else tmp_path / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    amount = [f"-max_total_time={SECONDS}"] if SECONDS else [f"-runs={runs}", "-seed=1"]
    result = subprocess.run(
        [BUILD / "tests/fuzz" / target, *amount, "-timeout=10", "-rss_limit_mb=1024",
         "-print_final_stats=1", f"-artifact_prefix={tmp_path}/", corpus, folder],
        env={**os.environ, "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"},
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if result.returncode != 0:
        (found,) = [path for path in tmp_path.iterdir() if path.is_file()]
        kept = BUILD / found.name
        shutil.copy(found, kept)
        pytest.fail(f"{result.stderr[-6000:]}\nThe input is {kept}", pytrace=False)
