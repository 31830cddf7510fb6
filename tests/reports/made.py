"""Results as an analysis would write them, of any size, with invented but consistent numbers."""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cxrobust.analysis.contrasts import contrasts
from cxrobust.analysis.families import family_of
from cxrobust.analysis.metrics import metric as registered
from cxrobust.conditions import format_eps, parse_condition
from cxrobust.files import sha256_bytes, sha256_file
from cxrobust.results import (
    Alternative,
    ConfidenceBin,
    ConfidenceSpread,
    Detectable,
    Estimate,
    Flip,
    Flips,
    MetricRecord,
    Reliability,
    ReliabilityBin,
    Results,
    Threshold,
    Unclustered,
    primary_estimand,
)

from .whole import whole

REGIMES = (
    "supervised",
    "linear-probe",
    "lora",
    "adversarial",
    "preference",
    "preference-human",
    "bitfit",
    "prefix",
    "distilled",
    "ensemble",
    "head-and-norms",
    "scratch",
)
FINDINGS = (
    "Effusion",
    "Infiltration",
    "Atelectasis",
    "Nodule",
    "Mass",
    "Pneumothorax",
    "Consolidation",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Emphysema",
    "Edema",
    "Fibrosis",
    "Pneumonia",
    "Hernia",
)
METRICS = ("auroc", "accuracy", "confidence", "ece", "brier")
EPS = (0.5, 1.0, 2.0, 4.0)
AIMED = "pgd(eps=1/255, target=Effusion, steps=20)"
CORRUPTIONS = ("gaussian-noise", "blur", "contrast", "jpeg")
HARM = (0.26, 0.20, 0.33, 0.05, 0.27, 0.24, 0.22, 0.30, 0.18, 0.12, 0.23, 0.28)
"""What the strongest attack takes from each regime's AUROC."""
CLEAN_AUROC = (0.84, 0.80, 0.835, 0.79, 0.842, 0.838, 0.825, 0.815, 0.845, 0.855, 0.82, 0.76)


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """How large the study is and what is odd about it."""

    n_regimes: int = 6
    n_findings: int = 6
    perturbed: bool = True
    n_severities: int = 2
    more_attacks: bool = False
    one_class: bool = True
    """Whether the last finding has no positive image."""
    few: bool = True
    """Whether the last finding but one has nine positive patients."""
    phantoms: bool = False
    title: str = "Robustness of fine-tuning regimes of a chest X-ray model to adversarial perturbation"
    replicates: int = 1
    whole: bool = False
    """Whether it has all that a study can ask for: an attack on one finding, subgroups, attack checks and so on."""

    @property
    def regimes(self) -> tuple[str, ...]:
        return REGIMES[: self.n_regimes]

    @property
    def findings(self) -> tuple[str, ...]:
        return FINDINGS[: self.n_findings]

    @property
    def conditions(self) -> tuple[str, ...]:
        if not self.perturbed:
            return ("clean",)
        eps = [format_eps(e / 255) for e in EPS]
        found = ["clean", *(f"pgd(eps={e}, steps=20)" for e in eps)]
        if self.more_attacks:
            found += [f"fgsm(eps={e})" for e in eps[self.whole :]]
        if self.whole:
            found.append(AIMED)
        found += [f"{name}(severity={s})" for name in CORRUPTIONS for s in range(1, self.n_severities + 1)]
        return (*found, *(f"noise(eps={e})" for e in eps))


SMALL = Made(n_regimes=1, n_findings=1, perturbed=False, one_class=False, few=False)
CLEAN_ONLY = Made(n_regimes=3, perturbed=False)
TYPICAL = Made(n_severities=1)
LARGE = Made(n_regimes=12, n_findings=14, n_severities=2, more_attacks=True)
WHOLE = replace(LARGE, whole=True)
"""A study of the largest size, with every section that results of probabilities can have."""


