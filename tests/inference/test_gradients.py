"""What attacks see of gradients, against closed forms."""

import pytest

torch = pytest.importorskip("torch")
from cxrobust.inference.gradients import straight_through_clamps  # noqa: E402  torch may be absent


def test_gradients_pass_clamps_outside_the_model_and_no_others() -> None:
    class Clamping(torch.nn.Module):
        def forward(self, x: "torch.Tensor") -> "torch.Tensor":
            return 3 * torch.clamp(x, 0.2, 0.8)

    x = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5], requires_grad=True)
    with straight_through_clamps(Clamping()) as view:
        clamped = torch.clamp(x, min=0, max=1)
        (straight,) = torch.autograd.grad(clamped.sum(), x)
        (of_the_model,) = torch.autograd.grad(view(x).sum(), x)
        (of_both,) = torch.autograd.grad(view(torch.clamp(x, -2, 2) / 2 + 0.25).sum(), x)
    assert clamped.tolist() == [0, 0, 0.5, 1, 1]
    assert straight.tolist() == [1, 1, 1, 1, 1]
    assert of_the_model.tolist() == [0, 0, 3, 0, 0]
    assert of_both.tolist() == [0, 1.5, 1.5, 1.5, 0]
    (after,) = torch.autograd.grad(torch.clamp(x, 0, 1).sum(), x)
    assert (after[0], after[2], after[4]) == (0, 1, 0)
