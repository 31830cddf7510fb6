"""What each finding does to the layers of the chest, from the limit of visibility to gross."""

import numpy as np

from cxrobust.inference.phantoms.body import Thorax, from_hilum
from cxrobust.inference.phantoms.geometry import A_AXIS, T_AXIS, Array, Chest, F, bump, ramp, ridge, wall
from cxrobust.inference.phantoms.patients import FINDINGS, Visit
from cxrobust.inference.phantoms.textures import noise_tile

_FAR = 9.0
"""A distance that no pixel reaches: the healthy side of a table."""


def severity(visit: Visit, finding: str) -> float:
    """Return how severe a finding is: 0 absent, to 1."""
    return visit.severity[FINDINGS.index(finding)]


def lost_volume(visit: Visit) -> tuple[tuple[float, float], float]:
    """Return how far each dome is raised (right, left), and the mediastinum moved to the patient's left.

    Atelectasis pulls dome and mediastinum towards it; a large pneumothorax pushes the mediastinum away.
    """
    collapse = severity(visit, "Atelectasis")
    tension = max(0.0, severity(visit, "Pneumothorax") - 0.6)
    raise_by = 0.075 * collapse**1.5
    left = _is_left(visit, "Atelectasis")
    pulled = 0.018 * collapse**2 * (1 if left else -1)
    pushed = 0.06 * tension * (-1 if _is_left(visit, "Pneumothorax") else 1)
    return ((0.0, raise_by) if left else (raise_by, 0.0)), pulled + pushed


def add_findings(chest: Chest, thorax: Thorax) -> None:
    """Change the layers by every finding that is present; cardiomegaly is the heart's width and is drawn with it."""
    for finding, add in _ADD.items():
        value = severity(chest.visit, finding)
        if value > 0:
            add(chest, thorax, value)


def _edema(chest: Chest, thorax: Thorax, value: float) -> None:
    """Perihilar ("bat-wing") haze with indistinct vessels, denser towards the bases."""
    rows = chest.rows(0.05, 1.15)
    out, fall = from_hilum(chest, rows)
    haze = np.exp((out * out * F(1.2) + (fall - F(0.03)) ** 2 * F(0.6)) * F(-0.5 / 0.085**2))
    haze += F(0.45) * ramp(fall, 0.25)
    haze *= F(1) + F(0.25) * _tile(chest, 6.0, 30.0)[rows]
    thorax.density[rows] *= F(1 + 0.35 * value)
    thorax.density[rows] += F(0.03 + 0.22 * value) * haze


def _consolidation(chest: Chest, thorax: Thorax, value: float) -> None:
    """Patchy air-space opacity with an ill-defined edge, in one zone of one lung; the vessels in it vanish."""
    across, down = _spot(chest.visit, "Consolidation")
    sign = F(1 if _is_left(chest.visit, "Consolidation") else -1)
    reach = 0.05 + 0.08 * value
    centre_t = 0.22 + 0.60 * down
    rows = chest.rows(centre_t - 3.5 * reach / chest.height, centre_t + 3.5 * reach / chest.height)
    dx = chest.x[rows] * sign - F(0.13 + 0.14 * across)
    dy = (chest.t[rows] - F(centre_t)) * F(chest.height)
    patch = np.exp((dx * dx + dy * dy * F(1.3)) * F(-0.5 / reach**2))
    patch *= F(1.25) + F(0.30) * _tile(chest, 5.0, 18.0)[rows]
    patch -= F(0.22)
    patch.clip(0, 1, out=patch)
    patch *= F(0.15 + 0.65 * value)
    thorax.density[rows] *= F(1) - patch
    thorax.density[rows] += patch


def _nodule(chest: Chest, thorax: Thorax, value: float) -> None:
    """Round, well-defined opacities of 1 to 3 cm, one to four (an adult's thorax, 28 cm wide, is the scale)."""
    across, down = _spot(chest.visit, "Nodule")
    width = chest.visit.patient.anatomy.chest_half_width
    side = 1 if _is_left(chest.visit, "Nodule") else -1
    for nodule in range(1 + int(4 * across * down + 2 * value)):
        radius = (0.55 + 0.90 * value) * (1 - 0.12 * nodule) * width / 14
        t = 0.14 + 0.60 * ((down + 0.38 * nodule) % 1)
        reach = 0.86 * width * float(wall(np.array(t)))
        x = 0.12 + (reach - 0.12) * ((across + 0.62 * nodule) % 1)
        _ball(chest, thorax, (side * (-1) ** nodule * x, t), radius=radius, density=0.14 + 0.38 * value)