def results(made: Made, *, images: Path | None = None) -> Results:
    """Build a study's results; with a folder, example images are written there."""
    primary = "pgd(eps=1/255, steps=20)" if made.perturbed else None
    estimates = _estimated(made, primary)
    text = f'[study]\ntitle = "{made.title}"\nseed = 2026\nreference = "{made.regimes[0]}"\n'
    found = Results(
        study=_study(made, primary),
        study_text=text,
        data=_data(made),
        regimes=tuple(
            {
                "name": name,
                "replicates": made.replicates,
                "is_reference": name == made.regimes[0],
                "description": f"what {name} means, in a few words",
                "family": "hf-classifier",
                "fingerprint": {f"{name}.safetensors": sha256_bytes(name.encode())},
            }
            for name in made.regimes
        ),
        conditions=tuple(map(_condition, made.conditions)),
        primary_condition=primary,
        metrics=metric_records(*METRICS),
        estimates=estimates,
        reliability=tuple(_reliability(made)),
        risk_coverage=(),
        thresholds=tuple(
            Threshold(regime=r, replicate=0, finding=f, value=0.05 + 0.02 * k, rule="Youden on clean images")
            for r in made.regimes
            for k, f in enumerate(made.findings)
        ),
        unclustered=tuple(
            Unclustered(
                regime=r,
                finding=f,
                metric="auroc",
                se_patient=0.004 * (1 + k / 5),
                se_image=0.003 * (1 + k / 7),
                method_image="delong",
            )
            for r in made.regimes
            for k, f in enumerate(made.findings)
        ),
        examples=tuple(_examples(made, images)) if images is not None else (),
        provenance=_provenance(text),
        confidence=tuple(_confidence(made)),
        flips=tuple(_flips(made)),
        power=tuple(_power(estimates, primary)),
        sensitivity=tuple(_sensitivity(estimates, primary)),
    )
    return whole(found) if made.whole else found


@cache
def _estimated(made: Made, primary: str | None) -> tuple[Estimate, ...]:
    """Return all estimates, which take most of the time."""
    return _adjusted(list(_estimates(made)), primary, n_regimes=made.n_regimes)


def _study(made: Made, primary: str | None) -> dict[str, Any]:
    return {
        "study": {"title": made.title, "seed": 2026, "reference": made.regimes[0], "question": None},
        "data": {"kind": "phantoms" if made.phantoms else "nih-chestxray14", "size": 224},
        "regimes": [],
        "perturbations": list(made.conditions[1:]),
        "analysis": {
            "resamples": 10_000,
            "level": 0.95,
            "metrics": list(METRICS),
            "operating_point": "youden",
            "primary_condition": primary,
        },
        "report": {"formats": ["pdf", "html"], "paper": "A4", "example_images": 3},
        "compute": {},
    }


def _data(made: Made) -> dict[str, Any]:
    return {
        "name": "Phantoms (procedural radiographs)" if made.phantoms else "NIH ChestX-ray14",
        "citation": "Wang X, Peng Y, Lu L, et al. ChestX-ray8. CVPR 2017. doi:10.1109/CVPR.2017.369.",
        "n_images": 22_433,
        "n_patients": 6_187,
        "size": 64 if made.phantoms else 224,
        "exclusions": {"lateral view": 312, "no label": 0},
        "sources": {"Data_Entry_2017_v2020.csv": sha256_bytes(b"labels")},
        "findings": [_counts(made, k) for k in range(made.n_findings)],
        "images_per_patient": [1, 2.0, 184],
    }


def _provenance(text: str) -> dict[str, Any]:
    return {
        "inference": {
            "seconds": 4211.5,
            "wall_seconds": 2105.0,
            "machines": [
                {
                    "device": "cpu",
                    "hardware": "some processor, 2 logical cores",
                    "platform": "Linux",
                    "python": "3.11.7",
                    "versions": {"torch": "2.9.0", "torchattacks": "3.5.1"},
                }
            ],
        },
        "analysis": {"python": "3.11.7", "platform": "Linux", "versions": {"cxrobust": "0.1.0", "numpy": "2.3.0"}},
        "seed": 2026,
        "study_sha256": sha256_bytes(text.encode()),
        "predictions_sha256": sha256_bytes(b"predictions"),
        "command": "cxrobust run study.toml",
    }


def metric_records(*names: str) -> tuple[MetricRecord, ...]:
    """Return what the analysis records of metrics."""
    return tuple(MetricRecord(name=name, better=registered[name].better) for name in names)


def only(one: Results, **changed: Any) -> Results:
    """Return results with some fields replaced."""
    return replace(one, **changed)


def _counts(made: Made, k: int) -> dict[str, Any]:
    positive = [2756, 3944, 2423, 1337, 1139, 1089, 957, 734, 582, 509, 413, 362, 260, 42][k]
    patients = [860, 1601, 1026, 669, 534, 313, 447, 427, 315, 222, 218, 265, 186, 29][k]
    if made.one_class and k == made.n_findings - 1:
        positive, patients = 0, 0
    if made.few and k == made.n_findings - 2:
        positive, patients = 11, 9
    return {
        "name": made.findings[k],
        "n_labelled": 22_433,
        "n_positive": positive,
        "n_positive_patients": patients,
    }


