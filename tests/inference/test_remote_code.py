"""Models with Python code of their own: it runs where the study file says so for that regime, and nowhere else."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cxrobust.checks import check
from cxrobust.errors import DataError
from cxrobust.inference.models.generator import ReportGenerator
from cxrobust.inference.models.hf import HfClassifier
from cxrobust.pipeline import predict
from cxrobust.predictions import load_predictions
from cxrobust.study import read_study
from tests.inference.test_models_generator import ASKED, as_images, names, pictures
from tests.inference.tiny_generators import SMALL, VOCABULARY, randomised, save_llava, write_generator_study

FINDINGS = ("Effusion", "Pneumothorax")
CONFIGURATION = """
from transformers import LlamaConfig, PreTrainedConfig

class OwnConfig(PreTrainedConfig):
    model_type = "own-generator"
    sub_configs = {"text_config": LlamaConfig}

    def __init__(self, text_config=None, image_token_index=4, **kwargs):
        self.text_config, self.image_token_index = LlamaConfig(**(text_config or {})), image_token_index
        super().__init__(**kwargs)
"""
MODELLING = """
import torch
from transformers import GenerationMixin, LlamaModel, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_own import OwnConfig

class OwnForReports(PreTrainedModel, GenerationMixin):
    config_class = OwnConfig
    main_input_name = "input_ids"

    def __init__(self, config):
        super().__init__(config)
        text = config.text_config
        self.patches = torch.nn.Conv2d(3, text.hidden_size, 8, stride=8)
        self.text = LlamaModel(text)
        self.words = torch.nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.text.embed_tokens

    def forward(self, input_ids, pixel_values=None, attention_mask=None, past_key_values=None, use_cache=None, **_):
        seen = self.text.embed_tokens(input_ids)
        places = (input_ids == self.config.image_token_index)[..., None]
        if pixel_values is not None and places.any():
            seen = seen.masked_scatter(places, self.patches(pixel_values).flatten(2).transpose(1, 2))
        found = self.text(
            inputs_embeds=seen, attention_mask=attention_mask, past_key_values=past_key_values, use_cache=use_cache
        )
        return CausalLMOutputWithPast(
            logits=self.words(found.last_hidden_state), past_key_values=found.past_key_values
        )
"""
PROCESSING = """
from transformers import LlavaProcessor

class OwnProcessor(LlavaProcessor):
    pass
"""
CLASSIFIER = """
import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

class OwnConfig(PreTrainedConfig):
    model_type = "own-classifier"

