#!/usr/bin/env bash
# Flags of XLA and libtpu for what the machine has, each with its reason. Sourced by the launchers;
# `bash launch/flags.sh --dry-run` prints what would be exported. What is already set comes last and
# so wins; DLM_JAX_PLATFORM=cpu|cuda|tpu overrides the guess.

cuda_flags=(
  # Collectives of fsdp run beside the matrix products of the layer before, not after them.
  --xla_gpu_enable_latency_hiding_scheduler=true
  # The gradients of several layers in one reduction: fewer and larger messages. Bytes.
  --xla_gpu_all_reduce_combine_threshold_bytes=134217728
  --xla_gpu_all_gather_combine_threshold_bytes=134217728
  --xla_gpu_reduce_scatter_combine_threshold_bytes=67108864
)
tpu_flags=(
  # Gathers of parameters (fsdp) run while the layer before computes.
  --xla_enable_async_all_gather=true
  --xla_tpu_enable_async_collective_fusion=true
  --xla_tpu_enable_async_collective_fusion_fuse_all_gather=true
  # One gather may hide behind several products where a single one is too short.
  --xla_tpu_enable_async_collective_fusion_multiple_steps=true
  # The core that computes may also drive a collective.
  --xla_tpu_overlap_compute_collective_tc=true
)

export_flags() {
  case "$1" in
    cuda) export XLA_FLAGS="${cuda_flags[*]} ${XLA_FLAGS:-}" ;;
    tpu) export LIBTPU_INIT_ARGS="${tpu_flags[*]} ${LIBTPU_INIT_ARGS:-}" ;;
    *) ;; # on CPUs the defaults are right
  esac
}

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
  set -euo pipefail
  cd "$(dirname "$0")/.."
  source launch/common.sh
  take_dry_run "$@" || {
    echo "error: source this file, or ask it with --dry-run what it exports." >&2
    exit 2
  }
  export_flags "$(detect_platform)"
  for name in XLA_FLAGS LIBTPU_INIT_ARGS; do
    [[ -z "${!name:-}" ]] || echo "export $name=${!name@Q}"
  done
else
  export_flags "$(detect_platform)"
fi
