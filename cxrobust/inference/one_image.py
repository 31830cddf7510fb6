"""One image of a study under one condition, made again alone: what the model saw."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrobust.conditions import Condition, parse_condition
from cxrobust.errors import DataError, StudyError, nearest, some
from cxrobust.files import atomic_write
from cxrobust.inference.models import Regime
from cxrobust.inference.pixels import WHITE
from cxrobust.inference.runner import Runner
from cxrobust.inference.units import Plan, Unit


def perturbed_image(
    planned: Plan,
    *,
    image: str,
    condition: str,
    regime: str | None,
    replicate: int | None = None,
    finding: str | None = None,
) -> NDArray[np.float32]:
    """Return the image as the regime's model saw it, (size, size) in [0, 1].

    It is that of a whole run up to rounding, since what is drawn belongs to the image.

    Parameters
    ----------
    replicate
        Which training run of the regime; the first without it.
    finding
        Which finding is read from the image, where each has one of its own.

    Raises
    ------
    StudyError
        When the study has no such image, condition, regime, replicate or finding, several regimes and none is named, or
        an image for each finding and none is named.
    DataError
        When the image's file cannot be read.
    """
    unit = _unit(planned, image, condition, regime, replicate)
    _check_finding(finding, unit, planned)
    if not isinstance(unit.regime, Regime):
        raise StudyError(
            f"regime {unit.regime.name!r} was predicted elsewhere: there is no model to perturb images for"
        )
    if image in planned.left_out:
        raise DataError(f"--image {image}: it was left out: {planned.left_out[image].detail}")
    row = planned.table.ids.index(image)
    runner = Runner(regime=unit.regime, plan=planned, fold=unit.fold)
    if unit.perturbation is not None:
        runner.maker_of(unit.perturbation).check(_beside_another(row, planned))
    seen = runner.perturbed(np.array([row]), unit.perturbation, finding=finding)
    return np.asarray(seen[0, 0].float().cpu().numpy(), dtype=np.float32)


def _beside_another(row: int, planned: Plan) -> NDArray[np.intp]:
    """Return the image and another one, where there is one, by which a model that depends on the batch is seen."""
    others = planned.kept[planned.kept != row]
    return np.array([row, *others[:1]])


WRITTEN_AS = (".npy", ".png")


def check_written(path: Path) -> None:
    """Raise where a file's name does not say that an image can be written to it.

    Raises
    ------
    DataError
        When it ends otherwise than in `.npy` or `.png`.
    """
    if path.suffix not in WRITTEN_AS:
        raise DataError(f"{path}: an image is written as .npy (exact) or .png (16 bits): name it so")


def write_image(pixels: NDArray[np.float32], path: Path) -> None:
    """Write pixels of [0, 1]: exactly as a NumPy file (`.npy`), or rounded to 16 bits as a PNG.

    By the rounding a pixel of a PNG may be half a level, 1/131070, farther from the clean image than the attack's ε.

    Raises
    ------
    DataError
        When the file's name ends otherwise.
    """
    check_written(path)
    if path.suffix == ".npy":
        atomic_write(path, lambda temporary: np.save(temporary, pixels))
    else:
        rounded = Image.fromarray(np.rint(pixels * WHITE).astype(np.uint16))
        atomic_write(path, lambda temporary: rounded.save(temporary, format="PNG"))


def _check_finding(finding: str | None, unit: Unit, planned: Plan) -> None:
    findings = planned.table.findings
    if unit.perturbation is None or unit.perturbation.has_one_image:
        if finding is not None:
            raise StudyError(
                f"--finding {finding}: under {unit.condition} all findings are read from one image: leave --finding out"
            )
    elif finding is None:
        raise StudyError(
            f"--finding is needed, since {unit.condition} makes an image for each finding: one of {', '.join(findings)}"
        )
    elif finding not in findings:
        raise StudyError(
            f"--finding {finding}: unknown finding{nearest(finding, findings)}: the study has {some(findings)}"
        )


def _unit(planned: Plan, image: str, condition: str, regime: str | None, replicate: int | None) -> Unit:
    """Return the unit of the test images that holds the image."""
    ids = planned.table.ids
    if image not in ids:
        raise StudyError(
            f"--image {image}: no test image of the study has this id{nearest(image, ids)}: it has {some(ids)}, all of "
            "which stand in predictions/images.parquet once the study is predicted"
        )
    names = list(dict.fromkeys(unit.regime.name for unit in planned.units))
    if regime is None and len(names) > 1:
        raise StudyError(f"--regime is needed, since an attack depends on the model: one of {', '.join(names)}")
    wanted = names[0] if regime is None else regime
    if wanted not in names:
        raise StudyError(f"--regime {wanted}: unknown regime{nearest(wanted, names)}: known are {', '.join(names)}")
    runs = list(dict.fromkeys(unit.regime.replicate for unit in planned.units if unit.regime.name == wanted))
    if replicate is not None and replicate not in runs:
        raise StudyError(f"--replicate {replicate}: regime {wanted!r} has no such replicate: it has {some(runs)}")
    run = runs[0] if replicate is None else replicate
    try:
        parsed = parse_condition(condition)
    except ValueError as error:
        raise StudyError(f"--condition {condition}: {error}") from None
    row = ids.index(image)
    for unit in planned.units:
        if (
            (unit.regime.name, unit.regime.replicate) == (wanted, run)
            and _is_same(unit.condition, parsed)
            and row in unit.rows
        ):
            return unit
    known = list(dict.fromkeys(unit.condition for unit in planned.units))
    raise StudyError(f"--condition {parsed}: {_no_condition(str(parsed), known, planned.study.analysis.sets)}")


def _is_same(one: Condition, other: Condition) -> bool:
    """Whether two conditions are one, in whatever order their parameters are written."""
    return one.name == other.name and dict(one.parameters) == dict(other.parameters)


def _no_condition(text: str, known: Sequence[Condition], sets: Mapping[str, tuple[str, ...]]) -> str:
    """Say what a text is that is no condition of the study, though it may stand in estimates.csv as one."""
    names = list(map(str, known))
    if text in sets:
        return f"a set has no image of its own: name one of its conditions: {', '.join(sets[text])}"
    strengths = [str(one) for one in known if one.strength is not None and one.series == text]
    if strengths:
        return f"at which strength? Name one of {', '.join(strengths)}"
    return f"the study has no such condition{nearest(text, names)}: it has {some(names, most=12)}"
