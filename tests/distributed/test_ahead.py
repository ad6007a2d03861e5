"""Devices by name."""

import jax
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.distributed import ahead
from dlm_jax.distributed.platform import compiling_for, platform


def test_the_devices_here_and_some_of_them():
  here = ahead.find("here")
  assert (here.platform, here.devices, here.memory_gib) == ("cpu", tuple(jax.devices()), None)
  assert ahead.find("cpu:2").devices == tuple(jax.devices()[:2])


@pytest.mark.parametrize(
  ("chips", "axes", "shape"),
  [
    (1, 2, (1, 1)),
    (4, 2, (2, 2)),
    (8, 2, (2, 4)),
    (128, 2, (8, 16)),
    (256, 2, (16, 16)),
    (4, 3, (2, 2, 1)),
    (8, 3, (2, 2, 2)),
    (128, 3, (4, 4, 8)),
  ],
)
def test_chips_lie_in_an_even_box(chips, axes, shape):
  assert ahead.shape_of(chips, axes) == shape


@pytest.mark.parametrize("name", ["v5e", "v5e-0", "v5e-2", "v5e-24", "v9-4", "cpu:0", "gpu:8", ""])
def test_other_names_are_refused(name):
  with pytest.raises(UserError, match="there is no topology"):
    ahead.find(name)


def test_more_cpus_than_there_are():
  with pytest.raises(UserError, match="8 CPU devices, too few for cpu:9"):
    ahead.find("cpu:9")


def test_compiling_for_another_platform():
  assert platform() == "cpu"
  with compiling_for("tpu"):
    assert platform() == "tpu"
  assert platform() == "cpu"
