#!/usr/bin/env bash
# Sourced by the launchers, from the root of the repository.

detect_platform() {
  if [[ -n "${DLM_JAX_PLATFORM:-}" ]]; then
    echo "$DLM_JAX_PLATFORM"
  elif command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU; then
    echo cuda
  elif compgen -G '/dev/accel*' >/dev/null || [[ -n "${TPU_NAME:-}" ]]; then
    echo tpu
  else
    echo cpu
  fi
}

# Every launcher has --dry-run, which prints what it would run and runs nothing.
dry_run=""

# Takes a leading --dry-run: `take_dry_run "$@" && shift`.
take_dry_run() {
  [[ "${1:-}" == --dry-run ]] && dry_run=1
}

# Runs a command, or prints it in a form that a shell reads back.
run() {
  if [[ -n "$dry_run" ]]; then
    printf '%q ' "$@" | sed 's/ $//'
    echo
  else
    "$@"
  fi
}

# The interpreter of the installation that launch/environment.sh makes, unless PYTHON names another.
# shellcheck disable=SC2034  # used where this is sourced
train=("${PYTHON:-.venv/bin/python}" -m dlm_jax.train)
