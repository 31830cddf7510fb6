"""From a visit to pixels."""

from cxrobust.inference.phantoms import body
from cxrobust.inference.phantoms.bones import add_bones
from cxrobust.inference.phantoms.detector import develop
from cxrobust.inference.phantoms.findings import add_findings, lost_volume
from cxrobust.inference.phantoms.geometry import Array, Chest, F, ridge, stand
from cxrobust.inference.phantoms.patients import Visit


def draw(visit: Visit, size: int) -> Array:
    """Return a visit's image, shape (size, size) float32 in [0, 1]; bright is dense, the background is black.

    Drawn in unit coordinates, so two sizes show the same image but for the detector's noise.
    """
    chest = stand(visit, size)
    raised, shifted = lost_volume(visit)
    thorax = body.build(chest, raised=raised, shifted=shifted)
    add_findings(chest, thorax)
    thickness = thorax.thickness()
    body.trachea(chest, thickness)
    body.breasts(chest, thickness)
    body.stomach(chest, thickness, thorax.dome)
    add_bones(chest, thickness)
    _lines(chest, thickness)
    return develop(chest, thickness)


def _lines(chest: Chest, thickness: Array) -> None:
    """Lay leads and catheters over the chest, in place."""
    for enters, slant, bend, width in chest.visit.exposure.lines:
        path = F(enters) + F(slant) * chest.t + F(bend) * chest.t * chest.t
        thickness += F(0.16) * ridge(chest.x - path, width, chest.pixel)