class OwnForImageClassification(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.layer = torch.nn.Linear(config.num_channels, config.num_labels)
        self.post_init()

    def forward(self, pixel_values):
        return ImageClassifierOutput(logits=self.layer(pixel_values.mean(dim=(2, 3))))
"""


def write_code(folder: Path, name: str, code: str) -> None:
    """Code that leaves the file `ran` beside the model's folder when it runs."""
    (folder / name).write_text(f"open({str(folder.parent / 'ran')!r}, 'w').close()\n{code}", encoding="utf-8")


def change_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def save_own_generator(folder: Path, *, seed: int = 0) -> None:
    """A folder as a repository of the hub with `auto_map` is; its class is one of `AutoModelForCausalLM`."""
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaModel

    save_llava(folder)  # for its tokenizer and processor
    text = {**SMALL, "vocab_size": len(VOCABULARY), "num_key_value_heads": 2, "pad_token_id": 0}
    table = {
        "model_type": "own-generator",
        "architectures": ["OwnForReports"],
        "auto_map": {
            "AutoConfig": "configuration_own.OwnConfig",
            "AutoModelForCausalLM": "modeling_own.OwnForReports",
        },
        "text_config": text,
        "image_token_index": VOCABULARY["<image>"],
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(table), encoding="utf-8")
    (folder / "generation_config.json").unlink()
    parts = torch.nn.ModuleDict(
        {
            "patches": torch.nn.Conv2d(3, 16, 8, stride=8),
            "text": LlamaModel(LlamaConfig(**text)),
            "words": torch.nn.Linear(16, len(VOCABULARY), bias=False),
        }
    )
    save_file(randomised(parts, seed=seed).state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    processor = folder / "processor_config.json"
    own = {"AutoProcessor": "processing_own.OwnProcessor"}
    change_json(processor, processor_class="OwnProcessor", auto_map=own, num_additional_image_tokens=0)
    for name, code in (
        ("configuration_own.py", CONFIGURATION),
        ("modeling_own.py", MODELLING),
        ("processing_own.py", PROCESSING),
    ):
        write_code(folder, name, code)


def save_own_classifier(folder: Path) -> torch.nn.Linear:
    from safetensors.torch import save_file

    folder.mkdir()
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForImageClassification": "own.OwnForImageClassification"}
    table = {"model_type": "own-classifier", "auto_map": auto, "num_channels": 1, "image_size": 16}
    table |= {"id2label": dict(enumerate(FINDINGS)), "problem_type": "multi_label_classification"}
    (folder / "config.json").write_text(json.dumps(table), encoding="utf-8")
    torch.manual_seed(0)
    layer = torch.nn.Linear(1, len(FINDINGS))
    weights = {f"layer.{name}": value for name, value in layer.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_code(folder, "own.py", CLASSIFIER)
    return layer


@pytest.fixture(autouse=True)
def _copied_code(code_of_models):
    """Where transformers copies the code of models to."""


def generator_in(folder: Path, **settings) -> ReportGenerator:
    table = {"name": "g", "family": "generator", "model": "own", "max_new_tokens": 8, **ASKED, **settings}
    table["observations"] = {"Effusion": "Pleural Effusion"}
    return ReportGenerator.model_validate(table, context={"study_folder": folder})


def test_a_generator_s_code_runs_only_where_the_regime_says_so(tmp_path):
    save_own_generator(tmp_path / "own")
    with pytest.raises(DataError, match=r"own: .*Python code of its own.*trust_remote_code = true") as caught:
        generator_in(tmp_path).load(FINDINGS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    trusted = generator_in(tmp_path, trust_remote_code=True)
    code = {f"own/{name}.py" for name in ("configuration_own", "modeling_own", "processing_own")}
    assert code <= set(trusted.fingerprint())
    loaded = trusted.load(FINDINGS)
    assert (tmp_path / "ran").exists()
    shown = as_images(pictures(3)).requires_grad_()
    reading = loaded.read(shown, ids=names(3), seed=0)
    assert all(reading.written.reports)
    assert len(set(reading.written.reports)) > 1
    texts = loaded.tokens(shown, ids=names(3), seed=0)
    again = loaded.log_probability(shown, texts)
    np.testing.assert_allclose(again.detach(), reading.written.log_probabilities, atol=1e-5)
    for of_pixels in (again, loaded(shown)):  # of a report, and of the questions
        (gradient,) = torch.autograd.grad(of_pixels.sum(), shown)
        assert gradient.abs().flatten(1).amax(dim=1).min() > 0


def test_a_model_s_code_is_foreseen_from_its_configuration_alone(tmp_path):
    """Before weights are there, read or hashed; `auto_map` of a type that transformers knows stands in nobody's way."""
    (tmp_path / "own").mkdir()
    auto = {"AutoConfig": "lab/code--own.OwnConfig", "AutoTokenizer": ["own_tokens.Slow", None]}
    config = {"model_type": "own", "auto_map": auto}
    (tmp_path / "own" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    refused = r"own: the model brings Python code of its own \(own.py, own_tokens.py\), .*trust_remote_code = true"
    with pytest.raises(DataError, match=refused):
        generator_in(tmp_path).fingerprint()
    with pytest.raises(DataError, match=r"model\.safetensors"):
        generator_in(tmp_path, trust_remote_code=True).fingerprint()
    save_llava(tmp_path / "known")
    change_json(tmp_path / "known" / "config.json", auto_map=auto)
    assert generator_in(tmp_path, model="known").load(FINDINGS) is not None
    assert not (tmp_path / "ran").exists()


def test_a_hub_model_s_code_is_refused_before_its_weights_are_fetched(tmp_path, monkeypatch):
    import huggingface_hub

    auto = {"AutoConfig": "own.OwnConfig"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": auto}), encoding="utf-8")
    fetched = []

    def snapshot_download(_, *, revision, allow_patterns, local_files_only):
        if local_files_only:
            raise FileNotFoundError(revision)
        fetched.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(DataError, match=r"^lab/own: .*\(own.py\), .*trust_remote_code = true"):
        generator_in(tmp_path, model="lab/own").fingerprint()
    assert fetched == [["*config.json"]]


def test_code_of_a_processor_alone_is_refused_as_well(tmp_path):
    save_llava(tmp_path / "own")
    own = {"AutoProcessor": "processing_own.OwnProcessor"}
    change_json(tmp_path / "own" / "processor_config.json", processor_class="OwnProcessor", auto_map=own)
    write_code(tmp_path / "own", "processing_own.py", PROCESSING)
    with pytest.raises(DataError, match=r"own: .*Python code of its own.*trust_remote_code = true"):
        generator_in(tmp_path).load(FINDINGS)
    assert not (tmp_path / "ran").exists()
    assert generator_in(tmp_path, trust_remote_code=True).load(FINDINGS) is not None
    assert (tmp_path / "ran").exists()


def test_a_study_of_a_trusted_generator_beside_another(tmp_path):
    study = write_generator_study(tmp_path, n_images=4)
    save_own_generator(tmp_path / "own")
    text = study.read_text(encoding="utf-8").replace('model = "dpo"', 'model = "own"')
    study.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="trust_remote_code = true"):
        check(read_study(study), tmp_path / "out", report=lambda *_: None)
    with pytest.raises(DataError, match="trust_remote_code = true"):
        predict(read_study(study), tmp_path / "out")
    study.write_text(text.replace('model = "own"', 'model = "own"\ntrust_remote_code = true'), encoding="utf-8")
    predict(read_study(study), tmp_path / "out")
    found = load_predictions(tmp_path / "out" / "predictions")
    dpo = found.probabilities[[one[0] for one in found.members].index("dpo")]
    clean, attacked = (dpo[found.conditions.index(name)] for name in found.conditions if not name.startswith("noise"))
    assert not np.array_equal(clean, attacked)


def test_a_classifier_s_code_runs_only_where_the_regime_says_so(tmp_path):
    layer = save_own_classifier(tmp_path / "own")

    def regime(**settings) -> HfClassifier:
        table = {"name": "c", "family": "hf-classifier", "model": "own", **settings}
        return HfClassifier.model_validate(table, context={"study_folder": tmp_path})

    with pytest.raises(DataError, match=r"own: .*Python code of its own.*trust_remote_code = true"):
        regime().load(FINDINGS)
    assert not (tmp_path / "ran").exists()
    shown = as_images(pictures(2))
    logits = regime(trust_remote_code=True).load(FINDINGS)(shown)
    expected = layer((shown * 2 - 1).mean(dim=(2, 3)))
    torch.testing.assert_close(logits, expected, check_stride=False)
    assert (tmp_path / "ran").exists()
