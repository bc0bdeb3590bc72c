# Shared functions of the scripts in deploy/ and tests/. To be sourced by bash.
# shellcheck shell=bash disable=SC2034  # scripts that source this file use the variables

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
DEPS="$ROOT/.deps"
PG_BIN=/usr/lib/postgresql/15/bin

# The folder for the data, logs and secrets of this clone. For root it is outside the clone, because
# PostgreSQL then runs as `postgres`, which has no access to /root or to a `mktemp -d`. The name has
# a hash of the clone's path, so each clone has its own folder.
state_dir() {
  if [[ $EUID -eq 0 ]]; then
    local name
    name="$(basename "$ROOT")"
    echo "/var/lib/energy-sites/${name:0:20}-$(printf %s "$ROOT" | sha256sum | cut -c1-8)"
  else
    echo "$ROOT/.data"
  fi
}

say() { printf '%s\n' "$*"; }

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# step TITLE LOG COMMAND...: runs COMMAND with its output in LOG and shows its progress. If COMMAND
# fails, prints the last lines of LOG and exits. If $lock is set, it is the descriptor of a lock; it
# is closed for COMMAND, because background processes would otherwise keep the lock.
step() {
  local title="$1" log="$2" start=$SECONDS ticker status=0
  shift 2
  mkdir -p "$(dirname "$log")"
  : >"$log"
  _tick "$title" "$log" &
  ticker=$!
  # Not `|| status=$?`: bash ignores -e in every command before `||`.
  set +e
  (
    set -e
    [[ -z ${lock:-} ]] || exec {lock}>&-
    "$@"
  ) >>"$log" 2>&1 </dev/null
  status=$?
  set -e
  kill "$ticker" 2>/dev/null || true
  wait "$ticker" 2>/dev/null || true
  [[ -t 1 ]] && printf '\r\033[K'
  if [[ $status -ne 0 ]]; then
    say "[failed] $title, after $((SECONDS - start)) s. The last lines of $log:"
    tail -n 20 "$log" | sed 's/^/    /'
    exit 1
  fi
  say "[ok] $title ($((SECONDS - start)) s)"
}

# Shows TITLE and the last line of LOG: on a terminal in place every second, otherwise every 20 s.
_tick() {
  local title="$1" log="$2" start=$SECONDS period=20 line silence
  [[ -t 1 ]] && period=1
  # Waits with a read that times out. A `sleep` process would outlive the ticker.
  exec {silence}<> <(:)
  until read -r -t "$period" -u "$silence"; do
    kill -0 $$ 2>/dev/null || return
    line="$(tail -c 300 "$log" | tr '\r' '\n' | tail -n 1 | tr -cd '[:print:]' | cut -c1-70)"
    if [[ -t 1 ]]; then
      printf '\r\033[K[%3d s] %s: %s' $((SECONDS - start)) "$title" "$line"
    else
      say "[$((SECONDS - start)) s] $title: $line"
    fi
  done
}

# wait_until SECONDS WHAT COMMAND...: repeats COMMAND until it succeeds. After SECONDS, prints an
# error with WHAT and fails.
wait_until() {
  local limit=$((SECONDS + $1)) what="$2"
  shift 2
  until "$@"; do
    if ((SECONDS >= limit)); then
      say "timeout: waited for $what" >&2
      return 1
    fi
    sleep 0.05
  done
}

port_is_taken() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# process_start PID: prints the start time of the process in clock ticks. Pid and start time
# together identify a process; a pid alone may be reused.
process_start() {
  local stat
  stat="$(cat "/proc/$1/stat" 2>/dev/null)" || return 1
  # The second field, the program name, may contain spaces: count the fields after it.
  # shellcheck disable=SC2086
  set -- ${stat##*) }
  # A zombie ('Z') has ended.
  [[ $1 != Z ]] && echo "${20}"
}

# record_process FILE PID, process_runs FILE, stop_process FILE SECONDS: record, check and stop a
# process. Only the recorded process is stopped. It is killed if it still runs after SECONDS.
record_process() { echo "$2 $(process_start "$2")" >"$1"; }

process_runs() {
  local pid start
  [[ -f $1 ]] && read -r pid start <"$1" && [[ -n $start && $(process_start "$pid") == "$start" ]]
}

_process_ended() { ! process_runs "$1"; }

stop_process() {
  local file="$1" limit="$2" pid
  if process_runs "$file"; then
    read -r pid _ <"$file"
    kill -TERM "$pid"
    if ! wait_until "$limit" "process $pid to end after SIGTERM" _process_ended "$file"; then
      kill -KILL "$pid"
      wait_until 10 "process $pid to end after SIGKILL" _process_ended "$file"
    fi
  fi
  rm -f "$file"
}
