"""What files beside a checkpoint tell without loading it."""

import json
from pathlib import Path

from cxrobust.files import sha256_bytes
from cxrobust.inference.checkpoints import count_weights, hashes, said_of_adapter, said_of_training


def write_safetensors(path: Path, shapes: dict[str, list[int]]) -> Path:
    header = {name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    return path


def test_weights_are_counted_from_headers(tmp_path: Path):
    first = write_safetensors(tmp_path / "a.safetensors", {"head.weight": [7, 64], "head.bias": [7], "scale": []})
    second = write_safetensors(tmp_path / "b.safetensors", {"body": [2, 3, 5]})
    assert count_weights([first, second]) == 7 * 64 + 7 + 1 + 30
    (tmp_path / "model.bin").write_bytes(b"pickled")
    assert count_weights([first, tmp_path / "model.bin"]) is None
    (tmp_path / "cut.safetensors").write_bytes(b"\xff\xff")
    assert count_weights([tmp_path / "cut.safetensors"]) is None


def test_an_adapter_is_described_without_the_folders_of_its_machine(tmp_path: Path):
    settings = {
        "peft_type": "LORA",
        "r": 8,
        "target_modules": ["value", "query"],
        "base_model_name_or_path": "/home/a/b",
    }
    (tmp_path / "adapter_config.json").write_text(json.dumps({**settings, "modules_to_save": None}))
    assert said_of_adapter(tmp_path) == {"peft_type": "LORA", "r": 8, "target_modules": ["query", "value"]}


def test_training_is_told_by_names_and_plain_values(tmp_path: Path):
    assert said_of_training(tmp_path) == {}
    (tmp_path / "training.json").write_text('{"epochs": 5, "tuned": "the head", "log": [1, 2]}')
    assert said_of_training(tmp_path) == {"epochs": 5, "tuned": "the head"}
    (tmp_path / "training.json").write_text("[1]")
    assert said_of_training(tmp_path) == {}


def test_files_of_one_name_in_folders_of_one_name_are_all_hashed(tmp_path: Path):
    files = [tmp_path / one / "vit" / "model.safetensors" for one in ("encoders", "heads", "more/heads")]
    for content, file in zip(b"abc", files, strict=True):
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes([content]))
    names = ("vit/model.safetensors", "heads/vit/model.safetensors", "more/heads/vit/model.safetensors")
    assert hashes([*files, files[0]]) == {name: sha256_bytes(bytes([c])) for name, c in zip(names, b"abc", strict=True)}
