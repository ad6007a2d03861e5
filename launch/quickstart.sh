#!/usr/bin/env bash
# From a fresh clone to generated text: installs, prepares the embedded corpus, trains, evaluates and
# samples. Run again, it reuses what is there.
set -euo pipefail
cd "$(dirname "$0")/.."
config=configs/stdlib_docs.py
workdir=${1:-runs/quickstart}
source launch/environment.sh
# Large pages for what a step allocates: a fifth of the time of a step where glibc serves it.
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}

run() {
  echo "== python -m $*"
  .venv/bin/python -m "$@"
}

run dlm_jax.prepare --config="$config"
run dlm_jax.train --config="$config" --workdir="$workdir"
run dlm_jax.evaluate --workdir="$workdir" --split=test
run dlm_jax.sample --workdir="$workdir" --num=4 --trajectory
cat <<END
== done
workdir     $workdir
loss curve  $workdir/loss_curve.png
metrics     $workdir/metrics.jsonl
evaluation  $workdir/evaluations/
END