def _condition(text: str) -> dict[str, Any]:
    parsed = parse_condition(text)
    kind = {"clean": "clean", "noise": "noise", "pgd": "attack", "fgsm": "attack"}.get(parsed.name, "corruption")
    return {
        "name": text,
        "series": parsed.series,
        "strength_name": parsed.strength_name,
        "strength": parsed.strength,
        "kind": kind,
        "description": "" if kind == "clean" else f"what {parsed.name} does to an image, with every parameter",
    }


@cache
def _truth(metric: str, regime: str, condition: str, k: int) -> float:
    """Return an invented value, smooth in the strength."""
    r = REGIMES.index(regime)
    parsed = parse_condition(condition)
    strength = parsed.strength or 0.0
    if parsed.name in {"pgd", "fgsm"}:
        share = (1 - math.exp(-strength * 255 / 1.5)) * (0.7 if parsed.name == "fgsm" else 1.0)
    elif parsed.name == "noise":
        share = 0.02 * strength * 255 / 4
    else:
        share = 0.08 * strength * (1 + CORRUPTIONS.index(parsed.name) / 3) if strength else 0.0
    if dict(parsed.parameters).get("target", FINDINGS[k]) != FINDINGS[k]:
        share *= 0.15
    harm = HARM[r] * share * (1 + 0.25 * math.sin(3 * k + r))
    auroc = CLEAN_AUROC[r] + 0.04 * math.cos(2 * k) - harm
    return {
        "auroc": auroc,
        "accuracy": 0.78 + 0.01 * math.cos(r) - 0.8 * harm,
        "confidence": 0.87 - 0.01 * r / 6 + 0.10 * share * (0.4 if r == 3 else 1) - 0.05 * share * (r == 1),
        "ece": 0.02 + 0.002 * r + 0.5 * harm,
        "brier": 0.05 + 0.003 * r + 0.4 * harm,
    }[metric]


def _estimates(made: Made) -> Iterator[Estimate]:
    estimable = [k for k in range(made.n_findings) if not (made.one_class and k == made.n_findings - 1)]
    counts = [_counts(made, k) for k in range(made.n_findings)]
    for metric in METRICS:
        for contrast in contrasts(made.regimes, made.conditions, reference=made.regimes[0]):
            for k in [*range(made.n_findings), None]:
                usable = estimable if metric == "auroc" else list(range(made.n_findings))
                chosen = usable if k is None else [k]
                terms = [(made.regimes[r], made.conditions[c], s) for r, c, s in contrast.terms]
                missing = k is not None and k not in usable
                value = float(np.mean([sum(s * _truth(metric, r, c, j) for r, c, s in terms) for j in chosen or [0]]))
                positives = 5000 if k is None else max(counts[k]["n_positive_patients"], 1)
                se = 0.05 / math.sqrt(positives) * (1 if metric == "auroc" else 0.6) * math.sqrt(len(terms))
                p = math.erfc(abs(value) / se / math.sqrt(2))
                tested = contrast.estimand not in {"value", "area"} and not missing
                yield Estimate(
                    estimand=contrast.estimand,
                    metric=metric,
                    regime=contrast.regime,
                    reference=contrast.reference,
                    condition=contrast.condition,
                    finding="macro" if k is None else made.findings[k],
                    estimate=None if missing else value,
                    reason="one class only" if missing else None,
                    se=None if missing else se,
                    ci_low=None if missing else value - 1.96 * se,
                    ci_high=None if missing else value + 1.96 * se,
                    interval=None if missing else "percentile",
                    p_value=max(p, 1e-4) if tested else None,
                    p_adjusted=None,
                    test="permutation" if tested else None,
                    family=None,
                    n_images=22_433,
                    n_patients=6_187,
                    n_positive=sum(c["n_positive"] for c in counts) if k is None else counts[k]["n_positive"],
                    n_positive_patients=positives if k is None else counts[k]["n_positive_patients"],
                    note=_note(made, metric, k, missing, len(usable)),
                )


def _adjusted(estimates: list[Estimate], primary: str | None, *, n_regimes: int) -> tuple[Estimate, ...]:
    """Name families as the analysis does and adjust within them by Holm's method."""
    families: dict[str, list[tuple[float, int]]] = {}
    estimand = primary_estimand(n_regimes=n_regimes, primary_condition=primary)
    for place, one in enumerate(estimates):
        family = family_of(one, primary_estimand=estimand, primary_condition=primary)
        if family is not None and one.p_value is not None:
            families.setdefault(family, []).append((one.p_value, place))
    for family, members in families.items():
        largest = 0.0
        for rank, (p, place) in enumerate(sorted(members)):
            largest = max(largest, min(1.0, p * (len(members) - rank)))
            estimates[place] = replace(estimates[place], family=family, p_adjusted=largest)
    return tuple(estimates)


