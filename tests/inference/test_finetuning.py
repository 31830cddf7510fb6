"""Fine-tuning: each regime changes what it should and nothing else, and learns; DPO against arithmetic by hand."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from cxrobust.errors import DataError
from cxrobust.inference.checkpoints import said_of_training
from cxrobust.inference.datasets.phantoms import Phantoms
from cxrobust.inference.finetuning import (
    Adversary,
    LabelledImages,
    LowRank,
    Preference,
    SimulatedReader,
    Training,
    adversarial,
    agreement,
    attack,
    dpo_loss,
    fit,
    fresh_head,
    linear_probe,
    log_probability,
    lora,
    masked_bce,
    preference,
    read_examples,
    sample_pairs,
    supervised,
    write_training,
)

TRAINING = Training(epochs=6, learning_rate=0.02, batch=16, seed=5)


class Wrapped(nn.Module):
    """A small network with dropout and batch statistics, in the shape that the regimes expect."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.1))
        self.classifier = nn.Linear(12, 3)

    def forward(self, images):
        return self.classifier(self.body(images))


@pytest.fixture(autouse=True)
def _one_thread():
    """Networks this small are slower on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Wrapped(Network()).eval()


@pytest.fixture
def examples() -> LabelledImages:
    """Images whose quarters are bright where a finding is present; one label in eight is missing."""
    generator = torch.Generator().manual_seed(1)
    labels = (torch.rand(96, 3, generator=generator) < 0.4).to(torch.int8)
    images = 0.4 + 0.2 * torch.rand(96, 1, 8, 8, generator=generator)
    for k, (top, left) in enumerate([(0, 0), (0, 4), (4, 0)]):
        images[:, 0, top : top + 4, left : left + 4] += 0.1 * labels[:, k, None, None]
    labels[torch.rand(96, 3, generator=generator) < 1 / 8] = -1
    return LabelledImages(images=images, labels=labels)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(model.state_dict())


def changed(before: dict[str, torch.Tensor], after: nn.Module) -> set[str]:
    return {name for name, value in after.state_dict().items() if not torch.equal(before[name], value)}


def loss_of(model: nn.Module, examples: LabelledImages) -> float:
    return float(masked_bce(model(examples.images), examples.labels).detach())


def mean_probability_of_the_label(model: nn.Module, examples: LabelledImages) -> float:
    p = model(examples.images).detach().sigmoid()
    return float(torch.where(examples.labels == 1, p, 1 - p)[examples.labels >= 0].mean())


REGIMES = {
    "linear-probe": lambda model, examples: linear_probe(model, examples, head="network.classifier"),
    "supervised": lambda model, examples: supervised(model, examples, TRAINING),
    "lora": lambda model, examples: lora(model, examples, TRAINING, low_rank=LowRank(targets=("body.1",), rank=2)),
    "adversarial": lambda model, examples: adversarial(model, examples, TRAINING, adversary=Adversary(eps=0.02)),
    "preference": lambda model, examples: preference(model, examples, TRAINING, judge=agreement),
    "preference-human": lambda model, examples: preference(
        model, examples, TRAINING, judge=SimulatedReader(error_rate=0.1)
    ),
}


@pytest.mark.parametrize("regime", REGIMES)
def test_regime_learns_and_leaves_its_input_and_the_global_generator_alone(regime, model, examples):
    before = state(model)
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    tuned = REGIMES[regime](model, examples)
    assert torch.equal(torch.rand(1), expected)
    assert changed(before, model) == set()
    assert not tuned.training
    assert not any(parameter.requires_grad for parameter in tuned.parameters())
    assert mean_probability_of_the_label(tuned, examples) > mean_probability_of_the_label(model, examples) + 0.02


@pytest.mark.parametrize("regime", REGIMES)
def test_same_seed_gives_the_same_weights(regime, model, examples):
    first, second = (REGIMES[regime](model, examples).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_another_seed_gives_other_weights(model, examples):
    first = supervised(model, examples, TRAINING)
    second = supervised(model, examples, Training(epochs=6, learning_rate=0.02, batch=16, seed=6))
    assert "network.classifier.weight" in changed(first.state_dict(), second)


def test_linear_probe_changes_only_the_head(model, examples):
    tuned = REGIMES["linear-probe"](model, examples)
    assert changed(state(model), tuned) == {"network.classifier.weight", "network.classifier.bias"}


def test_linear_probe_against_scikit_learn(model, examples):
    tuned = linear_probe(model, examples, head="network.classifier", penalty=0.01, iterations=500)
    with torch.no_grad():
        features = model.network.body(examples.images).double().numpy()
    for k in range(3):
        known = examples.labels[:, k].numpy() >= 0
        n_known = int((examples.labels >= 0).sum())
        oracle = LogisticRegression(C=1 / (0.01 * n_known), tol=1e-8, max_iter=10_000)
        oracle.fit(features[known], examples.labels[known, k].numpy())
        np.testing.assert_allclose(tuned.network.classifier.weight[k], oracle.coef_[0], atol=2e-3)
        np.testing.assert_allclose(tuned.network.classifier.bias[k], oracle.intercept_[0], atol=2e-3)


def test_linear_probe_refuses_a_layer_that_is_not_the_last(model, examples):
    with pytest.raises(DataError, match=r"'network\.body\.1' is not the layer"):
        linear_probe(model, examples, head="network.body.1")


def test_lora_leaves_base_weights(model, examples):
    tuned = REGIMES["lora"](model, examples).state_dict()
    before = state(model)
    base = "network.base_model.model."
    assert torch.equal(tuned[f"{base}body.1.base_layer.weight"], before["network.body.1.weight"])
    assert torch.equal(tuned[f"{base}classifier.original_module.weight"], before["network.classifier.weight"])
    assert tuned[f"{base}body.1.lora_B.default.weight"].abs().max() > 0
    assert tuned[f"{base}body.1.lora_A.default.weight"].shape == (2, 64)


def test_fresh_head_says_half_of_everything(model, examples):
    changed_model = fresh_head(model, head="network.classifier", n_outputs=5)
    assert torch.equal(changed_model(examples.images), torch.zeros(96, 5))
    assert model.network.classifier.out_features == 3


def test_adversarial_perturbation_stays_within_eps_and_raises_the_loss(model, examples):
    trained = supervised(model, examples, TRAINING)
    images = examples.images.clone()
    images[0] = 1.0
    images[1] = 0.0
    generator = torch.Generator().manual_seed(0)
    moved = attack(trained, images, examples.labels, Adversary(eps=0.03, steps=4), generator=generator)
    assert (moved - images).abs().max() <= 0.03 + 1e-6
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert masked_bce(trained(moved), examples.labels) > masked_bce(trained(images), examples.labels)
    assert not moved.requires_grad


def test_adversarial_training_loses_less_under_attack(model, examples):
    training = Training(epochs=20, learning_rate=0.02, batch=16, seed=5)
    adversary = Adversary(eps=0.04, steps=3)
    plain = supervised(model, examples, training)
    hardened = adversarial(model, examples, training, adversary=adversary)
    losses = []
    for tuned in (plain, hardened):
        generator = torch.Generator().manual_seed(0)
        losses.append(
            loss_of(
                tuned,
                LabelledImages(
                    images=attack(tuned, examples.images, examples.labels, adversary, generator=generator),
                    labels=examples.labels,
                ),
            )
        )
    assert losses[1] < losses[0]


def test_missing_labels_teach_nothing(model, examples):
    silent_images = LabelledImages(images=examples.images, labels=torch.full_like(examples.labels, -1))
    for judge in (agreement, SimulatedReader(error_rate=0.3)):
        still = Training(epochs=1, learning_rate=0.1, weight_decay=0.0, seed=1)
        assert changed(state(model), preference(model, silent_images, still, judge=judge)) == set()
    assert float(masked_bce(torch.ones(2, 3), torch.full((2, 3), -1))) == 0.0


def test_masked_bce_against_torch_and_by_hand():
    logits = torch.tensor([[0.5, -2.0], [1.5, 0.3]])
    labels = torch.tensor([[1, 0], [0, 1]])
    torch.testing.assert_close(masked_bce(logits, labels), F.binary_cross_entropy_with_logits(logits, labels.float()))
    by_hand = (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(1.5))) / 2
    assert float(masked_bce(logits, torch.tensor([[1, -1], [0, -1]]))) == pytest.approx(by_hand, abs=1e-6)


def test_log_probability_against_bernoulli():
    logits = torch.tensor([0.2, -1.0, 3.0], dtype=torch.float64)
    drawn = torch.tensor([1, 0, 0])
    known = torch.tensor([True, True, False])
    oracle = torch.distributions.Bernoulli(logits=logits).log_prob(drawn.double())
    torch.testing.assert_close(log_probability(logits, drawn, known), oracle[:2].sum())


def test_dpo_loss_by_hand():
    values = (torch.tensor([-1.0]), torch.tensor([-3.0]), torch.tensor([-2.0]), torch.tensor([-2.5]))
    margin = (-1.0 + 2.0) - (-3.0 + 2.5)
    assert float(dpo_loss(*values, beta=0.5)) == pytest.approx(math.log1p(math.exp(-0.5 * margin)), abs=1e-6)


def test_dpo_with_every_pair_reaches_its_closed_form():
    """One finding, the pair {1, 0} judged for 1 with frequency q: the optimum moves the logit by logit(q) / beta."""
    q, beta, reference = 0.8, 2.0, torch.tensor([0.7], dtype=torch.float64)
    present, absent, known = torch.tensor([1]), torch.tensor([0]), torch.tensor([True])
    logit = reference.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([logit], max_iter=100, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        p, r = ([log_probability(z, y, known) for y in (present, absent)] for z in (logit, reference))
        loss = q * dpo_loss(p[0], p[1], r[0], r[1], beta=beta) + (1 - q) * dpo_loss(p[1], p[0], r[1], r[0], beta=beta)
        loss.backward()
        return loss.detach()

    optimizer.step(closure)
    assert float(logit.detach()) == pytest.approx(0.7 + math.log(q / (1 - q)) / beta, abs=1e-4)


def test_dpo_begins_at_log_2_and_leaves_the_reference_frozen(model, examples, monkeypatch):
    from cxrobust.inference.finetuning import preferences

    before = state(model)
    seen: list[float] = []
    monkeypatch.setattr(
        preferences, "dpo_loss", lambda *a, **k: seen.append(dpo_loss(*a, **k).mean().item()) or dpo_loss(*a, **k)
    )
    training = Training(epochs=30, learning_rate=0.02, batch=16, seed=5)
    tuned = preference(model, examples, training, judge=agreement, settings=Preference(beta=1.0))
    assert seen[0] == pytest.approx(math.log(2), abs=1e-5)
    assert np.mean(seen[-6:]) < 0.6
    assert changed(before, model) == set()
    assert not any("running" in name for name in changed(before, tuned))


def test_pairs_are_drawn_with_the_probabilities_of_the_model():
    logits = torch.tensor([[0.0, 2.0, -2.0]]).expand(200, 3)
    pairs = sample_pairs(logits, 100, generator=torch.Generator().manual_seed(0))
    assert pairs.shape == (200, 100, 2, 3)
    np.testing.assert_allclose(pairs.float().mean(dim=(0, 1, 2)), torch.sigmoid(logits[0]), atol=0.01)


def test_agreement_by_hand():
    labels = torch.tensor([[1, 0, -1]])
    pairs = torch.tensor([[[[1, 0, 0], [1, 1, 0]], [[0, 0, 1], [1, 0, 0]], [[1, 0, 1], [1, 0, 0]]]])
    assert agreement(pairs, labels, generator=torch.Generator()).tolist() == [[1, -1, 0]]


def test_simulated_reader_errs_at_the_stated_rate():
    """With one finding and the pair {1, 0}, the reader's verdict is wrong exactly when the finding is misread."""
    labels = torch.ones(100, 1, dtype=torch.int8)
    pairs = torch.tensor([[[[1], [0]]]], dtype=torch.int8).expand(100, 100, 2, 1)
    verdicts = SimulatedReader(error_rate=0.2)(pairs, labels, generator=torch.Generator().manual_seed(0))
    assert float((verdicts == -1).float().mean()) == pytest.approx(0.2, abs=0.015)
    perfect = SimulatedReader(error_rate=0.0)(pairs, labels, generator=torch.Generator())
    assert torch.equal(perfect, agreement(pairs, labels, generator=torch.Generator()))


