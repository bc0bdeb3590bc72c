# What the parts share. Sourced by bash; a part is called as tests/parts/NAME RESULTS.
# shellcheck shell=bash disable=SC2034,SC2317
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../../deploy/lib.sh"

RESULTS="${1:?usage: tests/run PART}"
PYTHON="$DEPS/venv/bin/python"
cd "$ROOT"

# build PRESET [TARGET...]: all targets where none is named.
build() {
  local preset="$1"
  shift
  (($# == 0)) || set -- --target "$@"
  step "Build $preset" "build/$preset.log" _build "$preset" "$@"
}

# One at a time in one folder.
_build() {
  local preset="$1"
  shift
  mkdir -p "build/$preset"
  exec {lock}>"build/$preset/.lock"
  flock "$lock"
  [[ -f build/$preset/build.ninja ]] || cmake --preset "$preset"
  cmake --build "build/$preset" "$@"
}

# run_gtest PRESET ARGUMENT...: runs the GoogleTest binaries that ctest finds with ARGUMENT. Each
# leaves the counts of its cases.
run_gtest() {
  local preset="$1"
  shift
  GTEST_OUTPUT="xml:$RESULTS/" ctest --test-dir "build/$preset" --output-on-failure --parallel 4 \
    --no-tests=error "$@"
}

# Several tests at a time: most of their time they wait for the programs that they start.
SIDE_BY_SIDE=(-n 3 --dist worksteal)

# run_pytest PRESET PATH...: pytest on what PRESET built.
run_pytest() {
  local preset="$1"
  shift
  ENERGY_SITES_BUILD_DIR="$ROOT/build/$preset" "$PYTHON" -m pytest -q --tb=short \
    -p no:cacheprovider --junitxml="$RESULTS/pytest.xml" "$@"
}

# check NAME COMMAND...: COMMAND as one test of a JUnit file; its output is shown if it fails.
check() {
  local name="$1" log="$RESULTS/$1.log" outcome=""
  shift
  if "$@" >"$log" 2>&1; then
    say "[ok] $name"
  else
    say "[failed] $name"
    cat "$log"
    outcome="<failure/>"
  fi
  echo "<testsuite><testcase name=\"$name\">$outcome</testcase></testsuite>" >"$RESULTS/$name.xml"
}
