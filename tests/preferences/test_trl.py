"""Pairs as trl itself reads them: its own collators on what is written, both layouts."""

import json

import numpy as np
import pytest
from PIL import Image

from cxrobust.preferences.files import write_pairs
from cxrobust.preferences.pairs import Pair

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)


@pytest.fixture(scope="module")
def processor(tmp_path_factory):
    from transformers import AutoProcessor

    from tests.inference.tiny_generators import save_llava

    folder = tmp_path_factory.mktemp("llava")
    save_llava(folder)
    return AutoProcessor.from_pretrained(folder, chat_template=TEMPLATE)


def rows(folder, name):
    read = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    for row in read:
        with Image.open(folder / row["image"]) as image:
            row["image"] = image.copy()
    return read


@pytest.mark.parametrize("layout", ["conversation", "text"])
@pytest.mark.filterwarnings("ignore")
def test_trl_reads_pairs_and_unpaired_reports_with_their_images(layout, processor, tmp_path):
    from trl.data_utils import is_conversational
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference
    from trl.trainer.kto_trainer import DataCollatorForVisionUnpairedPreference

    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "a.png")
    pair = Pair(
        image="a", patient="p", chosen=0, rejected=1, chosen_text="large effusion", rejected_text="no nodule",
        chosen_grade=1.0, rejected_grade=0.0,
    )  # fmt: skip
    prompt = "Describe the heart" if layout == "conversation" else "<image> USER: Describe the heart ASSISTANT: "
    write_pairs([pair], tmp_path, prompt=prompt, layout=layout, images={"a": "a.png"})
    pairs = rows(tmp_path, "pairs.jsonl")
    assert is_conversational(pairs[0]) == (layout == "conversation")
    batch = DataCollatorForVisionPreference(processor)(pairs)
    assert batch["pixel_values"].shape[0] == 2  # once for the chosen and once for the rejected report
    said = [
        processor.tokenizer.decode(ids[mask.bool()], skip_special_tokens=True).split()
        for ids, mask in zip(batch["input_ids"], batch["completion_mask"] * batch["attention_mask"], strict=True)
    ]
    assert said[0][:2] == ["large", "effusion"]
    assert said[1][:2] == ["no", "nodule"]
    unpaired = rows(tmp_path, "unpaired.jsonl")
    assert [row["label"] for row in unpaired] == [True, False]
    batch = DataCollatorForVisionUnpairedPreference(processor)(unpaired)
    assert list(batch["label"]) == [True, False]
