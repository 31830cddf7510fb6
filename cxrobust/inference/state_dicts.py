"""The weights of a network in what a training script saved: a table of tensors, alone or among other things."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from cxrobust.errors import DataError, some

if TYPE_CHECKING:
    from torch import Tensor


def state_of(content: object, *, where: str) -> dict[str, "Tensor"]:
    """Return the table of tensors that a file holds: the whole of it, or the only one that it names.

    Training scripts save `{"state_dict": {...}, "epoch": 7}` and the like. A prefix that all names share, as the
    `module.` of DataParallel or the `model.` of a LightningModule, is left out: it says where the network stood.

    Raises
    ------
    DataError
        When there is no such table, or more than one.

    Examples
    --------
    >>> import torch
    >>> saved = {"epoch": 7, "state_dict": {"module.fc.weight": torch.ones(1), "module.norm.bias": torch.ones(1)}}
    >>> list(state_of(saved, where="w.pt"))
    ['fc.weight', 'norm.bias']
    """
    tables = _tables_in({"the whole": content}) or _tables_in(content)
    if not tables:
        raise DataError(f"{where}: it holds no table of tensors: save the network's state_dict")
    if len(tables) > 1:
        raise DataError(f"{where}: it holds {len(tables)} tables of tensors, {some(tables)}: save the right one alone")
    (table,) = tables.values()
    shared = shared_prefix(table)
    return {name.removeprefix(shared): tensor for name, tensor in table.items()}


def shared_prefix(names: Iterable[str]) -> str:
    """Return the beginning up to a dot that all names share; empty where there is none.

    Examples
    --------
    >>> shared_prefix(["model.module.conv.weight", "model.module.norm.bias"])
    'model.module.'
    >>> shared_prefix(["features.weight", "fc.weight"])
    ''
    """
    parts = [name.split(".")[:-1] for name in names]
    shared = 0
    while parts and all(len(one) > shared and one[shared] == parts[0][shared] for one in parts):
        shared += 1
    return "".join(f"{part}." for part in parts[0][:shared]) if parts else ""


def _tables_in(content: object) -> "dict[str, dict[str, Tensor]]":
    """Return the entries that are tables of tensors, of what may be any object."""
    if not isinstance(content, Mapping):
        return {}
    return {str(name): dict(one) for name, one in content.items() if _is_table(one)}


def _is_table(content: object) -> bool:
    import torch

    if not isinstance(content, Mapping) or not content:
        return False
    return all(isinstance(name, str) and isinstance(one, torch.Tensor) for name, one in content.items())
