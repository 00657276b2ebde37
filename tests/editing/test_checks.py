"""Which schedules are taken, and what is said of others."""

import pytest
import torch

from videograin.editing.checks import SigmaError, check_sigmas


@pytest.mark.parametrize(
    ("sigmas", "says"),
    [
        ([9, 5, 5, 3, 3, 0], "sigma 1 is 5 and sigma 2 is 5"),  # the first of two
        ([9, 9, 5, 6, 0], "sigma 0 is 9 and sigma 1 is 9"),
        ([9, 5, 3, 4], "sigma 2 is 3 and sigma 3 is 4"),
        ([0, 3, 9], "got an ascending one"),
        ([9, float("nan"), 0], "expected finite values >= 0"),
        ([9, 3, -1], "expected finite values >= 0"),
    ],
)
def test_a_schedule_that_does_not_fall_is_refused_where_it_first_does_not(sigmas, says):
    with pytest.raises(SigmaError, match=says):
        check_sigmas(torch.tensor(sigmas, dtype=torch.float32))


def test_a_falling_schedule_is_taken_in_float32():
    found = check_sigmas(torch.tensor([9.0, 3.0, 0.0], dtype=torch.float64))
    assert found.dtype == torch.float32
    assert found.tolist() == [9, 3, 0]
