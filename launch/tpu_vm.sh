#!/usr/bin/env bash
# Trains on Cloud TPU VMs through queued resources: asks for a slice, installs on all of its workers,
# trains, and when the slice is preempted deletes it, asks for another and resumes. Deletes the slice
# at the end, whatever the end is.
#   NAME=run1 ZONE=us-west4-a TYPE=v5litepod-16 REPOSITORY=https://... \
#     bash launch/tpu_vm.sh [--dry-run] --config=configs/openwebtext.py:mdlm --workdir=gs://...
#   NAME=run1 ZONE=us-west4-a bash launch/tpu_vm.sh [--dry-run] --delete
# The workdir must outlive the slice: a bucket, or a disk that all workers mount (see SETUP).
# Optional: PROJECT, SPOT=0 for a slice that is not preempted, REVISION=main, RUNTIME, RESTARTS=100,
# SETUP, a command that each worker runs before training.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/common.sh
take_dry_run "$@" && shift
: "${NAME:?name the slice}" "${ZONE:?name the zone of the slice}"
project=(${PROJECT:+"--project=$PROJECT"})
readonly COMPLETE=0 MISTAKE=2
# Ends of training on a slice that is still there: what fails three times will fail again.
readonly FAILURES=3
readonly POLL=${POLL:-30} # seconds between two looks at the state of the slice

gcloud_tpu() {
  run gcloud compute tpus "$@" "--zone=$ZONE" "${project[@]}"
}

delete() {
  echo "== deleting the slice $NAME" >&2
  gcloud_tpu queued-resources delete "$NAME" --force --quiet
}

if [[ "${1:-}" == --delete ]]; then
  delete
  exit
fi
: "${TYPE:?name the type of accelerator, as v5litepod-16}"
: "${REPOSITORY:?name the git repository that the workers clone}"

default_runtime() {
  case "$TYPE" in
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *) echo tpu-ubuntu2204-base ;;
  esac
}

state() {
  gcloud compute tpus queued-resources describe "$NAME" "--zone=$ZONE" "${project[@]}" \
    --format='value(state.state)' 2>/dev/null || echo ABSENT
}

create() {
  local spot=()
  [[ "${SPOT:-1}" == 0 ]] || spot=(--spot)
  echo "== asking for the slice $NAME ($TYPE)" >&2
  gcloud_tpu queued-resources create "$NAME" "--node-id=$NAME" "--accelerator-type=$TYPE" \
    "--runtime-version=${RUNTIME:-$(default_runtime)}" "${spot[@]}"
}

# Returns when the slice is there; one that was preempted or failed is deleted first.
ensure_active() {
  [[ -z "$dry_run" ]] || {
    create
    return
  }
  local now
  while now=$(state) && [[ "$now" != ACTIVE ]]; do
    case "$now" in
      ABSENT) create ;;
      SUSPENDED | FAILED) delete ;;
      *) echo "== the slice is $now" >&2 ;;
    esac
    sleep "$POLL"
  done
}

on_all_workers() {
  gcloud_tpu tpu-vm ssh "$NAME" --worker=all "--command=$1"
}

install() {
  local clone revision
  printf -v clone '%q' "$REPOSITORY"
  printf -v revision '%q' "${REVISION:-main}"
  on_all_workers "test -d dlm_jax || git clone $clone dlm_jax; cd dlm_jax && git fetch --all && \
git checkout $revision && EXTRAS=gcs DLM_JAX_PLATFORM=tpu bash -c 'set -e; source launch/environment.sh'"
}

train() {
  local arguments
  printf -v arguments '%q ' "$@"
  on_all_workers "cd dlm_jax && ${SETUP:-true} && bash launch/local.sh ${arguments% }"
}

# A slice costs until it is deleted: also when this script is interrupted.
trap delete EXIT
trap 'exit 130' INT TERM
failures=0
for ((attempt = 0; attempt <= ${RESTARTS:-100}; attempt++)); do
  code=0
  ensure_active
  install && train "$@" || code=$?
  if [[ -n "$dry_run" ]] || ((code == COMPLETE || code == MISTAKE)); then
    exit "$code"
  fi
  now=$(state)
  [[ "$now" != ACTIVE ]] || failures=$((failures + 1))
  ((failures < FAILURES)) || break
  echo "== training ended with exit code $code, the slice is $now: going on" >&2
done
echo "error: training ended with exit code $code; preemptions apart, $failures times." >&2
exit "$code"
