import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrobust import files, pipeline
from cxrobust.files import sha256_json
from cxrobust.inference import attack_checks, units
from cxrobust.inference.attack_checks import checked_attack, chosen_rows, rivals, unbounded
from cxrobust.inference.perturbations import Batch, perturbation
from cxrobust.inference.runner import Runner
from cxrobust.inference.units import plan
from cxrobust.results import read_results
from cxrobust.study import read_study

from .tiny import MODULE, write_study

torch = pytest.importorskip("torch")

STEPPED = """
class Stepped(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner((x * 16).round() / 16)

def stepped(*, findings, weights, seed=0):
    return Stepped(build(findings=findings, weights=weights, seed=seed))
"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a smooth network, and of one that rounds its input, through which no gradient passes."""
    folder = tmp_path_factory.mktemp("checked")
    path = write_study(folder)
    (folder / "tiny_networks.py").write_text(MODULE + STEPPED)
    text = path.read_text().replace("attack_checks = 0", "attack_checks = 10")
    path.write_text(
        text.replace('model = "python:tiny_networks:build"\noptions', 'model = "python:tiny_networks:stepped"\noptions')
    )
    told: list[tuple[str, int, int]] = []
    pipeline.predict(read_study(path), folder / "out", report=lambda *said: told.append(said))
    (folder / "told.json").write_text(json.dumps(told))
    return folder


def checks(folder: Path) -> dict[str, dict[str, object]]:
    index = json.loads((folder / "out" / "predictions" / "index.json").read_text())
    return {one["regime"]: one for one in index["attack_checks"]}


def test_a_smooth_network_is_attacked_as_it_should_be(checked: Path) -> None:
    found = checks(checked)["a"]
    assert found["condition"] == "pgd(eps=4/255, steps=3)"
    assert found["n_images"] == 10
    pgd = perturbation["pgd"].model_validate({"attack": "pgd", "eps": "4/255", "steps": 3})
    assert found["queries"] == rivals(pgd, 20)[1].queries
    assert found["unbounded"] == "pgd(eps=1.0, steps=12)"
    assert found["without_gradient"] == 0
    harm = found["attacked"] - found["clean"]
    assert abs(found["noise"] - found["clean"]) < 0.25 * harm
    assert 0 < harm <= found["longer"] - found["clean"] + 1e-6
    assert found["square"] < found["attacked"]
    assert found["unbounded_wrong"] > 0.9
    assert set(found["transferred"]) == {"b"}


def test_images_are_sent_from_the_first_run_of_each_regime_whatever_its_number(tmp_path: Path) -> None:
    path = write_study(tmp_path, n_images=18)
    network = 'family = "python"\nmodel = "python:tiny_networks:build"\n'
    runs = "".join(
        f'[[regimes]]\nname = "{name}"\nreplicate = {number}\n{network}options = {{ seed = {seed} }}\n'
        for seed, (name, number) in enumerate([("a", 1), ("b", 7), ("b", 2), ("a", 3)])
    )
    head, _, tail = path.read_text().replace("attack_checks = 0", "attack_checks = 4").partition("[[regimes]]")
    path.write_text(f"{head}{runs}[[perturbations]]{tail.partition('[[perturbations]]')[2]}")
    study = read_study(path)
    pipeline.predict(study, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "predictions" / "index.json").read_text())
    planned = plan(study, tmp_path / "out" / "predictions")
    rows = chosen_rows(planned)
    first = {regime.name: regime for regime in (study.regimes[0], study.regimes[1])}
    runner = {name: Runner(regime=one, plan=planned, fold=None) for name, one in first.items()}
    images = {name: one.perturbed_all(rows, checked_attack(planned)) for name, one in runner.items()}
    labels = planned.table.labels[rows]
    signs = np.where(labels < 0, 0, 2 * labels - 1)
    for regime, found in zip(study.regimes, index["attack_checks"], strict=True):
        other = "b" if regime.name == "a" else "a"
        with torch.no_grad():
            logits = regime.load(planned.table.findings)(images[other].float()).double().numpy()
        loss = (np.logaddexp(0, -signs * logits) * (signs != 0)).sum(axis=1).mean()
        assert (found["regime"], found["replicate"]) == (regime.name, regime.replicate)
        assert found["transferred"] == {other: pytest.approx(loss, abs=1e-5)}


