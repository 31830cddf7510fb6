"""What a cell keeps of what is made of it."""

from dataclasses import replace

import numpy as np

from .made import make_cell


def test_what_is_made_of_a_cell_is_made_once_and_not_handed_to_a_changed_one():
    cell, made = make_cell([0.3, 0.1], [1, 0]), []

    def order(one):
        made.append(one)
        return np.argsort(one.probabilities).tolist()

    assert cell.once("order", order) == cell.once("order", order) == [1, 0]
    assert len(made) == 1
    assert replace(cell, probabilities=np.array([0.1, 0.3])).once("order", order) == [0, 1]
    cell.forget()
    cell.once("order", order)
    assert len(made) == 3
