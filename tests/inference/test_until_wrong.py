"""Attacks that leave an image alone once it is wrong: the same robust accuracy for fewer passes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from cxrobust import pipeline
from cxrobust.documents import report
from cxrobust.errors import StudyError
from cxrobust.inference.perturbations import Batch, in_order
from cxrobust.study import read_study

from .test_perturbations import FINDINGS, batch, make, network
from .tiny import write_study

torch = pytest.importorskip("torch")
GRID = (0.005, 0.01, 0.02, 0.04)
ATTACKS = (
    {"attack": "apgd", "steps": 12, "restarts": 2},
    {"attack": "apgd", "steps": 12, "loss": "margin"},
    {"attack": "square", "queries": 80},
    {"attack": "autoattack-multilabel", "steps": 6, "queries": 30},
    {"attack": "pgd", "steps": 6, "restarts": 3},
    {"attack": "fgsm"},
)


class Counting(torch.nn.Module):
    """A network that is never sure, and counts the images that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.model = 0, network()

    def forward(self, images: "torch.Tensor") -> "torch.Tensor":
        self.seen += len(images)
        return self.model(images) - self.model(torch.full_like(images[:1], 0.5))


def wrong(logits: np.ndarray, labels: np.ndarray, at: float) -> np.ndarray:
    """Whether each labelled decision is wrong, where a probability from `at` is present."""
    return ((logits >= np.log(at / (1 - at))) != (labels == 1)) & (labels >= 0)


def read(one: Batch, **settings: object) -> tuple[np.ndarray, int]:
    """Log-odds under an attack, and how many images the network saw meanwhile."""
    model = Counting()
    (logits,) = make(eps=0.02, **settings).read(one, model, model)
    return logits.numpy(), model.seen


@pytest.mark.parametrize("settings", ATTACKS, ids=str)
@pytest.mark.parametrize("at", [0.5, 0.45])
def test_each_finding_alone_ends_in_the_same_decisions_for_fewer_passes(settings: dict[str, object], at: float) -> None:
    one = batch(16)
    whole, passes = read(one, target="each", **settings)
    stopped, fewer = read(one, target="each", until_wrong_at=at, **settings)
    np.testing.assert_array_equal(wrong(stopped, one.labels, at), wrong(whole, one.labels, at))
    clean = Counting()(one.images).numpy()
    before, after = wrong(clean, one.labels, at), wrong(whole, one.labels, at)
    assert not after[one.labels >= 0].all()  # and all the same went on somewhere
    clearly = before & (np.abs(clean - np.log(at / (1 - at))) > 0.01)
    assert clearly.any()
    np.testing.assert_allclose(stopped[clearly], clean[clearly], atol=1e-12)
    same = ~after & (one.labels >= 0)
    np.testing.assert_allclose(stopped[same], whole[same], atol=1e-9)
    assert fewer < passes or settings["attack"] == "fgsm"  # whose one step costs what asking the clean images does


def test_an_image_that_the_whole_attack_puts_right_stays_wrong() -> None:
    """Grey m has the log-odds sin(200 m), so that a step of 0.02 leads over a trough to the next crest."""

    class Wave(torch.nn.Module):
        def forward(self, images: "torch.Tensor") -> "torch.Tensor":
            return torch.sin(200 * images.mean((1, 2, 3)))[:, None].expand(-1, 3)

    greys = torch.linspace(0.3, 0.7, 60, dtype=torch.float64)[:, None, None, None].expand(-1, 1, 12, 12)
    one = Batch(images=greys, labels=np.ones((60, 3), dtype=np.int8), findings=FINDINGS, seeds=tuple(range(60)))
    clean, whole, stopped = (
        (logits > 0)[:, 0].numpy()
        for logits in (
            Wave()(greys),
            *(
                make(attack="fgsm", eps=0.02, target="each", **stop).read(one, Wave(), Wave())[0]
                for stop in ({}, {"until_wrong_at": 0.5})
            ),
        )
    )
    np.testing.assert_array_equal(clean & stopped, clean & whole)  # robust accuracy and attack success
    assert not (stopped & ~whole).any()
    assert (whole & ~stopped).sum() > 10  # accuracy


