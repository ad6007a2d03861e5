#!/usr/bin/env bash
# Sourced by the other scripts: makes .venv and installs dlm_jax with the extras named in EXTRAS,
# and JAX for what the machine has. Does nothing when that very installation is already there.
# PYTHON picks the interpreter (3.11 or newer); DLM_JAX_PLATFORM=cpu|cuda|tpu overrides the guess.

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "error: $("$python" --version) is too old: set PYTHON to Python 3.11 or newer." >&2
  exit 2
}

source launch/common.sh
platform=$(detect_platform)
extras=${EXTRAS:-}
[[ "$platform" == cpu ]] || extras="${extras:+$extras,}$platform"
target=".${extras:+[$extras]}"
stamp=$(cat requirements.txt pyproject.toml - <<<"$target" | sha256sum | cut -c1-16)

if [[ "$(cat .venv/installed 2>/dev/null)" == "$stamp" ]]; then
  echo "== .venv: reusing what is installed ($platform)"
else
  echo "== .venv: installing for $platform"
  [[ -x .venv/bin/python ]] || "$python" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable "$target"
  echo "$stamp" >.venv/installed
fi