def test_progress_is_told_of_each_model_from_nothing_to_all(checked: Path) -> None:
    told = json.loads((checked / "told.json").read_text())
    for name in ("a", "b"):
        mine = [(done, total) for task, done, total in told if task == f"checking the attack on {name}"]
        assert mine[0][0] == 0
        assert [done for done, _ in mine] == sorted(done for done, _ in mine)
        assert mine[-1][0] == mine[-1][1] == 10 * (3 + 1 + 12 + 100 + 12)
        assert len(mine) > 8


def test_a_network_without_gradients_is_found_out(checked: Path) -> None:
    found = checks(checked)["b"]
    assert found["without_gradient"] == 1
    assert found["square"] > found["attacked"]


@pytest.mark.parametrize("module", ["square.py", "noise.py", "apgd.py"])
def test_a_check_is_made_again_when_what_it_compares_with_has_changed(
    module: str, checked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan(read_study(checked / "study.toml"), checked / "out" / "predictions")
    unit = next(one for one in planned.units if str(one.condition) == "pgd(eps=4/255, steps=3)")
    rows = chosen_rows(planned)
    before, hashed = attack_checks._key(unit, planned, rows), files.sha256_file
    monkeypatch.setattr(files, "sha256_file", lambda path: "" if path.name == module else hashed(path))
    units.code_hash.cache_clear()
    changed = attack_checks._key(unit, planned, rows) != before
    monkeypatch.undo()
    units.code_hash.cache_clear()
    assert changed == (module != "apgd.py")  # which has no part in it


def test_a_check_is_made_again_when_something_else_is_measured(checked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan(read_study(checked / "study.toml"), checked / "out" / "predictions")
    unit = next(one for one in planned.units if str(one.condition) == "pgd(eps=4/255, steps=3)")
    before = attack_checks._key(unit, planned, chosen_rows(planned))
    monkeypatch.setattr(attack_checks, "ALONE", (*attack_checks.ALONE, "another"))
    assert attack_checks._key(unit, planned, chosen_rows(planned)) != before


def test_a_check_is_made_again_when_an_image_of_any_shard_or_its_label_has_changed(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    rows = np.array([0, 36])

    def key() -> str:
        planned = plan(read_study(path), tmp_path / "out")
        unit = next(one for one in planned.units if str(one.condition) == "pgd(eps=4/255, steps=3)")
        assert 36 not in unit.rows
        return attack_checks._key(unit, planned, rows)

    found = [key(), key()]
    Image.new("L", (20, 20), 7).save(tmp_path / "images" / "i036.png")
    found.append(key())
    labels = tmp_path / "labels.csv"
    labels.write_text(labels.read_text().replace("i036,p12,0,0", "i036,p12,0,1"))
    found.append(key())
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_a_gradient_that_is_zero_or_no_number_counts_as_none(checked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan(read_study(checked / "study.toml"), checked / "out" / "predictions")
    gradients = np.ones((8, 1, 5, 5))
    gradients[1] = 0
    gradients[2, 0, 3, 3] = np.nan
    gradients[3, 0, 0, 0] = -np.inf
    gradients[4, 0, 1:] = 0  # some pixels have one
    monkeypatch.setattr(Runner, "gradients_of", lambda *_: gradients)
    runner = Runner(regime=planned.study.regimes[0], plan=planned, fold=None)
    attack = checked_attack(planned)
    assert attack_checks._without_gradient(runner, torch.zeros(8), np.arange(8), attack, planned) == 3 / 8


@pytest.mark.parametrize("name", ["pgd", "bim", "mifgsm", "pgd-l2"])
def test_steps_of_an_attack_without_a_bound_reach_all_that_is_there(name: str) -> None:
    tied = perturbation[name].model_validate({"attack": name, "eps": 4 / 255, "steps": 3, "step_size": 1 / 255})
    free = unbounded(tied, side=20)
    assert (tied.steps * tied.step, free.eps, free.steps) == (
        pytest.approx(3 / 255),
        20.0 if name == "pgd-l2" else 1.0,
        12,
    )
    assert free.steps * free.step >= free.eps  # from one end of the range to the other


def test_queries_within_a_patch_are_made_by_the_code_of_square() -> None:
    patch = perturbation["patch"].model_validate({"attack": "patch", "side": 30})
    modules = units.code_of(rivals(patch, 20)[1])
    assert {name.rpartition(".")[2] for name in modules} >= {"patch", "square", "objectives"}


def test_the_loss_is_that_of_the_images_by_hand(checked: Path) -> None:
    study = read_study(checked / "study.toml")
    planned = plan(study, checked / "out" / "predictions")
    rows = chosen_rows(planned)
    model = study.regimes[0].load(planned.table.findings)
    images = torch.from_numpy(planned.pixels.batch(rows))
    labels = torch.from_numpy(planned.table.labels[rows].astype(np.float64))
    with torch.no_grad():
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            model(images).double(), labels.clamp(min=0), reduction="none"
        )
    expected = float((each * (labels >= 0)).sum(dim=1).mean())
    assert checks(checked)["a"]["clean"] == pytest.approx(expected, abs=1e-6)


def test_images_are_of_different_patients_and_half_have_a_finding(checked: Path) -> None:
    study = read_study(checked / "study.toml")
    table = plan(study, checked / "out" / "predictions").table
    rows = chosen_rows(plan(study, checked / "out" / "predictions"))
    assert len({table.patients[row] for row in rows}) == len(rows) == 10
    positive = (table.labels[rows] == 1).any(axis=1)
    assert 0 < positive.sum() < 10


def test_what_is_there_is_not_done_again_and_reaches_the_results(
    checked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = checks(checked)
    monkeypatch.setattr(attack_checks, "_check_alone", lambda *_: pytest.fail("done again"))
    study = read_study(checked / "study.toml")
    pipeline.predict(study, checked / "out")
    assert checks(checked) == before
    pipeline.analyze(study, checked / "out")
    results = read_results(checked / "out" / "results.json")
    assert {one["regime"]: one for one in results.attack_checks} == before


@pytest.mark.parametrize("damage", ["cut off", "other pixels", "missing"])
@pytest.mark.parametrize("transferred", ["kept", "missing"])
def test_attacked_images_that_are_no_longer_whole_are_made_again(
    damage: str, transferred: str, checked: Path, tmp_path: Path
) -> None:
    shutil.copytree(checked / "out", tmp_path / "out")
    kept = tmp_path / "out" / "predictions" / "checks"
    whole = {file.name: file.read_bytes() for file in kept.iterdir()}
    for file in kept.glob("*.json"):
        if (
            transferred == "missing" and "loss" in json.loads(file.read_text())["numbers"]
        ):  # of images sent to another model
            file.unlink()
    for file, n_bytes in zip(sorted(kept.glob("*.npy")), (0, 200), strict=True):
        content = file.read_bytes()
        if damage == "missing":
            file.unlink()
        else:
            file.write_bytes(content[:n_bytes] if damage == "cut off" else content[:200] + bytes(len(content) - 200))
    pipeline.predict(read_study(checked / "study.toml"), tmp_path / "out")
    assert checks(tmp_path) == checks(checked)
    assert {file.name: file.read_bytes() for file in kept.iterdir()} == whole


def test_numbers_of_checks_that_are_not_whole_or_of_other_images_are_made_again(checked: Path, tmp_path: Path) -> None:
    for number, damage in enumerate(
        (
            lambda kept: {},
            lambda kept: kept["numbers"],
            lambda kept: {**kept, "numbers": {}},
            lambda kept: {**kept, "numbers": dict.fromkeys(kept["numbers"], "1.5")},
            lambda kept: {**kept, "numbers": dict.fromkeys(kept["numbers"], 7.5)},
            lambda kept: {
                "numbers": dict.fromkeys(kept["numbers"], 7.5),
                "sha256": sha256_json(["0" * 64, dict.fromkeys(kept["numbers"], 7.5)]),
            },
        )
    ):
        out = tmp_path / str(number) / "out"
        shutil.copytree(checked / "out", out)
        for file in (out / "predictions" / "checks").glob("*.json"):
            file.write_text(json.dumps(damage(json.loads(file.read_text()))))
        pipeline.predict(read_study(checked / "study.toml"), out)
        assert checks(tmp_path / str(number)) == checks(checked)


def test_the_primary_conditions_attack_is_the_one_that_is_checked(checked: Path) -> None:
    path = checked / "study.toml"
    primary = path.with_name("primary.toml")
    primary.write_text(
        path.read_text().replace("[analysis]", '[analysis]\nprimary_condition = "pgd(eps=8/255, steps=3)"')
    )
    planned = plan(read_study(primary), checked / "out" / "predictions")
    assert str(checked_attack(planned).condition) == "pgd(eps=8/255, steps=3)"
    weak = path.with_name("weak.toml")
    weak.write_text(path.read_text().replace('attack = "pgd"', 'attack = "fgsm"').replace("steps = 3\n", ""))
    assert checked_attack(plan(read_study(weak), checked / "out" / "predictions")) is None


@pytest.mark.parametrize("attack", ['"pgd-l2"', '"apgd-l2"\ntarget = "each"'])
def test_an_attack_in_the_euclidean_norm_is_checked_within_its_distance(attack: str, checked: Path) -> None:
    text = (checked / "study.toml").read_text()
    path, out = checked / "euclidean.toml", checked / attack.split('"')[1]
    path.write_text(text.replace('attack = "pgd"\neps = ["4/255", "8/255"]', f"attack = {attack}\neps = [0.5, 1.0]"))
    study = read_study(path)
    pipeline.predict(study, out)
    index = json.loads((out / "predictions" / "index.json").read_text())
    smooth, stepped = (one for one in index["attack_checks"])
    assert smooth["condition"].startswith(f"{out.name}(eps=0.5")
    harm = {name: smooth[name] - smooth["clean"] for name in ("attacked", "noise", "longer", "square")}
    assert abs(harm["noise"]) < harm["square"] < harm["attacked"] <= harm["longer"] + 1e-6
    assert smooth["unbounded_wrong"] > 0.9
    assert (smooth["without_gradient"], stepped["without_gradient"]) == (0, 1)
    planned = plan(study, out / "predictions")
    images = torch.from_numpy(planned.pixels.batch(np.arange(6))) * 0.5 + 0.25  # so that no pixel is cut off at 0 or 1
    labels = planned.table.labels[:6]
    batch = Batch(images=images, labels=labels, findings=planned.table.findings, seeds=tuple(range(6)))
    for rival in rivals(checked_attack(planned), 20):
        one = rival.model_copy(update={"target": "all"}) if rival.name == "square" else rival
        lengths = (one.perturb(batch, study.regimes[0].load(planned.table.findings)) - images).flatten(1).norm(dim=1)
        assert float(lengths.max()) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("attack", ['"patch"', '"patch"\nplaces = 2\ntarget = "each"'])
def test_a_patch_is_checked_at_its_own_places(attack: str, checked: Path) -> None:
    text = (checked / "study.toml").read_text()
    path, out = checked / "patch.toml", checked / f"patch-{'places' in attack}"
    path.write_text(text.replace('attack = "pgd"\neps = ["4/255", "8/255"]', f"attack = {attack}\nside = [40, 60]"))
    study = read_study(path)
    pipeline.predict(study, out)
    smooth, stepped = json.loads((out / "predictions" / "index.json").read_text())["attack_checks"]
    assert smooth["condition"].startswith("patch(side=40")
    harm = {name: smooth[name] - smooth["clean"] for name in ("attacked", "noise", "longer", "square")}
    assert harm["noise"] < harm["square"] < harm["longer"]
    assert 0 < harm["attacked"] <= harm["longer"] + 1e-6
    assert smooth["unbounded_wrong"] > 0.9
    assert (smooth["without_gradient"], stepped["without_gradient"]) == (0, 1)
    assert set(smooth["transferred"]) == {"b"}


def test_what_a_patch_is_held_against_lies_in_its_own_square(checked: Path) -> None:
    planned = plan(read_study(checked / "study.toml"), checked / "out" / "predictions")
    runner = Runner(regime=planned.study.regimes[0], plan=planned, fold=None)
    rows = np.arange(6)
    patch = perturbation["patch"].model_validate({"attack": "patch", "side": 40, "steps": 3})
    noise, square = rivals(patch, 20)
    clean = runner.perturbed_all(rows, None)
    made, random = (runner.perturbed_all(rows, one, drawn_as=patch) for one in (patch, noise))
    either = (made != clean) | (random != clean)
    across, down = either.any(dim=2, keepdim=True), either.any(dim=3, keepdim=True)
    assert across.sum(dim=3).unique().tolist() == down.sum(dim=2).unique().tolist() == [8]  # 40 % of 20 pixels
    places = across & down
    moved = runner.perturbed_all(rows, square, drawn_as=patch)
    assert not ((moved != clean) & ~places).any()
    changed = moved[moved != clean]
    assert set(changed.tolist()) == {0.0, 1.0}
    elsewhere = runner.perturbed_all(rows, noise) != clean
    assert (elsewhere & ~places).any()


def test_each_finding_alone_is_checked_on_one_of_each_image_in_turns(checked: Path) -> None:
    path = checked / "study.toml"
    each = path.with_name("each.toml")
    each.write_text(path.read_text().replace('attack = "pgd"', 'attack = "pgd"\ntarget = "each"'))
    study = read_study(each)
    pipeline.predict(study, checked / "each")
    index = json.loads((checked / "each" / "predictions" / "index.json").read_text())
    found = {one["regime"]: one for one in index["attack_checks"]}["a"]
    assert found["in_turns"]
    assert found["condition"] == "pgd(eps=4/255, target=each, steps=3)"
    assert 0 < found["attacked"] - found["clean"] <= found["longer"] - found["clean"] + 1e-6
    assert found["transferred"]["b"] < found["attacked"]
    planned = plan(study, checked / "each" / "predictions")
    rows = chosen_rows(planned)
    labels = planned.table.labels[rows]
    with torch.no_grad():
        logits = study.regimes[0].load(planned.table.findings)(torch.from_numpy(planned.pixels.batch(rows))).numpy()
    losses = []
    for place, (label, logit) in enumerate(zip(labels, logits.astype(float), strict=True)):
        known = np.flatnonzero(label >= 0)
        k = known[place % len(known)]
        losses.append(np.logaddexp(0, -(2 * int(label[k]) - 1) * logit[k]))
    assert found["clean"] == pytest.approx(np.mean(losses), abs=1e-6)


def test_each_fold_is_checked_on_its_own_images(tmp_path: Path) -> None:
    path = write_study(tmp_path, n_images=18)
    labels = (tmp_path / "labels.csv").read_text().splitlines()
    rows = [f"{line},{int(line.split(',')[1][1:]) % 2}" for line in labels[1:]]
    (tmp_path / "labels.csv").write_text("\n".join([labels[0] + ",fold", *rows]) + "\n")
    (tmp_path / "tiny_networks.py").write_text(MODULE.replace("weights, seed=0", "weights=None, seed=0"))
    text = path.read_text().replace("attack_checks = 0", "attack_checks = 4")
    for fold in ("0", "1"):
        (tmp_path / f"fold-{fold}.pt").write_bytes(b"")
    once = 'name = "a"\nfamily = "python"'
    path.write_text(text.replace(once, f'{once}\ncross_fit = "fold"\nweights = "fold-{{fold}}.pt"'))
    study = read_study(path)
    pipeline.predict(study, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "predictions" / "index.json").read_text())
    cross, whole = (one for one in index["attack_checks"])
    assert (cross["regime"], cross["n_images"], whole["n_images"]) == ("a", 4, 4)
    assert cross["transferred"] == whole["transferred"] == {}
    planned = plan(study, tmp_path / "out" / "predictions")
    rows = chosen_rows(planned)
    assert len({planned.table.patients[row] for row in rows}) == 4
    with torch.no_grad():  # the folds' networks are alike here, so that all images may go to one
        logits = study.regimes[0].load(planned.table.findings, fold="0")(torch.from_numpy(planned.pixels.batch(rows)))
    known = planned.table.labels[rows]
    signs = np.where(known < 0, 0, 2 * known - 1)
    each = np.where(signs == 0, 0, np.logaddexp(0, -signs * logits.numpy().astype(float)))
    assert cross["clean"] == pytest.approx(each.sum(axis=1).mean(), abs=1e-6)