def _ball(chest: Chest, thorax: Thorax, centre: tuple[float, float], *, radius: float, density: float) -> None:
    x, t = centre
    margin = 1.5 * radius
    rows = chest.rows(t - margin / chest.height, t + margin / chest.height)
    window = rows, chest.columns(x - margin, x + margin)
    dx = chest.x[window] - F(x)
    dy = (chest.t[window] - F(t)) * F(chest.height)
    ball = ramp(F(radius) - np.sqrt(dx * dx + dy * dy), max(0.35 * radius, 0.5 * chest.pixel))
    thorax.density[window] += F(density) * ball


def _atelectasis(chest: Chest, thorax: Thorax, value: float) -> None:
    """Plate-like bands above a raised dome; crowded, denser base as more volume is lost."""
    visit = chest.visit
    across, down = _spot(visit, "Atelectasis")
    sign = F(1 if _is_left(visit, "Atelectasis") else -1)
    rows = chest.rows(0.45, 1.1)
    x = chest.x[rows] * sign
    dome = thorax.dome[rows]
    for band in range(1 + int(2.5 * value)):
        slope = 0.25 * (down - 0.5) + 0.22 * band - 0.1
        height = 0.035 + 0.030 * band + 0.02 * across
        middle, half = 0.13 + 0.11 * ((across + 0.37 * band) % 1), 0.035 + 0.05 * value
        line = ridge(dome + F(height) + F(slope) * (x - F(middle)), 0.004 + 0.006 * value, chest.pixel)
        line *= ramp(F(half) - np.abs(x - F(middle)), 0.02)
        thorax.density[rows] += F(0.20 + 0.40 * value) * line
    base = bump(dome, 0.05) * ramp(x, 0.02)
    thorax.density[rows] += F(0.40 * value**2) * base


def _effusion(chest: Chest, thorax: Thorax, value: float) -> None:
    """Blunted costophrenic angle, then a meniscus that rises to the side, then an opaque base; lying, a veil."""
    visit = chest.visit
    left = _is_left(visit, "Effusion")
    both = _spot(visit, "Effusion")[0] < 0.4
    reach = (A_AXIS / visit.patient.anatomy.chest_half_width).clip(0, 1.05)
    level = 0.03 + 0.10 * value + 0.16 * value**2
    surface = -(level * (0.55 + 0.15 * value) + (0.45 * level + 0.015) * reach**3.5)
    other = 0.55 * surface + 0.03 if both else np.full_like(surface, _FAR)
    below = (chest.t - F(1)) * F(chest.height)
    below -= chest.across(other, surface) if left else chest.across(surface, other)
    fluid = ramp(below, 0.011 if visit.view == "PA" else 0.03)
    thorax.lung *= F(1) - F(0.94) * fluid


def _pneumothorax(chest: Chest, thorax: Thorax, value: float) -> None:
    """Thin visceral pleural line parallel to the chest wall, no lung markings beyond it, lung denser within."""
    visit = chest.visit
    width = visit.patient.anatomy.chest_half_width
    drop = 0.04 + 0.18 * value
    inset = (0.02 + 0.13 * value) * np.sqrt((1.0 - T_AXIS).clip(0, 1))
    edge = width * wall((T_AXIS - drop) / (1 - drop)) - inset
    edge = np.where(drop > T_AXIS, -0.25 * (drop - T_AXIS) / drop, edge)
    stretch = 1 / np.sqrt(1 + (np.gradient(edge, T_AXIS) / chest.height) ** 2)
    healthy = np.full_like(edge, _FAR)
    left = _is_left(visit, "Pneumothorax")
    beyond = chest.a - (chest.along(healthy, edge) if left else chest.along(edge, healthy))
    beyond *= chest.along(stretch)
    empty = ramp(beyond, 0.004)
    within: Array = F(1) - empty
    thorax.density *= within
    on_side = chest.left if left else ~chest.left
    thorax.density += F(0.05 + 0.20 * value) * within * on_side
    thorax.density += F(0.10 + 0.10 * value) * ridge(beyond, 0.0028, chest.pixel)


_ADD = {
    "Edema": _edema,
    "Consolidation": _consolidation,
    "Nodule": _nodule,
    "Atelectasis": _atelectasis,
    "Pneumothorax": _pneumothorax,
    "Effusion": _effusion,
}


def _is_left(visit: Visit, finding: str) -> bool:
    return visit.patient.anatomy.place[FINDINGS.index(finding)] == "left"


def _spot(visit: Visit, finding: str) -> tuple[float, float]:
    return visit.patient.anatomy.spot[FINDINGS.index(finding)]


def _tile(chest: Chest, low: float, high: float) -> Array:
    down, across = (int(16 * turn) * chest.size // 16 for turn in chest.visit.patient.anatomy.vessel_turn[::-1])
    return np.roll(noise_tile(chest.size, low, high), (down, across), (0, 1))
