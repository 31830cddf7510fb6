import pytest

torch = pytest.importorskip("torch")
from cxrobust.inference.views import aimed_view  # noqa: E402  torch may be absent


def logits_and_labels() -> "tuple[torch.Tensor, torch.Tensor]":
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    return logits, torch.randint(0, 2, (6, 4), generator=generator)


def test_the_view_of_all_findings_against_binary_cross_entropy() -> None:
    logits, labels = logits_and_labels()
    view = aimed_view(torch.nn.Identity(), None)
    assert view(logits).shape == (6, 2, 4)
    ours = torch.nn.functional.cross_entropy(view(logits), labels, reduction="none")
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.double(), reduction="none")
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_the_view_of_one_finding_against_binary_cross_entropy() -> None:
    logits, labels = logits_and_labels()
    for column in range(4):
        view = aimed_view(torch.nn.Identity(), column)
        assert view(logits).shape == (6, 2)
        ours = torch.nn.functional.cross_entropy(view(logits), labels[:, column])
        theirs = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, column], labels[:, column].double())
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_a_missing_label_gives_no_gradient() -> None:
    logits, labels = logits_and_labels()
    labels[2, 1] = -100
    logits.requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(aimed_view(torch.nn.Identity(), None)(logits), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[2, 1] == 0
    assert (gradient != 0).sum() == 23
