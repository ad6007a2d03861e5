#!/usr/bin/env bash
# Trains in one process on all devices of this machine:
#   bash launch/local.sh [--dry-run] --config=configs/text8.py:mdlm --workdir=runs/text8
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/common.sh
source launch/flags.sh
take_dry_run "$@" && shift

# exec: a signal to this script is one to the run.
[[ -n "$dry_run" ]] || exec "${train[@]}" "$@"
run "${train[@]}" "$@"
