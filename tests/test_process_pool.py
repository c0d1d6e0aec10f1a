"""Functions of parts in several processes."""

import os

import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.process_pool import map_parts


def test_results_of_processes_are_in_the_order_of_the_parts():
    assert list(map_parts(abs, [-3, 2, -1], workers=2)) == [3, 2, 1]


def test_a_process_that_ends_early_is_an_error_with_a_remedy():
    with pytest.raises(LgadError, match="A worker process ended early; free memory or use one process"):
        list(map_parts(os._exit, [7], workers=2))