def test_loss_that_is_not_finite_is_one_sentence(model, examples):
    broken = LabelledImages(images=examples.images * torch.nan, labels=examples.labels)
    with pytest.raises(DataError, match=r"supervised: the loss became nan at step 1: lower the learning rate"):
        supervised(model, broken, TRAINING)


def test_progress_reaches_its_total(model, examples):
    told: list[tuple[str, int, int]] = []
    supervised(model, examples, TRAINING, report=lambda *step: told.append(step), stage="s")
    assert told[-1] == ("s", 36, 36)
    assert [done for _, done, _ in told] == list(range(1, 37))


def test_fit_draws_each_image_once_an_epoch(model):
    rows: list[int] = []

    def loss(drawn, generator):
        rows.extend(drawn.tolist())
        return sum(p.sum() for p in model.parameters())

    fit(model, loss, Training(epochs=2, learning_rate=0.0, batch=4), n_images=10, parameters=model.parameters())
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert rows[:10] != rows[10:]


def test_read_examples_of_phantoms():
    table = Phantoms(kind="phantoms", patients=3, seed=7, size=32).table()
    found = read_examples(table, size=32)
    assert found.images.shape == (len(table.ids), 1, 32, 32)
    np.testing.assert_array_equal(found.images[1, 0].numpy(), table.images.pixels(1))
    np.testing.assert_array_equal(found.labels.numpy(), table.labels)
    with pytest.raises(DataError, match="its images were not loaded"):
        read_examples(Phantoms(kind="phantoms", patients=1).table(with_images=False), size=32)


def test_what_is_written_of_a_training_is_what_the_report_reads(tmp_path: Path):
    checkpoint = tmp_path / "hardened"
    write_training(
        checkpoint,
        tuned="all weights",
        training=TRAINING,
        adversary=Adversary(eps=4 / 255, steps=3),
        start="linear-probe",
        beta=0.5,
    )
    assert said_of_training(checkpoint) == {
        "tuned": "all weights",
        "epochs": 6,
        "learning_rate": 0.02,
        "batch": 16,
        "weight_decay": 0.01,
        "seed": 5,
        "optimizer": "AdamW, warm-up, cosine",
        "adversary": "PGD, eps 4/255, 3 steps",
        "start": "linear-probe",
        "beta": 0.5,
    }
