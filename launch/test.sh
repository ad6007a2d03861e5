#!/usr/bin/env bash
# Installs what the tests need into .venv and checks the project: `bash launch/test.sh --help`.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
bash launch/test.sh [--fast | --style] [pytest arguments]

Checks the style (ruff), the types (mypy) and the house rules, then runs the tests in two processes.

  --fast   leave out the proofs, which compile for minutes (tests/conftest.py lists their folders),
           and the tests that start other processes (launchers, clusters, kills): for use while
           working, together with the test file of what is worked on
  --style  ruff, mypy and the house rules alone: what pre-commit runs

Without an option everything runs, as in continuous integration. What the tests compile is kept in
~/.cache/dlm_jax/tests, so that the next run, of another clone too, takes a third of the time.
TEXT
}

tests=all
case "${1:-}" in
  -h | --help) usage && exit 0 ;;
  --fast) tests=fast && shift ;;
  --style) tests=style && shift ;;
esac

EXTRAS="test"
source launch/environment.sh
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
case "$tests" in
  style) exec .venv/bin/python -m pytest -q tests/contract/test_house.py tests/contract/test_imports.py "$@" ;;
  fast) set -- -m "not slow and not processes" "$@" ;;
esac
exec .venv/bin/python -m pytest --numprocesses 2 --dist worksteal "$@"
