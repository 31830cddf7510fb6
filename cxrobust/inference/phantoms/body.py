"""The healthy chest as projected thickness of tissue and air: trunk, lungs, heart, diaphragm and vessels."""

from dataclasses import dataclass

import numpy as np

from cxrobust.inference.phantoms.geometry import (
    A_AXIS,
    T_AXIS,
    Array,
    Chest,
    F,
    ramp,
    ridge,
    spline,
    vault,
)
from cxrobust.inference.phantoms.textures import N_TREES, noise_tile, polar_index, vessel_trees

HILUM = ((0.075, 0.45), (0.085, 0.41))
"""Distance from the midline and `t` of the right and the left hilum."""
_BODY = (-0.35, -0.14, -0.07, 0.02, 0.16, 0.34, 0.48, 0.66, 1.0, 1.55)
_SILHOUETTE = (-0.35, -0.1, 0.05, 0.16, 0.25, 0.33, 0.41, 0.52, 0.63, 0.74, 0.84, 0.93, 1.05, 1.55)
_DEPTH = 0.74 * (0.56 + 0.44 * np.clip(T_AXIS / 0.4, 0, 1) * (2 - np.clip(T_AXIS / 0.4, 0, 1)))
_MEDIAL = 0.36 - 0.24 * np.sqrt(1 - (1 - np.clip(T_AXIS / 0.16, 0, 1)) ** 2)


@dataclass(kw_only=True, slots=True)
class Thorax:
    """Layers that findings change before they are put together; every array is (size, size)."""

    tissue: Array
    """Thickness of the body as if it held no air."""
    cavity: Array
    """Thickness of the thoracic cavity."""
    lung: Array
    """Share of the cavity that is lung, in [0, 1]."""
    density: Array
    """Share of tissue in the lung: parenchyma, vessels and what fills them."""
    dome: Array
    """Distance below the diaphragm, in image widths; negative above."""

    def thickness(self) -> Array:
        """Put the layers together: tissue less the air."""
        air = F(1) - self.density
        np.maximum(air, F(0), out=air)
        air *= self.lung
        air *= self.cavity
        thickness: Array = self.tissue - air
        return thickness


def build(chest: Chest, *, raised: tuple[float, float], shifted: float) -> Thorax:
    """Draw trunk, cavity and lungs.

    `raised` lifts the right and left dome (volume loss), `shifted` moves the mediastinum to the patient's left.
    """
    cavity = vault(chest.u * chest.u)
    cavity *= chest.along(_DEPTH)
    dome = _dome(chest, raised)
    return Thorax(
        tissue=_trunk(chest),
        cavity=cavity,
        lung=_lungs(chest, dome, shifted),
        density=_parenchyma(chest),
        dome=dome,
    )


def _trunk(chest: Chest) -> Array:
    patient = chest.visit.patient
    anatomy, stout = patient.anatomy, patient.habitus
    side = 1.28 * anatomy.chest_half_width + 0.03 * stout
    neck, slope = 0.115 + 0.012 * stout, anatomy.shoulder
    shoulder = 0.60 if chest.visit.view == "PA" else 0.66
    half = spline(
        _BODY,
        [neck, neck + 0.01, 0.2 + slope, 0.42 + slope, shoulder, shoulder + 0.02, 0.5 * (side + shoulder), side,
         side - 0.01, side + 0.03],
    )  # fmt: skip
    depth = spline(_BODY, [0.62, 0.6, 0.58, 0.56, 0.7, 0.88, 0.96, 1.0, 1.08, 1.12]) * (1 + 0.06 * stout)
    ratio = chest.a / chest.along(half)
    ratio *= ratio
    tissue = vault(ratio)
    tissue *= chest.along(depth)
    tissue *= F(1) + F(0.035) * _rolled(chest, 1.5, 7.0)
    return tissue


