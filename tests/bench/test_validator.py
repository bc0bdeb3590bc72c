"""What validation costs: the Google Benchmark's own figures, held to what the project promises."""

import json
import os
import pathlib
import subprocess

BUILD = pathlib.Path(os.environ["ENERGY_SITES_BUILD_DIR"])


def test_a_live_data_entry_is_validated_in_under_a_microsecond_without_an_allocation():
    # The program itself fails when a valid message makes it allocate memory.
    run = subprocess.run(
        [BUILD / "tests" / "validator_benchmark", "--benchmark_format=json",
         "--benchmark_repetitions=5", "--benchmark_filter=LiveDataEntry"],
        check=True, capture_output=True, text=True)
    medians = {benchmark["name"]: benchmark["cpu_time"]
               for benchmark in json.loads(run.stdout)["benchmarks"]
               if benchmark.get("aggregate_name") == "median"}
    print(json.dumps(medians, indent=2))
    assert medians, "the benchmark measured nothing"
    assert all(nanoseconds < 1000 for nanoseconds in medians.values()), medians
