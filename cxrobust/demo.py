"""The demo's regimes: one small vision transformer, pre-trained on phantoms of one hospital, fine-tuned at another.

What is real: every regime is trained here, from random weights to checkpoint, and attacked as any user's model is. What
is small: the images are drawings of 64 pixels, and the model has some 170,000 weights.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from string import Template

from cxrobust import pipeline
from cxrobust.comparison.comparing import compare
from cxrobust.errors import require
from cxrobust.files import atomic_write_text, sha256_json
from cxrobust.progress import Reporter, silent
from cxrobust.registration import place_of
from cxrobust.registration.planned import register
from cxrobust.results import ESTIMATES, RESULTS
from cxrobust.study import Study, read_study

SIZE = 64
EARLIER = "earlier"
"""Name of the study, and folder, of an earlier checkpoint of one regime, with which the demo's run is compared."""
RECIPE = 1
"""Raised when what is trained changes, so that older checkpoints are not taken for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How large the demo is."""

    pretrain_patients: int = 2600
    train_patients: int = 800
    test_patients: int = 150
    pretrain_epochs: int = 14
    tune_epochs: int = 5
    adversarial_epochs: int = 5
    preference_epochs: int = 3
    width: int = 64
    depth: int = 3
    resamples: int = 5_000


FULL = Scale()
TINY = Scale(
    pretrain_patients=30,
    train_patients=20,
    test_patients=24,
    pretrain_epochs=1,
    tune_epochs=1,
    adversarial_epochs=1,
    preference_epochs=2,
    width=32,
    depth=1,
    resamples=200,
)
"""For tests: everything happens, nothing is learned."""

LABEL_NOISE = 0.05
"""Share of pre-training labels that are wrong, as labels mined from reports are."""
READER_ERROR = 0.2
"""Share of findings that the simulated readers misread."""
TRAIN_EPS = 1.0
"""Size of the attack in adversarial training, in units of 1/255."""
EARLY_EPOCHS = 1
"""Epochs of preference fine-tuning in the earlier checkpoint."""

DESCRIPTIONS = {
    "linear_probe": "pre-trained transformer kept as it is, logistic regression on its features",
    "supervised": "the linear probe with all weights fine-tuned on the labels",
    "lora": "low-rank updates of the attention and the head fine-tuned on the labels, all else kept",
    "adversarial": f"the linear probe with all weights fine-tuned on images attacked by PGD at {TRAIN_EPS:g}/255",
    "preference": "the supervised checkpoint tuned by DPO, pairs judged against the reference labels",
    "preference_human": (
        f"the supervised checkpoint tuned by DPO, pairs judged by simulated readers who misread {READER_ERROR:.0%}"
    ),
}


def prepare(folder: Path, *, scale: Scale = FULL, report: Reporter = silent) -> Path:
    """Train the regimes that `folder` does not hold yet, and write the study file that compares them.

    `folder/earlier.toml` is a study of an earlier checkpoint of the preference regime, on the same images.

    Returns
    -------
    Path
        `folder/study.toml`.
    """
    require("torch", group="inference")
    from cxrobust.inference.demo_regimes import train

    checkpoints = folder / "checkpoints"
    recipe = sha256_json([RECIPE, asdict(scale)])
    mark = checkpoints / "recipe.txt"
    if not mark.exists() or mark.read_text(encoding="utf-8") != recipe:
        shutil.rmtree(checkpoints, ignore_errors=True)
        atomic_write_text(mark, recipe)
    train(checkpoints, scale, report)
    for name, template in (("study", "demo"), (EARLIER, "demo-earlier")):
        text = Template(files("cxrobust.templates").joinpath(f"{template}.toml").read_text(encoding="utf-8"))
        written = text.substitute(
            DESCRIPTIONS, patients=scale.test_patients, resamples=scale.resamples, epochs=EARLY_EPOCHS
        )
        atomic_write_text(folder / f"{name}.toml", written)
    return folder / "study.toml"


def run_all(
    study: Study, *, report: Reporter = silent, say: Callable[[str], None] = lambda message: None
) -> tuple[Path, ...]:
    """Register the demo's study, run it, and compare it with the earlier checkpoint's; return what was written.

    A study that is registered already stays so. The earlier checkpoint's run has no documents of its own.
    """
    folder = study.path.parent
    if not place_of(study).exists():
        register(study, place_of(study), now=datetime.now(UTC))
    documents = pipeline.run(study, folder, report_progress=report, say=say)
    earlier = read_study(folder / f"{EARLIER}.toml")
    pipeline.predict(earlier, folder / EARLIER, report=report)
    pipeline.analyze(earlier, folder / EARLIER, report=report)
    compared = compare(folder / EARLIER, folder, out=folder / "compared", report=report, say=say)
    return folder / RESULTS, folder / ESTIMATES, *compared.written, *documents