def _rolled(chest: Chest, low: float, high: float) -> Array:
    """Return noise of the patient's own: a tile moved by whole sixteenths, so that every size agrees."""
    down, across = (int(16 * turn) * chest.size // 16 for turn in chest.visit.patient.anatomy.vessel_turn)
    return np.roll(noise_tile(chest.size, low, high), (down, across), (0, 1))


def _dome(chest: Chest, raised: tuple[float, float]) -> Array:
    anatomy = chest.visit.patient.anatomy
    reach = A_AXIS / anatomy.chest_half_width
    lateral = ((reach - 0.45) / 0.55).clip(0, 1)
    medial = ((0.45 - reach) / 0.45).clip(0, 1)
    arch = (1 - lateral**2) ** 0.85 - 0.38 * medial**2
    rise = anatomy.dome_rise - 0.008 * chest.visit.pose.inspiration
    right = (rise + anatomy.dome_asymmetry + raised[0]) * arch
    left = (rise + raised[1]) * arch * (1 - 0.05 * np.cos(3 * reach))
    depth = chest.across(right, left)
    depth += (chest.t - F(1)) * F(chest.height)
    return depth


def _lungs(chest: Chest, dome: Array, shifted: float) -> Array:
    lung = ramp(chest.wall - chest.a, 0.006)
    lung *= ramp(chest.a - chest.along(chest.visit.patient.anatomy.chest_half_width * _MEDIAL), 0.012)
    lung *= ramp(chest.t, 0.012)
    lung *= F(1) - _mediastinum(chest, shifted)
    above = ramp(-dome, 0.007)
    sulcus = np.exp(np.minimum(dome * F(-18), F(0)))
    sulcus *= F(0.16)
    lung *= above + (F(1) - above) * sulcus
    return lung


def _mediastinum(chest: Chest, shifted: float) -> Array:
    """Share of the cavity's depth that heart and great vessels fill."""
    visit = chest.visit
    anatomy = visit.patient.anatomy
    offset = 0.007 * visit.pose.yaw + shifted
    wide = visit.cardiothoracic_ratio * (1.05 if visit.view == "AP" else 1.0) * (1 - 0.02 * visit.pose.inspiration)
    heart = 2 * anatomy.chest_half_width * wide
    left, right = heart * anatomy.heart_left_share, heart * (1 - anatomy.heart_left_share)
    m, knob = anatomy.mediastinum, anatomy.aortic_knob
    waist = 0.5 * (m + 0.45 * left)
    edge_right = spline(
        _SILHOUETTE,
        [0.06, 0.05, m, 0.92 * m, 0.86 * m, 0.85 * m, 0.84 * m, 0.5 * (0.8 * m + right), 0.90 * right, right,
         0.98 * right, 0.82 * right, 0.6 * right, 0.3 * right],
    )  # fmt: skip
    edge_left = spline(
        _SILHOUETTE,
        [0.06, 0.05, m, 0.5 * (m + knob), knob, 0.80 * knob, waist, 0.48 * left + 0.02, 0.70 * left, 0.89 * left, left,
         0.95 * left, 0.6 * left, 0.2 * left],
    )  # fmt: skip
    inside = chest.along(edge_right - offset, edge_left + offset)
    inside -= chest.a
    filled: Array = np.maximum(inside * F(1 / 0.13), F(0))
    np.minimum(filled, F(1), out=filled)
    np.sqrt(filled, out=filled)
    filled *= F(0.58)
    filled += F(0.42) * ramp(inside, 0.005)
    return filled


def _parenchyma(chest: Chest) -> Array:
    """Share of tissue in the healthy lung: fine texture and the vessels that branch from each hilum."""
    density = _rolled(chest, 12.0, 90.0)
    density *= F(0.018)
    density += F(0.10)
    rows = chest.rows(-0.05, 1.2)
    density[rows] += vessels(chest, rows)
    return density


def from_hilum(chest: Chest, rows: slice) -> tuple[Array, Array]:
    """Return the distances lateral of, and below, the hilum of the same side, in image widths."""
    (right_a, right_t), (left_a, left_t) = HILUM
    left = chest.left[rows].astype(F)
    out = chest.a[rows] - F(right_a)
    out -= left * F(left_a - right_a)
    fall = chest.t[rows] - F(right_t)
    fall -= left * F(left_t - right_t)
    fall *= F(chest.height)
    return out, fall


def vessels(chest: Chest, rows: slice) -> Array:
    """Vessels as a share of the lung's depth."""
    anatomy = chest.visit.patient.anatomy
    trees = vessel_trees(chest.size)
    out, fall = from_hilum(chest, rows)
    index = polar_index(out, fall)
    index += chest.left[rows] * np.int64(trees[0].size)
    first, second = anatomy.vessel_tree % N_TREES, (anatomy.vessel_tree // N_TREES) % N_TREES
    both = trees[[first, second]].reshape(-1)
    branching = both.take(index, mode="clip")
    branching *= F(0.19 * anatomy.vascularity)
    near = (out * F(1 / 0.020)) ** 2 + (fall * F(1 / 0.040)) ** 2
    branching += F(0.15 * anatomy.vascularity) * np.exp(near * F(-0.5))
    return branching


def trachea(chest: Chest, thickness: Array) -> None:
    """Take the air of trachea and main bronchi out, in place."""
    window = chest.rows(-0.35, 0.5), chest.columns(-0.12, 0.12)
    x = chest.x[window] - F(0.008 * chest.visit.pose.yaw - 0.004)
    y = (chest.t[window] - F(0.33)) * F(chest.height)
    tube = vault((x * F(1 / 0.021)) ** 2)
    tube *= ramp(-y, 0.02)
    out = np.abs(x)
    bronchus = ridge(F(0.62) * (y - F(0.012)) - F(0.78) * (out - F(0.02)), 0.009, chest.pixel)
    bronchus *= ramp(out - F(0.004), 0.004)
    bronchus *= ramp(F(0.08) - out, 0.02)
    thickness[window] -= F(0.17) * tube + F(0.09) * bronchus


def breasts(chest: Chest, thickness: Array) -> None:
    """Add the breasts of a woman, in place; a man's pectoral fold is too faint to matter."""
    anatomy = chest.visit.patient.anatomy
    if anatomy.breast <= 0:
        return
    radius = 0.105 + 0.04 * anatomy.breast
    rows = chest.rows(0.3, 1.3)
    out = (chest.a[rows] - F(0.62 * anatomy.chest_half_width)) * F(0.90 / radius)
    down = (chest.t[rows] - F(0.78)) * F(chest.height / radius)
    np.maximum(down, F(0.45) * down, out=down)
    bulk = vault(out * out + down * down)
    bulk *= ramp(chest.t[rows] - F(0.56), 0.22)
    bulk *= F(0.08 + 0.09 * anatomy.breast)
    thickness[rows] += bulk


def stomach(chest: Chest, thickness: Array, dome: Array) -> None:
    """Take the gastric bubble out under the left dome, in place."""
    share = chest.visit.patient.anatomy.stomach_bubble
    if share < 0.45:
        return
    width = 0.03 + 0.07 * (share - 0.45)
    window = chest.rows(0.75, 1.35), chest.columns(0.18 - width, 0.18 + width)
    out = (chest.x[window] - F(0.18)) * F(1 / width)
    down = (dome[window] - F(0.012 + 0.5 * width)) * F(2 / width)
    gas = vault(out * out + down * down)
    gas *= F(0.30)
    thickness[window] -= gas
