"""Where checkpoints lie and what identifies them; torch is not needed to know either."""

import json
import math
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

from cxrobust.errors import DataError
from cxrobust.files import read_json_table, sha256_file

FOLD = "{fold}"
"""Stands in a path for the fold whose model predicts an image."""
WHOLE, PARTS, PICKLED, PICKLED_PARTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
TRAINING = "training.json"
"""How a checkpoint was trained, beside it: a table of names and values, which predictions do not depend on."""
SAID_OF_ADAPTERS = ("peft_type", "r", "lora_alpha", "lora_dropout", "bias", "target_modules", "modules_to_save")
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model")
_TOKENIZER = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
    "chat_template*",
    "processor_config.json",
    "generation_config.json",
)
_DETERMINING = ("config.json", "preprocessor_config.json", "processor_config.json")


def fill_fold(path: str, fold: str | None) -> str:
    """Return `path` with the fold in the place of `{fold}`."""
    return path if fold is None else path.replace(FOLD, fold)


def fold_problem(cross_fit: str | None, paths: Iterable[object]) -> str | None:
    """Return what is wrong between `cross_fit` and where `{fold}` stands in a regime's paths; None if nothing."""
    has_place = any(FOLD in str(path) for path in paths if path is not None)
    if has_place and cross_fit is None:
        return f'a path has {FOLD} and cross_fit is missing: write cross_fit = "<metadata column of the fold>"'
    if cross_fit is not None and not has_place:
        return f"cross_fit = {cross_fit!r} and no path has {FOLD}: write {FOLD} where the folds' paths differ"
    return None


def model_files(folder: Path, *, code: bool = False) -> tuple[Path, ...]:
    """Return the files of a model folder that determine what it predicts, sorted by name.

    `code` adds Python files, which matter where remote code is trusted.

    Raises
    ------
    DataError
        When the folder, its configuration or its weights are missing.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such model folder: train it, put it there, or correct the path")
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder}: config.json is missing: save the model with save_pretrained")
    found = [folder / name for name in _DETERMINING if (folder / name).is_file()]
    found += weight_files(folder)
    if code:
        found += folder.glob("*.py")
    return tuple(sorted(found))


def tokenizer_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a model folder that determine how texts are put together with images, begin and end.

    They are sorted by name.

    Raises
    ------
    DataError
        When none of them holds a vocabulary; transformers would make up an empty one.
    """
    if not any(any(folder.glob(pattern)) for pattern in _VOCABULARIES):
        raise DataError(f"{folder}: the tokenizer's files are missing: save the tokenizer beside the model")
    return tuple(sorted({file for pattern in _TOKENIZER for file in folder.glob(pattern) if file.is_file()}))


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the weights of a model folder: safetensors, or else the pickled form of older checkpoints.

    Raises
    ------
    DataError
        When there are none.
    """
    if (folder / WHOLE).is_file():
        return (folder / WHOLE,)
    if (folder / PARTS).is_file():
        return (folder / PARTS, *sorted(folder.glob("model-*.safetensors")))
    if (folder / PICKLED).is_file():
        return (folder / PICKLED,)
    if (folder / PICKLED_PARTS).is_file():
        return (folder / PICKLED_PARTS, *sorted(folder.glob("pytorch_model-*.bin")))
    raise DataError(f"{folder}: {WHOLE} is missing: save the model with save_pretrained")


def adapter_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a PEFT adapter.

    Raises
    ------
    DataError
        When one is missing.
    """
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise DataError(f"{folder / name}: the adapter's file is missing: save it with save_pretrained of PEFT")
    return tuple(folder / name for name in ADAPTER_FILES)


def find_adapter(adapter: Path | None, *, fold: str | None, regime: str) -> Path | None:
    """Return the folder of a regime's adapter, which may differ by fold; None where it has none.

    Raises
    ------
    DataError
        When there is no such folder.
    """
    if adapter is None:
        return None
    folder = Path(fill_fold(str(adapter), fold))
    if not folder.is_dir():
        raise DataError(
            f"{folder}: there is no such adapter folder: put {' and '.join(ADAPTER_FILES)} there, or correct "
            f"adapter of regime {regime!r}"
        )
    return folder


def adapter_facts(folder: Path | None) -> dict[str, Any]:
    """Return what an adapter adds to `Regime.facts`; nothing where there is none."""
    if folder is None:
        return {}
    return {
        "training": said_of_training(folder),
        "adapter": said_of_adapter(folder),
        "n_adapter_parameters": count_weights([folder / ADAPTER_FILES[1]]),
    }


def hashes(files: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of files by `folder/name`, and by more folders where several are so called.

    Raises
    ------
    DataError
        When a file cannot be read.
    """
    found: dict[str, str] = {}
    for file in dict.fromkeys(files):
        try:
            found[_short_name(file, found)] = sha256_file(file)
        except OSError as error:
            raise DataError(f"{file}: {error.strerror}: correct the path or its permissions") from error
    return found


def _short_name(file: Path, taken: Container[str]) -> str:
    """Return the last parts of a file's path, two at least, that are not `taken`."""
    names = ("/".join(file.parts[-n:]) for n in range(min(2, len(file.parts)), len(file.parts) + 1))
    return next((name for name in names if name not in taken), str(file))


def count_weights(files: Iterable[Path]) -> int | None:
    """Return how many numbers some safetensors files hold, from their headers; None where one is of another form."""
    total = 0
    for file in files:
        if file.suffix == ".json":
            continue
        tensors = _header(file)
        if tensors is None:
            return None
        total += sum(math.prod(tensor["shape"]) for name, tensor in tensors.items() if name != "__metadata__")
    return total


def _header(file: Path) -> dict[str, Any] | None:
    if file.suffix != ".safetensors":
        return None
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length)) if length < 100_000_000 else None
    except (OSError, ValueError):
        return None
    return header if isinstance(header, dict) else None


def said_of_adapter(folder: Path) -> dict[str, Any]:
    """Return the settings of a PEFT adapter that tell what it changes, without paths."""
    settings = read_json_table(folder / ADAPTER_FILES[0])
    found = {key: settings[key] for key in SAID_OF_ADAPTERS if settings.get(key) not in (None, "", [])}
    return {key: sorted(value) if isinstance(value, list) else value for key, value in found.items()}


def said_of_training(folder: Path) -> dict[str, Any]:
    """Return what `training.json` in a checkpoint's folder says of its training: names and plain values."""
    plain = (str, int, float, bool)
    return {key: value for key, value in read_json_table(folder / TRAINING).items() if isinstance(value, plain)}


def one_line(error: BaseException | str, *, most: int = 300) -> str:
    """Return another library's message, or what it printed, as one line of at most `most` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else f"{text[: most - 3]}..."
