"""Who is imaged: patients with their anatomy, and visits with findings, pose and exposure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

VERSION = 1
"""Raised whenever the same patient and visit would be drawn otherwise, so that stored results are made anew."""

Split = Literal["train", "validation", "test", "pretrain"]
Domain = Literal["a", "b"]
Side = Literal["right", "left"]

_STREAMS: dict[str, int] = {"train": 1, "validation": 2, "test": 3, "pretrain": 4}

PREVALENCE: dict[str, float] = {
    "Atelectasis": 0.25,
    "Cardiomegaly": 0.22,
    "Consolidation": 0.18,
    "Edema": 0.14,
    "Effusion": 0.33,
    "Nodule": 0.11,
    "Pneumothorax": 0.08,
}
"""Share of images that show each finding, in every split and domain."""

FINDINGS = tuple(PREVALENCE)

_LOADINGS = np.array(
    # age, heart failure, acute illness
    [
        [0.15, 0.25, 0.45],  # Atelectasis
        [0.30, 0.55, 0.00],  # Cardiomegaly
        [0.05, 0.00, 0.60],  # Consolidation
        [0.15, 0.60, 0.25],  # Edema
        [0.15, 0.50, 0.45],  # Effusion
        [0.30, 0.00, 0.00],  # Nodule
        [-0.15, 0.00, 0.20],  # Pneumothorax
    ]
)
"""How much of each finding's liability the patient's age, heart and acute illness explain: why findings co-occur."""

_LASTING_CAUSES = np.array([1.0, 0.8, 0.45])
_LASTING_FINDINGS = np.array([0.45, 0.95, 0.45, 0.5, 0.55, 0.95, 0.4])
"""Share of each variance that stays with the patient; the rest follows an AR(1) process from visit to visit."""
_CARRY = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Anatomy:
    """What makes a patient's images resemble one another; lengths in image widths at the usual magnification."""

    chest_half_width: float
    apex_height: float
    """Distance of the lung apices from the upper edge of the image."""
    lung_height: float
    """From the apex to the costophrenic angle."""
    dome_rise: float
    """From the costophrenic angle to the top of the diaphragm."""
    dome_asymmetry: float
    """How much higher the right dome stands."""
    heart_left_share: float
    """Share of the heart's width to the left of the midline."""
    aortic_knob: float
    mediastinum: float
    """Half-width of the upper mediastinum."""
    scoliosis: float
    kyphosis: float
    """In [0, 1]: how much the ribs slope."""
    rib_spacing: float
    bone: float
    """Density of bone, about 1."""
    clavicle_tilt: float
    breast: float
    """Size of the breasts, 0 in men."""
    shoulder: float
    stomach_bubble: float
    vascularity: float
    vessel_tree: int
    vessel_turn: tuple[float, float]
    place: tuple[Side, ...]
    """The side on which each finding shows, or is larger."""
    spot: tuple[tuple[float, float], ...]
    """Where in the lung each finding sits: across in [0, 1] (hilum to wall) and down in [0, 1] (apex to base)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient:
    """One patient, the sampling unit."""

    seed: int
    split: Split
    domain: Domain
    index: int
    sex: Literal["F", "M"]
    age: int
    """Years."""
    habitus: float
    """Body build as a z-score: thin below 0, stout above."""
    anatomy: Anatomy
    n_visits: int

    @property
    def stream(self) -> tuple[int, int, int]:
        """What every random number of this patient is drawn from."""
        return self.seed, _STREAMS[self.split], self.index

    @property
    def name(self) -> str:
        """The patient's id: `test-00012`."""
        return f"{self.split}-{self.index:05d}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """How the patient stood before the detector."""

    turn: float
    """Rotation in the image plane, radians."""
    yaw: float
    """Rotation about the long axis; moves the mediastinum against the spine."""
    shift: tuple[float, float]
    scale: float
    inspiration: float
    """z-score of the depth of inspiration; a poor one raises the diaphragm and widens the heart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """How the image was taken, processed and cropped."""

    level: float
    """Log exposure; above 0 the image is darker."""
    contrast: float
    scatter: float
    noise: float
    """Standard deviation of quantum noise at 256 pixels a side, before the tone curve."""
    blur: float
    """Standard deviation of the detector's blur, in image widths."""
    enhancement: float
    """Weight of local contrast enhancement."""
    collimation: tuple[float, float, float, float]
    """Width of the black border: left, right, top, bottom."""
    marker: tuple[float, float] | None
    """Centre of the lead marker, where one is in the field."""
    lines: tuple[tuple[float, float, float, float], ...]
    """Leads and catheters over the chest: where each enters, its slant, its bend and its thickness."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """One image of a patient."""

    patient: Patient
    number: int
    view: Literal["PA", "AP"]
    severity: tuple[float, ...]
    """For each finding of `FINDINGS`: 0 absent, above 0 to 1 from the limit of visibility to gross."""
    cardiothoracic_ratio: float
    pose: Pose
    exposure: Exposure


def population(
    seed: int, n_patients: int, *, split: Split = "test", domain: Domain = "a", start: int = 0
) -> tuple[Visit, ...]:
    """Return every visit of patients `start` to `start + n_patients - 1`, in order.

    A patient's visits do not depend on how many others are asked for. Domains image the same patients, with the same
    findings, by other habits.

    Examples
    --------
    >>> population(7, 3) == population(7, 10)[: len(population(7, 3))]
    True
    """
    visits = (_visits(seed, split, domain, index) for index in range(start, start + n_patients))
    return tuple(chain.from_iterable(visits))


def labels(visits: Sequence[Visit]) -> NDArray[np.int8]:
    """Return (n_visits, n_findings): 1 where the finding is present, else 0."""
    return np.array([[value > 0 for value in visit.severity] for visit in visits], np.int8).reshape(-1, len(FINDINGS))


ATTRIBUTES = (
    "cardiothoracic ratio",
    "lung height",
    "chest width",
    "dome rise",
    "aortic knob",
    "scoliosis",
    "bone density",
    "breast size",
    "vascularity",
    "habitus",
    "age",
    "female",
    "anteroposterior",
    "inspiration",
    "turn",
    "yaw",
    "shift across",
    "shift down",
    "scale",
    "exposure level",
    "contrast",
    "scatter",
)
"""What an image tells beside its findings: targets for pre-training, each about standardised."""


def attributes(visits: Sequence[Visit]) -> NDArray[np.float32]:
    """Return (n_visits, n_attributes), columns as `ATTRIBUTES`, each of mean about 0 and standard deviation about 1."""
    return np.array([_attributes(visit) for visit in visits], np.float32).reshape(-1, len(ATTRIBUTES))


def _attributes(visit: Visit) -> tuple[float, ...]:
    patient, anatomy, pose, exposure = visit.patient, visit.patient.anatomy, visit.pose, visit.exposure
    return (
        (visit.cardiothoracic_ratio - 0.46) / 0.05,
        (anatomy.lung_height - 0.72) / 0.035,
        (anatomy.chest_half_width - 0.372) / 0.02,
        (anatomy.dome_rise - 0.092) / 0.02,
        (anatomy.aortic_knob - 0.085) / 0.012,
        anatomy.scoliosis / 0.012,
        (anatomy.bone - 1.0) / 0.15,
        (anatomy.breast - 0.5) / 0.5,
        (anatomy.vascularity - 1.0) / 0.2,
        patient.habitus,
        (patient.age - 54) / 16,
        1.0 if patient.sex == "F" else -1.0,
        1.0 if visit.view == "AP" else -1.0,
        pose.inspiration,
        pose.turn / 0.03,
        pose.yaw,
        pose.shift[0] / 0.02,
        pose.shift[1] / 0.02,
        (pose.scale - 1.0) / 0.05,
        exposure.level / 0.2,
        (exposure.contrast - 1.0) / 0.12,
        (exposure.scatter - 0.12) / 0.06,
    )


def _visits(seed: int, split: Split, domain: Domain, index: int) -> list[Visit]:
    rng = np.random.default_rng((seed, _STREAMS[split], index, 0))
    causes = rng.standard_normal(3)
    lasting = rng.standard_normal(len(FINDINGS))
    patient = _patient(rng, seed=seed, split=split, domain=domain, index=index, age=float(causes[0]))
    changing = np.zeros(3 + len(FINDINGS))
    visits = []
    for number in range(patient.n_visits):
        rng = np.random.default_rng((*patient.stream, 1, number))
        fresh = rng.standard_normal(changing.size)
        changing = fresh if number == 0 else _CARRY * changing + np.sqrt(1 - _CARRY**2) * fresh
        now = _mix(causes, changing[:3], _LASTING_CAUSES)
        liability = _LOADINGS @ now + _RESIDUAL * _mix(lasting, changing[3:], _LASTING_FINDINGS)
        visits.append(_visit(rng, patient, number, liability, illness=float(now[2])))
    return visits


_RESIDUAL = np.sqrt(1 - (_LOADINGS**2).sum(axis=1))
_RATE = np.array(tuple(PREVALENCE.values()))


def _mix(
    lasting: NDArray[np.float64], changing: NDArray[np.float64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    mixed: NDArray[np.float64] = np.sqrt(share) * lasting + np.sqrt(1 - share) * changing
    return mixed


def _patient(rng: np.random.Generator, *, seed: int, split: Split, domain: Domain, index: int, age: float) -> Patient:
    sex: Literal["F", "M"] = "F" if rng.random() < 0.47 else "M"
    habitus = float(rng.standard_normal())
    years = int(np.clip(round(54 + 16 * age), 18, 95))
    return Patient(
        seed=seed,
        split=split,
        domain=domain,
        index=index,
        sex=sex,
        age=years,
        habitus=habitus,
        anatomy=_anatomy(rng, sex=sex, age=(years - 54) / 16, habitus=habitus),
        n_visits=1 + int(rng.choice(6, p=(0.42, 0.21, 0.14, 0.10, 0.07, 0.06))),
    )


def _anatomy(rng: np.random.Generator, *, sex: str, age: float, habitus: float) -> Anatomy:
    z = rng.standard_normal(15)
    man = 1.0 if sex == "M" else -1.0
    sides: list[Side] = ["right" if u < 0.55 else "left" for u in rng.random(len(FINDINGS))]
    spots = rng.random((len(FINDINGS), 2))
    return Anatomy(
        chest_half_width=0.372 + 0.010 * man + 0.006 * habitus + 0.015 * z[0],
        apex_height=0.075 + 0.015 * z[1],
        lung_height=0.72 + 0.012 * man - 0.012 * habitus + 0.028 * z[2],
        dome_rise=0.092 + 0.018 * z[3],
        dome_asymmetry=0.022 + 0.010 * z[4],
        heart_left_share=0.64 + 0.03 * z[5],
        aortic_knob=0.085 + 0.006 * age + 0.010 * z[6],
        mediastinum=0.062 + 0.004 * habitus + 0.006 * z[7],
        scoliosis=0.012 * z[8],
        kyphosis=float(ndtr(0.6 * age + 0.8 * z[9])),
        rib_spacing=0.068 + 0.003 * z[10],
        bone=1.0 - 0.05 * age + 0.04 * man + 0.13 * z[11],
        clavicle_tilt=0.05 * z[12],
        breast=max(0.0, 1.0 + 0.25 * habitus + 0.2 * z[13]) if sex == "F" else 0.0,
        shoulder=0.02 * z[14],
        stomach_bubble=float(rng.random()),
        vascularity=float(rng.normal(1.0, 0.2)),
        vessel_tree=int(rng.integers(1 << 16)),
        vessel_turn=(float(rng.random()), float(rng.random())),
        place=tuple(sides),
        spot=tuple((float(across), float(down)) for across, down in spots),
    )


def _visit(
    rng: np.random.Generator, patient: Patient, number: int, liability: NDArray[np.float64], *, illness: float
) -> Visit:
    severity = np.sqrt((1 - ndtr(-liability) / _RATE).clip(0.0, 1.0))
    heart = FINDINGS.index("Cardiomegaly")
    ratio = 0.5 + 0.05 * float(liability[heart] + ndtri(_RATE[heart]))
    bedside = bool(rng.random() < ndtr(-0.5 + (0.5 if patient.domain == "b" else 0.0) + 0.6 * illness))
    return Visit(
        patient=patient,
        number=number,
        view="AP" if bedside else "PA",
        severity=tuple(severity.tolist()),
        cardiothoracic_ratio=ratio,
        pose=_pose(rng, bedside=bedside),
        exposure=_exposure(rng, patient.domain, bedside=bedside),
    )


def _pose(rng: np.random.Generator, *, bedside: bool) -> Pose:
    z = rng.standard_normal(6)
    loose = 1.5 if bedside else 0.8
    return Pose(
        turn=0.022 * loose * z[0],
        yaw=0.8 * loose * z[1],
        shift=(0.015 * loose * z[2], 0.015 * loose * z[3]),
        scale=float(np.exp((-0.03 if bedside else 0.01) + 0.04 * z[4])),
        inspiration=float(0.8 * z[5] - (0.7 if bedside else -0.2)),
    )


def _exposure(rng: np.random.Generator, domain: Domain, *, bedside: bool) -> Exposure:
    z = rng.standard_normal(6)
    u = rng.random(8)
    b = domain == "b"
    cut = np.where(u[:4] < (0.4 if b else 0.15), 0.06 * u[4:], 0.0)
    corner = (0.88 + 0.02 * z[5], 0.07 + 0.08 * float(rng.random()))
    return Exposure(
        level=(0.10 if b else 0.0) + (0.22 if bedside else 0.15) * z[0],
        contrast=float(np.exp((-0.10 if b else 0.0) - (0.10 if bedside else 0.0) + 0.10 * z[1])),
        scatter=float(np.clip((0.16 if bedside else 0.09) + (0.03 if b else 0.0) + 0.03 * z[2], 0.02, 0.3)),
        noise=float(np.exp((0.35 if bedside else 0.0) + (0.45 if b else 0.0) + 0.25 * z[3])) * 0.018,
        blur=(0.0032 if b else 0.0012) * float(np.exp(0.2 * z[4])),
        enhancement=0.0 if b else 0.35,
        collimation=(float(cut[0]), float(cut[1]), float(cut[2]), float(cut[3])),
        marker=(float(corner[0]), float(corner[1])) if rng.random() < (0.5 if b else 0.75) else None,
        lines=tuple(_line(rng) for _ in range(int(rng.poisson(1.3)) if bedside else 0)),
    )


def _line(rng: np.random.Generator) -> tuple[float, float, float, float]:
    enters, slant, bend, thickness = rng.uniform((-0.35, -0.25, -0.15, 0.0016), (0.35, 0.25, 0.15, 0.0034)).tolist()
    return enters, slant, bend, thickness
