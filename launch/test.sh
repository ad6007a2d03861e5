#!/usr/bin/env bash
# Installs what the tests need into .venv and runs them: `bash launch/test.sh [pytest arguments]`.
set -euo pipefail
cd "$(dirname "$0")/.."
EXTRAS="test"
source launch/environment.sh
.venv/bin/ruff check .
.venv/bin/ruff format --check .
exec .venv/bin/python -m pytest --numprocesses 2 --dist worksteal "$@"
