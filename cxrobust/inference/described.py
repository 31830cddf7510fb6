"""What the index of a folder of predictions says of images, regimes, conditions and units."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cxrobust.conditions import CLEAN, Condition
from cxrobust.files import merged_hashes, sha256_file, sha256_json_list
from cxrobust.inference.datasets import STUDY_ID, take
from cxrobust.inference.elsewhere import Elsewhere
from cxrobust.inference.models import Regime
from cxrobust.inference.perturbations import Perturbation
from cxrobust.inference.perturbations.corruption import Corruption
from cxrobust.inference.references import faults
from cxrobust.inference.units import Plan, Unit
from cxrobust.predictions import REFERENCE, registration_of, report_faults_of
from cxrobust.texts import Texts


def image_rows(part: Plan) -> pd.DataFrame:
    """Return image, patient, the data set's metadata and labels, a row an image that is not left out."""
    table = take(part.table, part.kept)
    images = table.own_metadata
    images.insert(0, "image_id", Texts(table.ids).series())
    images.insert(1, "patient_id", Texts(table.patients).series())
    if table.references is not None:
        images[REFERENCE] = pd.array(list(table.references), dtype="string")
    for k, finding in enumerate(table.findings):
        images[f"label_{finding}"] = table.labels[:, k]
    return images


def describe_images(part: Plan) -> dict[str, Any]:
    """Return what is known of the images of a part: their findings, sources, exclusions and hash."""
    table, left_out = part.table, part.left_out
    contradictory = {what: n for what, which in table.contradictory.items() if (n := int(which[part.kept].sum()))}
    return {
        "name": table.name,
        "citation": table.citation,
        **({} if table.patients_known == "all" else {"patients_known": table.patients_known}),
        "findings": list(table.findings),
        "size": part.study.data.size if part.pixels is not None else None,
        **({} if table.references is None else {"references": _describe_references(part)}),
        **({} if table.pooled is None else {"pooled": {"column": STUDY_ID, "by": table.pooled}}),
        "exclusions": {**table.exclusions, **Counter(why.reason for why in left_out.values())},
        **(
            {}
            if not left_out
            else {
                "skipped": [
                    {"image": image, "reason": left_out[image].reason, "detail": left_out[image].detail}
                    for image in table.ids
                    if image in left_out
                ]
            }
        ),
        **({"n_reports_without_image": table.n_reports_without_image} if table.n_reports_without_image else {}),
        **({"contradictory": contradictory} if contradictory else {}),
        **({} if not table.notes else {"notes": list(table.notes)}),
        "sources": dict(table.sources),
        "images_sha256": None
        if part.pixels is None
        else sha256_json_list((table.ids[row], part.pixels.digests[row]) for row in part.kept),
    }


def describe_regime(regime: Regime | Elsewhere, planned: Plan) -> dict[str, Any]:
    """Return settings, files by hash and facts of a regime, over all its folds."""
    facts: dict[str, Any] = {}
    if isinstance(regime, Elsewhere):
        fingerprint = merged_hashes(map(regime.fingerprint, regime.own_conditions))
        if planned.validation is not None:
            of_validation = regime.on_validation().fingerprint(str(CLEAN))
            fingerprint |= {f"{name} (validation)": digest for name, digest in of_validation.items()}
    else:
        units = (unit for part in planned.parts for unit in part.units if unit.regime is regime)
        folds = list(dict.fromkeys(unit.fold for unit in units))
        fingerprint = merged_hashes(regime.fingerprint(fold=fold) for fold in folds)
        facts = regime.facts(fold=folds[0])
    return {
        "name": regime.name,
        "replicate": regime.replicate,
        "description": regime.description,
        "family": "elsewhere" if isinstance(regime, Elsewhere) else regime.family,
        "settings": regime.settings(),
        "fingerprint": fingerprint,
        "facts": facts,
    }


def describe_condition(condition: Condition, planned: Plan) -> dict[str, Any]:
    """Return what was done to the images of a condition, with every parameter."""
    made = {str(one.condition): one for one in planned.study.perturbations}
    perturbation = made.get(str(condition))
    elsewhere = "clean" if condition == CLEAN else "elsewhere"
    return {
        "name": str(condition),
        "series": condition.series,
        "strength_name": condition.strength_name,
        "strength": condition.strength,
        "kind": elsewhere if perturbation is None else "noise" if perturbation.is_control else perturbation.kind,
        "description": _description(perturbation, planned.study.data.size),
        "parameters": {} if perturbation is None else perturbation.every_parameter(),
        **({} if perturbation is None else {"control": noise_beside(perturbation, made)}),
    }


def noise_beside(perturbation: Perturbation, made: Mapping[str, Perturbation]) -> str | None:
    """Name the condition of the random noise of an attack's size, in its norm, where the study has it."""
    if "control" not in type(perturbation).model_fields:
        return None
    noise = perturbation.model_copy(update={"control": True}).own_control()
    return str(noise.condition) if noise is not None and str(noise.condition) in made else None


def _description(perturbation: Perturbation | None, side: int) -> str:
    if perturbation is None:
        return ""
    return perturbation.describe_at(side) if isinstance(perturbation, Corruption) else perturbation.describe()


def list_units(part: Plan, folder: Path) -> list[dict[str, Any]]:
    """Return file, hash and identity of each unit of a part, all of which are done."""
    return [
        {
            "file": unit.file,
            "sha256": sha256_file(folder / unit.file),
            "regime": unit.regime.name,
            "replicate": unit.regime.replicate,
            "condition": str(unit.condition),
            "n_images": len(unit.rows),
            **({} if (registered := registration_of(folder / unit.file)) is None else {"registration": registered}),
            **({"report_faults": wrong} if (wrong := _faults(unit, part, folder)) else {}),
        }
        for unit in part.units
    ]


def _describe_references(part: Plan) -> dict[str, Any]:
    """Return how many images have a reference, and which references tell nothing and why."""
    table = take(part.table, part.kept)
    given = table.references or ()
    return {"n": sum(bool((one or "").strip()) for one in given), "faults": faults(given, table.ids)}


def _faults(unit: Unit, part: Plan, folder: Path) -> dict[str, dict[str, Any]]:
    """Return how many reports have each fault, and the first of their images."""
    found, left_out = {}, part.left_out
    for fault, images in report_faults_of(folder / unit.file).items():
        kept = [image for image in images if image not in left_out]
        if kept:
            found[fault] = {"n": len(kept), "images": kept[:3]}
    return found
