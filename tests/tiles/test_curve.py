"""The order of transcripts: a function of the place alone, in which neighbours stand near each other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tissuegraph.tiles.curve import SQUARE, curve

places = st.lists(
    st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1)), min_size=1, max_size=20
)


@given(places)
def test_bits_of_column_and_row_alternate(squares):
    def by_text(column: int, row: int) -> int:
        bits = zip(f"{row + 2**31:032b}", f"{column + 2**31:032b}", strict=True)
        return int("".join(r + c for r, c in bits), 2)

    x, y = (np.array(part, float) * SQUARE for part in zip(*squares, strict=True))
    assert curve(x, y).tolist() == [by_text(*square) for square in squares]


def test_positions_beyond_all_squares_stay_at_the_rim():
    assert curve([-1e300, 1e300], [0.0, 0.0]).tolist() == curve([-(2.0**32), 2.0**32 - 1], [0, 0]).tolist()


def test_neighbours_stand_near_each_other():
    positions = np.random.default_rng(0).uniform(-50, 50, (4000, 2))
    order = np.argsort(curve(*positions.T))
    apart = np.hypot(*np.diff(positions[order], axis=0).T)
    assert np.median(apart) < SQUARE
