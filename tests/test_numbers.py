"""Ranges of settings: which numbers are the last ones that are allowed, and the first ones that are not."""

import math

import pytest

from pruneflow.errors import ConfigError
from pruneflow.models.base import dense_parameters, require_dropout, require_size, require_sizes
from pruneflow.options import (
    ABOVE_0,
    BELOW_1,
    BETWEEN_0_AND_1,
    FINITE_ABOVE_0,
    FROM_0_TO_1,
    require_number,
    whole_from,
)

NEAR = 1e-9
RANGES = {
    "above 0": (ABOVE_0, (NEAR, math.inf), (0, -NEAR, math.nan)),
    "finite above 0": (FINITE_ABOVE_0, (NEAR, 1e30), (0, -NEAR, math.inf, math.nan)),
    "0 to 1": (FROM_0_TO_1, (0, 1), (-NEAR, 1 + NEAR, math.nan)),
    "between 0 and 1": (BETWEEN_0_AND_1, (NEAR, 1 - NEAR), (0, 1)),
    "below 1": (BELOW_1, (0, 1 - NEAR), (-NEAR, 1)),
    "whole from 2": (whole_from(2), (2, 2**31), (1,)),
    "whole from 2 to 5": (whole_from(2, 5), (2, 5), (1, 6)),
    "or null": (whole_from(1).said("{}, or null"), (None, 1), (0,)),
    "without null": (whole_from(1), (1,), (None,)),
}


@pytest.mark.parametrize("name", RANGES)
def test_a_range_holds_its_ends_and_nothing_beyond_them(name):
    allowed, inside, outside = RANGES[name]
    for value in inside:
        require_number("a.key", value, allowed, "Mend it.")
    for value in outside:
        with pytest.raises(ConfigError) as refused:
            require_number("a.key", value, allowed, "Mend it.")
        assert str(refused.value).startswith("a.key=") and allowed.words in str(refused.value)


def test_a_layer_has_one_unit_or_more_and_a_list_of_them_its_least_length():
    require_size("units", 1)
    require_sizes("filters", [1], least=1)
    require_sizes("hidden_units", [], least=0)
    with pytest.raises(ConfigError, match=r"model\.units=0: allowed are whole numbers from 1"):
        require_size("units", 0)
    for values in ([], [1, 0]):
        with pytest.raises(ConfigError, match="allowed is a list of one or more whole numbers from 1"):
            require_sizes("filters", values, least=1)


def test_dropout_leaves_something_and_a_layer_has_a_bias_for_each_output():
    require_dropout(0.0)
    with pytest.raises(ConfigError, match=r"model\.dropout=1\.0"):
        require_dropout(1.0)
    assert dense_parameters([3, 2, 1]) == (3 + 1) * 2 + (2 + 1) * 1