def _note(made: Made, metric: str, k: int | None, missing: bool, n_usable: int) -> str:
    if missing:
        return "not estimable: one class only"
    if k is None and n_usable < made.n_findings:
        last = made.findings[-1]
        return f"macro over {n_usable} of {made.n_findings} findings, without {last} (one class only)"
    return "fewer than 20 positive patients" if k is not None and made.few and k == made.n_findings - 2 else ""


def _reliability(made: Made) -> Iterator[Reliability]:
    edges = np.linspace(0, 1, 16)
    for regime in made.regimes:
        for condition in made.conditions:
            bend = _truth("ece", regime, condition, 0) * 3
            bins = []
            for low, high in itertools.pairwise(edges):
                p = (low + high) / 2
                observed = min(max(p - bend * math.sin(math.pi * p) / 2, 0.0), 1.0)
                n = round(200_000 * math.exp(-9 * p) + 40)
                half = min(1.5 / math.sqrt(n), observed, 1 - observed)
                empty = high > 0.99 and regime == "linear-probe"
                bins.append(
                    ReliabilityBin(
                        low=float(low),
                        high=float(high),
                        n=0 if empty else n,
                        mean_probability=None if empty else float(p),
                        observed=None if empty else float(observed),
                        ci_low=None if empty else float(observed - half),
                        ci_high=None if empty else float(observed + half),
                    )
                )
            yield Reliability(regime=regime, condition=condition, bins=tuple(bins))


def _confidence(made: Made) -> Iterator[ConfidenceSpread]:
    """Right decisions are surer than wrong ones, and all surer under the attack, but for one regime."""
    edges = np.linspace(0.5, 1, 21)
    for r, regime in enumerate(made.regimes):
        for condition in made.conditions[:1] if not made.perturbed else ("clean", made.conditions[2]):
            perturbed = condition != "clean"
            for decisions, share in (("right", 0.75 - 0.1 * perturbed), ("wrong", 0.25 + 0.1 * perturbed)):
                rise = 4.0 + (2 if decisions == "right" else -1) + (2 if perturbed else 0) - 3 * perturbed * (r == 3)
                heights = np.exp(rise * (edges[:-1] - 0.5) * 2)
                shares = share * heights / heights.sum()
                mean = float(((edges[:-1] + 0.0125) * shares).sum() / share)
                shift = 0.05 - 0.08 * (r == 3) if perturbed else None
                yield ConfidenceSpread(
                    regime=regime,
                    condition=condition,
                    decisions=decisions,
                    n=round(share * 300_000),
                    mean=mean,
                    ci_low=mean - 0.004,
                    ci_high=mean + 0.004,
                    shift=shift,
                    shift_low=None if shift is None else shift - 0.01,
                    shift_high=None if shift is None else shift + 0.01,
                    bins=tuple(
                        ConfidenceBin(
                            low=float(low), high=float(high), n=round(one * 300_000), share=float(one),
                            ci_low=float(one * 0.93), ci_high=float(one * 1.07),
                        )
                        for (low, high), one in zip(itertools.pairwise(edges), shares, strict=True)
                    ),
                )  # fmt: skip


def _flips(made: Made) -> Iterator[Flips]:
    """More flips with more harm, next to none with noise."""
    for condition, size in ((made.conditions[2], 1.0), ("noise(eps=1/255)", 0.02)) if made.perturbed else ():
        for r, regime in enumerate(made.regimes):
            cells = []
            for label, clean, n in ((0, 0, 200_000), (0, 1, 60_000), (1, 0, 4_000), (1, 1, 12_000)):
                flipped = size * HARM[r] * (0.9 if label == clean else 0.2)
                for perturbed in (0, 1):
                    share = flipped if perturbed != clean else 1 - flipped
                    against = None if r == 0 else size * (HARM[r] - HARM[0]) * (1 if perturbed != clean else -1)
                    cells.append(
                        Flip(
                            label=label, clean=clean, perturbed=perturbed, n=round(n * share), n_patients=3_000,
                            share=share, ci_low=share * 0.95, ci_high=min(share * 1.05, 1), interval="expanded",
                            difference=against, difference_low=None if against is None else against - 0.02,
                            difference_high=None if against is None else against + 0.02,
                        )
                    )  # fmt: skip
            yield Flips(regime=regime, condition=condition, cells=tuple(cells))


