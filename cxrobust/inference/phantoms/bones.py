"""The bones of the chest as added thickness."""

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter1d

from cxrobust.inference.phantoms.geometry import (
    A_AXIS,
    BOTTOM,
    ROWS,
    T_AXIS,
    TOP,
    Array,
    Chest,
    F,
    bump,
    look_up,
    ramp,
    ridge,
    row_of,
    vault,
)

_FIRST_RIB, _LAST_RIB = -0.02, 10.5


def add_bones(chest: Chest, thickness: Array) -> None:
    """Add ribs, spine, clavicles, scapulae and humeral heads, in place."""
    _ribs(chest, thickness)
    _spine(chest, thickness)
    _clavicles(chest, thickness)
    _shoulders(chest, thickness)


def _ribs(chest: Chest, thickness: Array) -> None:
    """A rib is a loop: it falls from the spine to the side, and on from the side to the front."""
    anatomy = chest.visit.patient.anatomy
    rows = chest.rows(-0.08, 1.35)
    u, t = chest.u[rows], chest.t[rows]
    inside = vault(u * u)
    section = _rib_table(anatomy.rib_spacing / chest.height, chest.pixel)
    slope: Array = t.clip(-0.05, 1.1)
    front = t - slope * F(0.12)
    front -= F(0.09 + 0.05 * anatomy.kyphosis)
    back = front + inside * (slope * F(0.12) + F(0.09 + 0.05 * anatomy.kyphosis))
    back += F(0.03) * u
    front -= inside * (slope * F(0.16) + F(0.13))
    behind = section.take(row_of(back), mode="clip")
    behind *= F(0.055) + F(0.045) * u
    behind *= ramp(u - F(0.10), 0.08)
    before = section.take(row_of(front), mode="clip")
    before *= F(0.042)
    before *= ramp(u - F(0.45), 0.14)
    behind += before
    behind *= ramp(F(1.01) - u, 0.015)
    behind *= F(anatomy.bone)
    thickness[rows] += behind


@lru_cache(maxsize=8)
def _cross_section(pixel: float) -> Array:
    """A dense shell around a lighter core, over one rib and half the space on either side."""
    c = np.linspace(-0.5, 0.5, 513) / 0.25
    core = 0.65 * np.sqrt(np.clip(1 - c * c, 0, 1))
    shell = 0.35 * np.exp(-(((c + 0.85) / 0.22) ** 2)) + 0.55 * np.exp(-(((c - 0.85) / 0.22) ** 2))
    section: Array = gaussian_filter1d(core + shell, 0.4 * pixel / 0.068 * 512, mode="nearest").astype(F)
    return section


def _rib_table(spacing: float, pixel: float) -> Array:
    """Ribs along the spine; their distance grows from 0.78 of `spacing` by 0.035 with each."""
    below = np.maximum((_T - F(_FIRST_RIB)) * F(1 / spacing), F(-5))
    rib = (np.sqrt(F(0.7625**2) + F(0.07) * below) - F(0.7625)) * F(1 / 0.035)
    place = (F(512) * (rib - np.rint(rib) + F(0.5))).astype(np.int64)
    section: Array = _cross_section(pixel).take(place, mode="clip")
    section *= (rib > -0.5) & (rib < _LAST_RIB)
    return section


_T = T_AXIS.astype(F)
_GROWTH = np.clip(T_AXIS, 0, 1.4)
_PHASE = np.cumsum(1 / (0.060 + 0.018 * _GROWTH)) * ((BOTTOM - TOP) / ROWS) % 1
_VERTEBRA = (0.034 + 0.012 * _GROWTH) * (1 - 0.10 * np.cos(2 * np.pi * (_PHASE - 0.5)))
_DISC = np.exp(-(((_PHASE - 0.5) / 0.10) ** 2))
_PEDICLE = 0.05 * np.exp(-(((_PHASE - 0.15) / 0.1) ** 2))
_BODY = (1 - 0.30 * _DISC) * (0.10 + 0.03 / (1 + np.exp((T_AXIS - 0.1) / 0.05)))


def _spine(chest: Chest, thickness: Array) -> None:
    anatomy = chest.visit.patient.anatomy
    near = chest.columns(-0.055, 0.055)
    a, row = chest.a[:, near], chest.row[:, near]
    ratio = a / look_up(_VERTEBRA, row)
    ratio *= ratio
    ratio *= ratio
    column = vault(ratio)
    column *= look_up(anatomy.bone * _BODY, row)
    pedicles = ridge(a - F(0.022), 0.006, chest.pixel)
    pedicles *= look_up(anatomy.bone * _PEDICLE, row)
    column += pedicles
    thickness[:, near] += column


_REACH = A_AXIS / 0.38
_CLAVICLE = 0.115 - 0.035 * np.sin(2 * np.pi * np.clip(_REACH, 0, 1))
_THICK = 0.0125 + 0.006 * np.exp(-(((A_AXIS - 0.045) / 0.02) ** 2)) + 0.004 * np.clip(_REACH - 0.6, 0, 1)


def _clavicles(chest: Chest, thickness: Array) -> None:
    anatomy, view = chest.visit.patient.anatomy, chest.visit.view
    rows = chest.rows(-0.25, 0.3)
    tilt = 0.09 + anatomy.clavicle_tilt + (0.07 if view == "AP" else 0.0)
    line = _CLAVICLE - tilt * _REACH
    turned = 0.010 * chest.visit.pose.yaw
    column = chest.column[rows]
    c = chest.t[rows] - np.concatenate([line + turned, line - turned]).astype(F)[column]
    c *= np.tile(chest.height / _THICK, 2).astype(F)[column]
    shell = vault(c * c)
    shell += F(0.5) * bump(np.abs(c) - F(0.85), 0.16)
    shell *= ramp(chest.a[rows] - F(0.035), 0.008)
    shell *= ramp(F(0.42) - chest.a[rows], 0.03)
    shell *= F(0.12 * anatomy.bone)
    thickness[rows] += shell


_BLADE = (ramp(_T - F(0.04), 0.06) * ramp(F(0.52) - _T, 0.05)).astype(np.float64)
_SHAFT = (ramp(_T - F(0.09), 0.04) * ramp(F(0.76) - _T, 0.28)).astype(np.float64)
"""How far down the chest the scapula and the upper arm are in the field."""


def _shoulders(chest: Chest, thickness: Array) -> None:
    """Scapulae, which a PA view draws off the lungs, and the upper arms."""
    rows = chest.rows(-0.3, 1.1)
    a, t = chest.a[rows], chest.t[rows]
    out = 0.05 if chest.visit.view == "PA" else 0.0
    y = (t - F(0.06)) * F(chest.height)
    across = (a - F(0.455 + 0.5 * out)) * F(0.058 / 0.056)
    head = vault((across * across + y * y) * F(1 / 0.058**2))
    border = F(0.28 + out) + F(0.40) * (t - F(0.30)) ** 2
    blade = F(0.045) * ramp(a - border, 0.006) * ramp(border + F(0.10) - a, 0.05)
    blade += F(0.04) * ridge(a - border, 0.004, chest.pixel)
    blade *= look_up(_BLADE, chest.row[rows])
    shaft = ramp(F(0.030) - np.abs(a - F(0.465 + 0.5 * out) - F(0.22) * y), 0.008)
    shaft *= look_up(_SHAFT, chest.row[rows])
    thickness[rows] += F(chest.visit.patient.anatomy.bone) * (F(0.17) * head + blade + F(0.13) * shaft)
