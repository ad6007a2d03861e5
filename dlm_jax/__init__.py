"""Diffusion language models in JAX and Flax."""
