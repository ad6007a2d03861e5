import numpy as np
import pytest

from dlm_jax.core.errors import UserError
from dlm_jax.samplers import grids


@pytest.mark.parametrize("grid", grids.GRIDS)
@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_from_exactly_one_down_to_exactly_zero(grid, steps):
  t = np.asarray(grids.times(grid, steps))
  assert t.shape == (steps + 1,) and t[0] == 1 and t[-1] == 0
  assert np.all(np.diff(t) < 0)


def test_by_hand():
  np.testing.assert_allclose(grids.times("uniform", 4), [1, 0.75, 0.5, 0.25, 0])
  np.testing.assert_allclose(grids.times("cosine", 3), [1, 3**0.5 / 2, 0.5, 0], atol=1e-6)


def test_an_unknown_grid_names_the_known():
  with pytest.raises(UserError, match=r"'cosin': did you mean 'cosine'\? .*uniform, cosine"):
    grids.times("cosin", 4)