@pytest.mark.parametrize("settings", ATTACKS[:5], ids=str)
def test_all_findings_together_stop_where_all_are_wrong(settings: dict[str, object]) -> None:
    one = batch(16)
    whole, _ = read(one, **settings)
    stopped, _ = read(one, until_wrong_at=0.5, **settings)
    done = (wrong(stopped, one.labels, 0.5) | (one.labels < 0)).all(axis=1)
    assert 0 < done.sum() < len(done)
    np.testing.assert_allclose(stopped[~done], whole[~done], atol=1e-9)
    every = (wrong(whole, one.labels, 0.5) | (one.labels < 0)).all(axis=1)
    assert (done | ~every).all()  # at least as many as of the whole attack
    for row in (0, 5):
        alone = Batch(images=one.images[[row]], labels=one.labels[[row]], findings=FINDINGS, seeds=(one.seeds[row],))
        np.testing.assert_allclose(read(alone, until_wrong_at=0.5, **settings)[0][0], stopped[row], atol=1e-9)


@pytest.mark.parametrize("target", ["each", "all"])
def test_one_search_gives_the_same_robust_accuracy_at_every_strength(target: str) -> None:
    one, passes, robust = batch(20), [], []
    for stop in ({}, {"until_wrong_at": 0.5}):
        model = Counting()
        *weaker, last = in_order(make(attack="least-eps", eps=eps, target=target, **stop) for eps in GRID)
        logits = np.array([each.numpy() for each in (model(one.images), *last.read(one, model, model, weaker))])
        robust.append(~np.logical_or.accumulate(wrong(logits, one.labels, 0.5)))
        passes.append(model.seen)
    np.testing.assert_array_equal(robust[0], robust[1])
    assert passes[1] < (0.6 if target == "each" else 1) * passes[0]


def study_of(folder: Path, *, stop: str, analysis: str = "", until: str = "") -> Path:
    path = write_study(folder)
    text = path.read_text().replace('attack = "pgd"', f'attack = "least-eps"\n{until}').replace("steps = 3\n", "")
    wanted = 'metrics = ["robust-accuracy", "attack-success"]\neffect_sizes = ["risk-difference"]\n'
    path.write_text(text.replace("resamples = 200", f"resamples = 200\noperating_point = {stop}\n{analysis or wanted}"))
    return path


def test_a_study_s_estimates_of_decisions_are_the_same_and_its_report_has_no_other(tmp_path: Path) -> None:
    tables = {}
    for name, until in (("whole", ""), ("stopped", "until_wrong_at = 0.5")):
        study = read_study(study_of(tmp_path / name, stop="0.5", until=until))
        pipeline.predict(study, tmp_path / name / "out")
        results = pipeline.analyze(study, tmp_path / name / "out")
        documents = report(tmp_path / name / "out" / "results.json", tmp_path / name / "out", formats=("html",))
        rows = pd.DataFrame([vars_of(one) for one in results.estimates])
        tables[name] = rows[rows.metric == "robust-accuracy"].reset_index(drop=True)
        assert bool(results.reliability) == bool(results.confidence) == (not until)
        points = {one.choice for one in results.sensitivity if one.kind == "operating point"}
        assert bool(points) == (not until)
        said = documents[0].read_text()
        assert ("no further once decisions at 0.5 are wrong" in said) == bool(until)
    assert len(tables["whole"]) > 20
    pd.testing.assert_frame_equal(tables["whole"], tables["stopped"])


def vars_of(estimate: object) -> dict[str, object]:
    """The estimate's own numbers, its condition without what ends the attack."""
    names = ("estimand", "metric", "regime", "reference", "condition", "finding", "estimate", "ci_low", "ci_high")
    found = {name: getattr(estimate, name) for name in names}
    condition = str(found["condition"]).replace("until_wrong_at=0.5, ", "").replace(", until_wrong_at=0.5", "")
    return {**found, "condition": condition}


