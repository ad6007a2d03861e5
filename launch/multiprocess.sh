#!/usr/bin/env bash
# Trains in n processes on this machine, one GPU each (or as many CPU devices as XLA_FLAGS says), and
# starts all of them again when one dies:
#   bash launch/multiprocess.sh [--dry-run] [--processes=2] [--restarts=10] <arguments of dlm_jax.train>
# Exit codes are those of dlm_jax.train. One process for all GPUs (launch/local.sh) is as fast; this
# is for machines where it is not, and to try what happens on many machines.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/common.sh
source launch/flags.sh
take_dry_run "$@" && shift
processes=2 restarts=10
while [[ "${1:-}" =~ ^--(processes|restarts)=([0-9]+)$ ]]; do
  declare "${BASH_REMATCH[1]}=${BASH_REMATCH[2]}"
  shift
done
readonly COMPLETE=0 MISTAKE=2 RESUMABLE=75
children=() stopping=""

start_all() {
  local port=$((20000 + RANDOM % 12000)) # below the ports that the kernel hands out
  children=()
  for ((i = 0; i < processes; i++)); do
    local command=(env "JAX_LOCAL_DEVICE_IDS=$i" "${train[@]}" "$@")
    command+=("--coordinator=localhost:$port" "--num_processes=$processes" "--process_id=$i")
    if [[ -n "$dry_run" ]]; then
      run "${command[@]}"
    else
      "${command[@]}" &
      children+=($!)
    fi
  done
}

signal_all() {
  kill "-$1" "${children[@]}" 2>/dev/null || true
}

# Sets `code` to the first exit code that is not 0, and ends the processes that are left: after a
# moment, in which they can end by themselves and say why.
wait_all() {
  code=0
  local ended one
  for ((ended = 0; ended < processes; ended++)); do
    one=0
    wait -n "${children[@]}" || one=$?
    # A signal to this script interrupts the wait: it was passed on, and the processes will end.
    while ((one > 128)) && [[ -n "$stopping" ]] && any_alive; do
      one=0
      wait -n "${children[@]}" || one=$?
    done
    if ((one != 0 && code == 0)); then
      code=$one
      ((one == RESUMABLE)) || {
        # Its output is closed: whoever reads that of this script does not wait for the sleep.
        (sleep 15 && signal_all KILL) >/dev/null 2>&1 &
        watchdog=$!
      }
    fi
  done
  [[ -z "${watchdog:-}" ]] || kill "$watchdog" 2>/dev/null || true
  watchdog=""
}

any_alive() {
  kill -0 "${children[@]}" 2>/dev/null
}

trap 'stopping=1; signal_all TERM' TERM INT
for ((attempt = 0; ; attempt++)); do
  start_all "$@"
  [[ -z "$dry_run" ]] || exit 0
  wait_all
  if ((code == COMPLETE || code == MISTAKE || code == RESUMABLE)) || [[ -n "$stopping" ]]; then
    exit "$code"
  fi
  if ((attempt >= restarts)); then
    echo "error: a process ended with exit code $code; $restarts restarts are used up." >&2
    exit "$code"
  fi
  echo "== a process ended with exit code $code: starting all $processes again" >&2
done
