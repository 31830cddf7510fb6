"""Phantoms: procedural frontal chest radiographs of patients who come back, with findings of graded visibility.

Everything of a patient follows from a seed, a split and the patient's number, so any image can be drawn alone, in any
order, at any size. NumPy and SciPy only.
"""

from cxrobust.inference.phantoms.drawing import draw
from cxrobust.inference.phantoms.patients import (
    ATTRIBUTES,
    FINDINGS,
    PREVALENCE,
    VERSION,
    Anatomy,
    Domain,
    Exposure,
    Patient,
    Pose,
    Split,
    Visit,
    attributes,
    labels,
    population,
)

__all__ = [
    "ATTRIBUTES",
    "FINDINGS",
    "PREVALENCE",
    "VERSION",
    "Anatomy",
    "Domain",
    "Exposure",
    "Patient",
    "Pose",
    "Split",
    "Visit",
    "attributes",
    "draw",
    "labels",
    "population",
]