@pytest.mark.parametrize(
    ("stop", "analysis", "said"),
    [
        ('"youden"', "", "write operating_point = 0.5"),
        ("0.4", "", "write operating_point = 0.5"),
        ("0.5", 'metrics = ["robust-accuracy", "auroc"]', "auroc is of probabilities"),
        ("0.5", 'metrics = ["confidence-wrong"]', "confidence-wrong is of probabilities"),
        ("0.5", 'metrics = ["accuracy"]', 'write effect_sizes = ["risk-difference", "odds-ratio"]'),
    ],
)
def test_what_it_cannot_tell_is_refused(tmp_path: Path, stop: str, analysis: str, said: str) -> None:
    with pytest.raises(StudyError, match="goes no further") as error:
        read_study(study_of(tmp_path, stop=stop, analysis=analysis, until="until_wrong_at = 0.5"))
    assert said in str(error.value)


def of_studies(probabilities: np.ndarray, by: str) -> np.ndarray:
    """Decisions on studies of three images, one by one."""
    pool = {"mean": np.mean, "max": np.max}[by]
    return np.array([pool(probabilities[row : row + 3], axis=0) >= 0.5 for row in range(0, len(probabilities), 3)])


def robust_studies(by: str, goal: str, target: str, settings: dict[str, object], seed: int) -> list[np.ndarray]:
    """Which decisions on 8 studies, of labels drawn anew, are right, clean and attacked: by the whole attack, stopped.

    Each has shape (n_studies, n_findings).
    """
    labels = np.random.default_rng(seed).integers(0, 2, (8, len(FINDINGS))).astype(np.int8)
    one = replace(batch(24), labels=np.repeat(labels, 3, axis=0))
    right = of_studies(expit(Counting()(one.images).numpy()), by) == labels
    return [
        right & (of_studies(expit(read(one, target=target, goal=goal, **stop, **settings)[0]), by) == labels)
        for stop in ({}, {"until_wrong_at": 0.5})
    ]


@pytest.mark.parametrize("goal", ["raise-loss", "hide", "fabricate"])
@pytest.mark.parametrize("target", ["each", "all"])
@pytest.mark.parametrize("settings", ATTACKS, ids=str)
def test_studies_by_their_largest_probability_are_attacked_as_strongly(
    settings: dict[str, object], target: str, goal: str
) -> None:
    whole, stopped = robust_studies("max", goal, target, settings, 2)
    assert whole.any()
    assert not (stopped & ~whole).any()
    if target == "each":
        np.testing.assert_array_equal(stopped, whole)


def test_studies_by_their_mean_would_be_attacked_less() -> None:
    pairs = [robust_studies("mean", "raise-loss", "each", {"attack": "fgsm"}, seed) for seed in range(4)]
    assert any((stopped & ~whole).any() for whole, stopped in pairs)


@pytest.mark.parametrize("member", [False, True])
def test_the_mean_of_a_study_s_images_is_refused(member: bool, tmp_path: Path) -> None:
    path = study_of(tmp_path, stop="0.5", until="until_wrong_at = 0.5")
    before, _, after = path.read_text().partition("[data]")
    _, _, after = after.partition("[[regimes]]")
    for pool, refused in (('pool = "mean"\n', True), ('pool = "max"\n', False), ("", False)):
        data = f'kind = "chexpert"\nroot = "."\n{pool}'
        if member:
            other = '[data.members.b]\nkind = "openi"\nroot = "."\n'
            match = 'Edema = { a = "Edema" }\nMass = { b = "Mass" }\n'
            data = f'kind = "pooled"\n{other}[data.members.a]\n{data}[data.match]\n{match}'
        path.write_text(f"{before}[data]\n{data}[[regimes]]{after}")
        if refused:
            with pytest.raises(StudyError, match="are by the mean of a study's images") as error:
                read_study(path)
            assert 'write pool = "max", or leave pool or until_wrong_at out' in str(error.value)
        else:
            assert read_study(path).data.pooling == (pool[8:11] or None)


def test_one_finding_among_several_is_refused() -> None:
    with pytest.raises(StudyError, match="the others are read from the same image"):
        make(attack="pgd", eps=0.02, target="worst", until_wrong_at=0.5).check(FINDINGS)
    make(attack="pgd", eps=0.02, target=FINDINGS[0], until_wrong_at=0.5).check(FINDINGS[:1])


def test_images_made_on_one_model_are_not_left_alone_because_that_model_is_wrong() -> None:
    made = make(attack="apgd", eps=0.02, until_wrong_at=0.5, made_on="cnn")
    with pytest.raises(StudyError, match=r"the model of 'cnn' is wrong about .*leave one out"):
        made.check(FINDINGS)
