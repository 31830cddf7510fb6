"""Weights of a checkpoint that its network does not have: needless ones, and those that tell of a mix-up."""

import re
from collections.abc import Iterable
from typing import Any, Literal

Surplus = Literal["any", "inside", "repeated"]
"""Which weights are too many: `any`; those `inside` a part that the network has, so that only whole parts, such as
heads, may be left over; or those of a `repeated` layer, of which the network has as many as its configuration says."""

NEVER_USED = frozenset(
    {
        "mask_token",
        "pooler",
        "position_ids",
        "relative_position_index",
        "inv_freq",
        "masked_bias",
        "num_batches_tracked",
    }
)
"""Parts of names of weights that no prediction needs where the network itself lacks them."""
HEAD = "head"
"""What SigLIP calls the pooling of its vision tower, which lies inside of that."""


def find_surplus(unexpected: Iterable[str], network: Any, surplus: Surplus) -> list[str]:
    """Return the names of weights that a network of transformers should have had a place for, sorted.

    Parameters
    ----------
    unexpected
        What transformers had no place for, without what the network's class has it ignore.
    surplus
        Which of these are too many.
    """
    base = f"{getattr(network, 'base_model_prefix', '')}."
    own = {name.removeprefix(base) for name in (*network.state_dict(), *dict(network.named_buffers()))}
    needless = NEVER_USED | ({HEAD} if surplus == "inside" else set())
    bare = {key: key.removeprefix(base) for key in unexpected if not needless & set(key.split("."))}
    known = {_kind(name, surplus) for name in own}
    return sorted(
        key for key, name in bare.items() if name not in own and (surplus == "any" or _kind(name, surplus) in known)
    )


def _kind(name: str, surplus: Surplus) -> str:
    """Return what a weight shares with those that belong together: its part, or its name without numbers."""
    return name.partition(".")[0] if surplus == "inside" else re.sub(r"\d+", "*", name)