def _primary(estimates: Iterable[Estimate], primary: str | None) -> list[Estimate]:
    return [e for e in estimates if e.family == "primary" and e.condition == (primary or "clean")]


def _power(estimates: Iterable[Estimate], primary: str | None) -> Iterator[Detectable]:
    found = _primary(estimates, primary)
    for one in found:
        yield Detectable(
            metric=one.metric, regime=one.regime, reference=one.reference, goal="difference",
            size=None if one.se is None else 3.9 * one.se, se=one.se, alpha=0.05 / len(found), comparisons=len(found),
            power=0.8, note="",
        )  # fmt: skip


def _sensitivity(estimates: Iterable[Estimate], primary: str | None) -> Iterator[Alternative]:
    """Nothing changes, but that of one image of each patient less is shown."""
    found = _primary(estimates, primary) or [
        e for e in estimates if (e.estimand, e.condition, e.finding) == ("value", "clean", "macro")
    ]
    choices = {
        "10 equal-width bins": ("bins", ("ece",)),
        "operating point 0.5": ("operating point", ("accuracy",)),
        "images as independent": ("unit", METRICS),
        "first image of each patient": ("images", METRICS),
        "Student’s t, by patient": ("method", METRICS),
    }
    for choice, (kind, metrics) in choices.items():
        for one in found:
            if one.metric in metrics and one.estimate is not None and one.se is not None:
                wide = {"images": 2.0, "unit": 0.8}.get(kind, 1.0) * one.se
                value = one.estimate + (one.se / 3 if kind in {"bins", "operating point", "images"} else 0)
                p = None if one.p_adjusted is None else min(1.0, one.p_adjusted * (400 if kind == "images" else 1))
                changed = replace(
                    one, estimate=value, ci_low=value - 1.96 * wide, ci_high=value + 1.96 * wide, se=wide, p_adjusted=p
                )
                yield Alternative(kind=kind, choice=choice, estimate=changed)


def _examples(made: Made, folder: Path) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(5)
    clean = [_drawing(k) for k in range(12)]
    for k, image in enumerate(clean):
        yield _kept(made, folder, f"sheet-{k}.png", image, kind="sheet", image_id=f"{k:05d}_000", regime=None)
    if not made.perturbed:
        return
    primary = "pgd(eps=1/255, steps=20)"
    for regime in made.regimes[:3]:
        for k in range(3):
            noisy = np.clip(clean[k] + rng.choice([-1, 1], clean[k].shape) / 255, 0, 1)
            for condition, image in (("clean", clean[k]), (primary, noisy)):
                name = f"{regime}-{k}-{condition[:3]}.png"
                yield _kept(
                    made,
                    folder,
                    name,
                    image,
                    kind="attack",
                    image_id=f"{k:05d}_000",
                    regime=regime,
                    condition=condition,
                )
    if made.whole:
        for strength, name in enumerate(name for name in made.conditions if "severity" in name):
            image = np.clip(clean[0] + rng.normal(0, 0.03 + 0.01 * strength, clean[0].shape), 0, 1)
            of = {"kind": "corruption", "image_id": "00000_000", "regime": None, "condition": name}
            yield {
                **_kept(made, folder, f"corrupted-{strength}.png", image, **of),
                "description": "noise, for all alike",
            }


def _drawing(k: int, side: int = 64) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    lungs = sum(np.exp(-(((x - s) / 0.28) ** 4) - ((y / 0.6) ** 4)) for s in (-0.45, 0.45))
    heart = np.exp(-(((x - 0.1) / 0.3) ** 2) - (((y - 0.35) / 0.35) ** 2))
    ribs = 0.06 * np.sin(18 * y + 4 * x**2 + k)
    return np.clip(0.75 - 0.55 * lungs + 0.3 * heart + ribs * lungs, 0, 1)


def _kept(
    made: Made,
    folder: Path,
    name: str,
    image: np.ndarray,
    *,
    kind: str,
    image_id: str,
    regime: str | None,
    condition: str = "clean",
) -> dict[str, Any]:
    path = folder / "examples" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(image * 65535).astype(np.uint16)).save(path)
    return {
        "kind": kind,
        "image": image_id,
        "regime": regime,
        "condition": condition,
        "file": f"examples/{name}",
        "sha256": sha256_file(path),
        "findings": [made.findings[0]] if image_id < "00006" else [],
        "probabilities": {} if regime is None else dict.fromkeys(made.findings, 0.8 if condition == "clean" else 0.2),
    }
