"""Colours and marks of regimes as colour-blind readers see them, and in grey.

Dichromats are simulated by the matrices of Machado, Oliveira and Fernandes 2009 (doi:10.1109/TVCG.2009.113) at full
severity, in linear light; differences are those of CIE 1976 L*a*b*, of which about 2.3 is just noticeable.
"""

import itertools

import numpy as np
import pytest

from cxrobust.reports.figures.style import DARK, INK, marks

from .made import REGIMES

SEEN = {
    "full colour": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
    "grey": np.tile([0.2126, 0.7152, 0.0722], (3, 1)),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
CLEAR, FEW = 10.0, 6


def linear(colour):
    value = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(light):
    ratio = XYZ @ np.clip(light, 0, 1) / XYZ.sum(axis=1)
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart(one, other, how):
    return float(np.linalg.norm(lab(SEEN[how] @ linear(one)) - lab(SEEN[how] @ linear(other))))


def contrast(one, other):
    """WCAG's ratio of luminances."""
    light = sorted((float(SEEN["grey"][0] @ linear(colour)) + 0.05 for colour in (one, other)), reverse=True)
    return light[0] / light[1]


DRAWN = list(marks(REGIMES, reference=REGIMES[0]).values())


def test_the_measure_of_differences_is_that_of_known_colours():
    assert lab(linear("#FFFFFF")) == pytest.approx([100, 0, 0], abs=0.02)
    assert lab(linear("#FF0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    assert apart("#FF0000", "#00FF00", "deuteranopia") < apart("#FF0000", "#00FF00", "full colour") / 2


def test_no_two_regimes_of_twelve_have_the_same_mark_and_further_ones_other_dashes():
    assert len(DRAWN) == 12
    assert len({mark.marker for mark in DRAWN}) == 12
    more = marks([f"r{k}" for k in range(36)], reference="r0").values()
    assert len({(mark.colour, mark.marker, mark.dashes) for mark in more}) == 36


@pytest.mark.parametrize("how", SEEN)
def test_colours_of_a_usual_study_differ_clearly_or_their_marks_do(how):
    """Up to six regimes are told apart by colour by anyone who sees some; in grey the reference is, and marks tell the rest."""
    pairs = list(itertools.combinations(DRAWN[:FEW], 2))
    for one, other in pairs if how != "grey" else pairs[: FEW - 1]:
        assert apart(one.colour, other.colour, how) > CLEAR, (one, other)
    for one, other in itertools.combinations(DRAWN, 2):
        assert apart(one.colour, other.colour, how) > CLEAR or one.marker != other.marker


@pytest.mark.parametrize("how", sorted(SEEN.keys() - {"grey"}))
def test_names_of_a_usual_study_are_told_apart_by_their_colours(how):
    for one, other in itertools.combinations(DRAWN[:FEW], 2):
        assert apart(one.ink, other.ink, how) > CLEAR, (one, other)


@pytest.mark.parametrize("mark", DRAWN, ids=lambda mark: mark.colour)
def test_text_in_a_regimes_colour_is_easy_to_read_on_white_and_on_the_dark_page(mark):
    assert contrast(mark.ink, "#FFFFFF") > 4.5
    assert contrast(DARK[mark.ink], DARK["#FFFFFF"]) > 4.5
    assert contrast(INK, "#FFFFFF") > 7
