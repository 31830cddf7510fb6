"""Family `generator`: reports and their probabilities by transformers as oracle; draws that belong to the image."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import expit
from transformers import AutoProcessor, AutoTokenizer

from cxrobust.errors import DataError, StudyError
from cxrobust.inference.models.generator import ReportGenerator
from cxrobust.inference.pretrained import quiet
from cxrobust.inference.written import log_odds_by_agreement, log_odds_by_tokens
from cxrobust.radiology_reports.labeler import speaks_english
from cxrobust.study import parse_study
from tests.inference.tiny_generators import VOCABULARY, save_encoder_decoder, save_llava
from tests.inference.tiny_vlms import save_gemma, save_idefics, save_llava_next, save_paligemma, save_qwen

FINDINGS = ("Effusion", "Pneumothorax")
TABLE = {
    "name": "g",
    "family": "generator",
    "model": "model",
    "observations": {"Effusion": "Pleural Effusion"},
    "max_new_tokens": 10,
}
ASKED = {
    "prompt": "Describe the image",
    "form": "{image} USER: {question} ASSISTANT:",
    "question": "Is there {finding} ?",
}
SAVED = {"llava": (save_llava, ASKED), "encoder-decoder": (save_encoder_decoder, {})}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("generators")
    for name, (save, _) in SAVED.items():
        save(made / name)
    return made


def regime_in(folder: Path, kind: str = "llava", **settings) -> ReportGenerator:
    table = {**TABLE, "model": kind, **SAVED.get(kind, (None, {}))[1], **settings}
    return ReportGenerator.model_validate_json(json.dumps(table), context={"study_folder": folder})


def pictures(n: int, side: int = 16) -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.integers(0, 256, (n, side, side), dtype=np.uint8)


def as_images(shown: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(shown[:, None].astype(np.float32) / 255)


def names(n: int) -> list[str]:
    return [f"i{k}" for k in range(n)]


def by_transformers(folder: Path, kind: str, picture: np.ndarray, network, **how) -> tuple[str, float]:
    """Report and mean log-probability of its tokens, as the library documents it."""
    if kind == "llava":
        processor = AutoProcessor.from_pretrained(folder / kind)
        tokenizer = processor.tokenizer
        text = "<image> USER: Describe the image ASSISTANT:"
        inputs = processor(images=Image.fromarray(picture).convert("RGB"), text=text, return_tensors="pt")
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder / kind)
        inputs = {"pixel_values": torch.from_numpy(picture[None, None].astype(np.float32) / 127.5 - 1)}
    with torch.no_grad(), quiet():
        found = network.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=10,
            output_logits=True,
            return_dict_in_generate=True,
            eos_token_id=2,
            pad_token_id=0,
            suppress_tokens=[VOCABULARY["<image>"]] if kind == "llava" else None,
            **how,
        )
    new = found.sequences[0][-len(found.logits) :]
    own = torch.stack(found.logits)[:, 0].log_softmax(dim=1)[torch.arange(len(new)), new]
    return tokenizer.decode(new, skip_special_tokens=True).strip(), float(own.mean())


@pytest.mark.parametrize("kind", SAVED)
def test_greedy_reports_and_probabilities_against_transformers(kind, folder):
    network = SAVED[kind][0](folder / kind)
    loaded = regime_in(folder, kind).load(FINDINGS)
    shown = pictures(4)
    reading = loaded.read(as_images(shown), ids=names(4), seed=0)
    expected = [by_transformers(folder, kind, one, network) for one in shown]
    assert len(set(reading.written.reports)) > 1
    assert list(reading.written.reports) == [text for text, _ in expected]
    np.testing.assert_allclose(reading.written.log_probabilities, [value for _, value in expected], atol=1e-4)
    odds = log_odds_by_tokens(
        reading.written.reports, reading.written.log_probabilities, ("Pleural Effusion", "Pneumothorax"), doubted="ones"
    )
    np.testing.assert_allclose(reading.logits, odds, rtol=1e-6)


@pytest.mark.parametrize("kind", SAVED)
def test_beams_against_transformers(kind, folder):
    network = SAVED[kind][0](folder / kind)
    loaded = regime_in(folder, kind, decoding="beam", beams=3).load(FINDINGS)
    shown = pictures(3)
    reports = loaded.read(as_images(shown), ids=names(3), seed=0).written.reports
    for one, report in zip(shown, reports, strict=True):
        with torch.no_grad(), quiet():
            assert report == by_transformers_beams(folder, kind, one, network)


def by_transformers_beams(folder: Path, kind: str, picture: np.ndarray, network) -> str:
    how = {"num_beams": 3, "do_sample": False, "max_new_tokens": 10, "eos_token_id": 2, "pad_token_id": 0}
    if kind == "llava":
        processor = AutoProcessor.from_pretrained(folder / kind)
        text = "<image> USER: Describe the image ASSISTANT:"
        inputs = processor(images=Image.fromarray(picture).convert("RGB"), text=text, return_tensors="pt")
        found = network.generate(**inputs, **how, suppress_tokens=[VOCABULARY["<image>"]])
        return processor.tokenizer.decode(found[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    pixels = torch.from_numpy(picture[None, None].astype(np.float32) / 127.5 - 1)
    found = network.generate(pixel_values=pixels, **how)
    return AutoTokenizer.from_pretrained(folder / kind).decode(found[0, 1:], skip_special_tokens=True).strip()


@pytest.mark.parametrize(
    "settings", [{}, {"decoding": "beam"}, {"decoding": "sample"}, {"confidence": "agreement", "samples": 3}]
)
@pytest.mark.parametrize("kind", SAVED)
def test_one_image_alone_is_as_in_a_batch(kind, settings, folder):
    loaded = regime_in(folder, kind, **settings).load(FINDINGS)
    images = as_images(pictures(5))
    together = loaded.read(images, ids=names(5), seed=3)
    for row in (0, 3):
        alone = loaded.read(images[[row]], ids=[f"i{row}"], seed=3)
        assert alone.written.reports[0] == together.written.reports[row]
        assert alone.written.faults[0] == together.written.faults[row]
        np.testing.assert_allclose(alone.logits[0], together.logits[row], atol=1e-4)
        np.testing.assert_allclose(
            alone.written.log_probabilities[0], together.written.log_probabilities[row], atol=1e-5
        )


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.6)])
def test_draws_follow_the_probabilities_of_the_network(temperature, top_p, folder):
    settings = {"decoding": "sample", "temperature": temperature, "top_p": top_p, "max_new_tokens": 1}
    loaded = regime_in(folder, **settings).load(FINDINGS)
    n, image = 1200, as_images(pictures(1))
    tokens = loaded.tokens(image.expand(n, -1, -1, -1), ids=names(n), seed=1)
    found = np.bincount([one[0] for one in tokens], minlength=len(VOCABULARY)) / n
    logits = loaded.writer.forced(loaded.prepared(image), torch.tensor([[5]]), torch.tensor([[True]]))[0, 0]
    logits[VOCABULARY["<image>"]] = -torch.inf
    p = (logits.double() / temperature).softmax(dim=0).numpy()
    order = np.argsort(-p)
    kept = order[: int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1] if top_p < 1 else order
    expected = np.zeros_like(p)
    expected[kept] = p[kept] / p[kept].sum()
    assert set(np.flatnonzero(found)) <= set(kept)
    assert np.abs(found - expected).max() < 4 * 0.5 / np.sqrt(n)
    again = loaded.tokens(image.expand(3, -1, -1, -1), ids=names(3), seed=1)
    assert again == tokens[:3]
    assert loaded.tokens(image.expand(n, -1, -1, -1), ids=names(n), seed=2) != tokens


def test_probabilities_are_those_of_the_report_s_own_decisions():
    observations = ("Pleural Effusion", "Pneumothorax", "Edema")
    reports = ("Effusion. No pneumothorax. Possible edema.", "", "Der Befund ist unauffällig.")
    for doubted, edema in (("ones", 0.75), ("zeros", 0.25), ("half", 0.5)):
        odds = log_odds_by_tokens(reports, np.log([0.5, 0.5, 0.5]), observations, doubted=doubted)
        np.testing.assert_allclose(expit(odds), [[0.75, 0.25, edema], *[[0.5 - 2**-20] * 3] * 2], rtol=0, atol=1e-12)
        assert not (expit(odds.astype(np.float32)[1:]) >= 0.5).any()
    sure = log_odds_by_tokens(("Effusion.",), np.array([0.0]), observations, doubted="ones")
    assert np.isfinite(sure).all()
    assert expit(sure)[0].tolist() == pytest.approx([1, 0, 0], abs=1e-9)


def test_agreement_counts_samples_and_is_never_certain():
    samples = [
        ["Effusion.", "Effusion.", "No effusion.", "Possible effusion."],
        ["Clear lungs."] * 3 + [""],
        ["", "Der Befund ist normal.", "", ""],
    ]
    odds = log_odds_by_agreement(samples, ("Pleural Effusion",), doubted="half")
    expected = [(2.5 + 0.5) / 5, (0.5 + 0.5) / 5, 0.5 - 2**-20]
    np.testing.assert_allclose(expit(odds)[:, 0], expected, rtol=0, atol=1e-12)
    assert expit(odds.astype(np.float32))[2, 0] < 0.5


def test_questions_are_those_of_family_vlm(folder):
    from cxrobust.inference.models.vlm import VisionLanguageModel

    images = as_images(pictures(3))
    ours = regime_in(folder, confidence="questions").load(FINDINGS)
    table = {"name": "v", "family": "vlm", "model": "llava", "question": ASKED["question"], "prompt": ASKED["form"]}
    theirs = VisionLanguageModel.model_validate_json(json.dumps(table), context={"study_folder": folder})
    expected = theirs.load(FINDINGS)(images)
    np.testing.assert_allclose(ours.read(images, ids=names(3), seed=0).logits, expected, atol=1e-5)
    torch.testing.assert_close(ours(images), expected)


STATED = {"present": "There is {finding} .", "absent": "There is no {finding} ."}


@pytest.mark.parametrize("kind", SAVED)
def test_statements_against_the_probabilities_of_transformers(kind, folder):
    settings = {**STATED, "confidence": "statements"}
    network = SAVED[kind][0](folder / kind)
    table = {key: value for key, value in SAVED[kind][1].items() if key != "question"}
    regime = {**TABLE, "model": kind, **table, **settings}
    loaded = ReportGenerator.model_validate(regime, context={"study_folder": folder}).load(FINDINGS)
    shown = pictures(3)
    images = as_images(shown)
    expected = [
        [
            by_hand(folder, kind, one, network, f"There is {words} .")
            - by_hand(folder, kind, one, network, f"There is no {words} .")
            for words in ("effusion", "pneumothorax")
        ]
        for one in shown
    ]
    reading = loaded.read(images, ids=names(3), seed=0)
    np.testing.assert_allclose(reading.logits, expected, atol=1e-4)
    assert any(reading.written.reports)
    images.requires_grad_(True)
    (gradient,) = torch.autograd.grad(loaded(images).sum(), images)
    step = 1e-3 * gradient / gradient.norm()
    with torch.no_grad():
        change = (loaded(images + step) - loaded(images - step)).sum()
    torch.testing.assert_close(change, 2 * (gradient * step).sum(), rtol=0.03, atol=0)


def by_hand(folder: Path, kind: str, picture: np.ndarray, network, text: str) -> float:
    """Log-probability that a report begins with a text: its tokens one after the other, each given those before."""
    tokens = [VOCABULARY[word] for word in text.split()]
    total = 0.0
    for place, token in enumerate(tokens):
        before = torch.tensor([tokens[:place]], dtype=torch.long)
        with torch.no_grad(), quiet():
            if kind == "llava":
                processor = AutoProcessor.from_pretrained(folder / kind)
                asked = "<image> USER: Describe the image ASSISTANT:"
                inputs = processor(images=Image.fromarray(picture).convert("RGB"), text=asked, return_tensors="pt")
                ids = torch.cat((inputs["input_ids"], before), dim=1)
                logits = network(input_ids=ids, pixel_values=inputs["pixel_values"]).logits
            else:
                pixels = torch.from_numpy(picture[None, None].astype(np.float32) / 127.5 - 1)
                ids = torch.cat((torch.tensor([[3]]), before), dim=1)
                logits = network(pixel_values=pixels, decoder_input_ids=ids).logits
        total += float(logits[0, -1].log_softmax(dim=0)[token])
    return total


@pytest.mark.parametrize("kind", SAVED)
def test_a_text_ends_with_any_of_several_ends(kind, folder):
    """Its probability is the sum of those with each end, as chats end with another token than texts do."""
    writer = regime_in(folder, kind).load(FINDINGS).writer
    shown, text = as_images(pictures(2)).repeat(1, 1 if kind == "encoder-decoder" else 3, 1, 1), [5, 6, 7]
    with torch.no_grad():
        each = [writer.log_probability_in_all(shown, [[*text, end]] * 2) for end in (2, 9)]
        writer.ends = [2, 9]
        both = [writer.log_probability_in_all(shown, [[*text, end]] * 2) for end in (2, 9)]
    expected = torch.stack(each).logsumexp(dim=0)
    for one in both:
        torch.testing.assert_close(one, expected, rtol=1e-5, atol=1e-5)


def test_another_token_that_ends_reports_makes_another_model(tmp_path):
    save_llava(tmp_path / "llava")
    regime, told = regime_in(tmp_path), tmp_path / "llava" / "generation_config.json"
    before, ends = regime.fingerprint(), regime.load(FINDINGS).writer.ends
    told.write_text(json.dumps({**json.loads(told.read_text()), "eos_token_id": ends[0] + 1}))
    assert regime.load(FINDINGS).writer.ends == [ends[0] + 1]
    assert regime.fingerprint() != before


@pytest.mark.parametrize("kind", SAVED)
def test_gradient_of_a_text_s_probability_against_finite_differences(kind, folder):
    loaded = regime_in(folder, kind).load(FINDINGS)
    images = as_images(pictures(2)).requires_grad_(True)
    texts = [loaded.tokens_of("large left pneumothorax ."), loaded.tokens_of("no effusion")]
    assert [len(text) for text in texts] == [5, 3]
    (gradient,) = torch.autograd.grad(loaded.log_probability(images, texts).sum(), images)
    step = 2e-3 * gradient / gradient.norm()
    with torch.no_grad():
        change = (loaded.log_probability(images + step, texts) - loaded.log_probability(images - step, texts)).sum()
    torch.testing.assert_close(change.float(), 2 * (gradient * step).sum(), rtol=0.03, atol=0)
    alone = loaded.log_probability(images[:1], texts[:1])
    torch.testing.assert_close(alone, loaded.log_probability(images, texts)[:1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("save", [save_qwen, save_gemma, save_paligemma, save_idefics, save_llava_next])
def test_models_whose_processors_arrange_patches_or_type_tokens_write(save, tmp_path):
    save(tmp_path / "other")
    settings = {"observations": {"Effusion": "Pleural Effusion"}, "image_size": 32}
    loaded = regime_in(tmp_path, "other", **settings).load(FINDINGS)
    images = as_images(pictures(3, side=32))
    reading = loaded.read(images, ids=names(3), seed=0)
    alone = loaded.read(images[[2]], ids=["i2"], seed=0)
    assert reading.written.reports[2] == alone.written.reports[0]
    texts = [loaded.tokens_of("no mass")] * 3
    images.requires_grad_(True)
    (gradient,) = torch.autograd.grad(loaded.log_probability(images, texts).sum(), images)
    assert (gradient != 0).flatten(1).any(dim=1).all()
    asked = regime_in(tmp_path, "other", **settings, confidence="questions", question="Is there {finding} ?")
    assert np.isfinite(asked.load(FINDINGS).read(images, ids=names(3), seed=0).logits).all()


@pytest.mark.parametrize("save", [save_qwen, save_gemma, save_paligemma, save_llava_next])
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # PaliGemma's processor
@pytest.mark.parametrize("beams", [1, 3], ids=["greedy", "beam"])
def test_reports_of_other_families_against_transformers(save, beams, tmp_path):
    network = save(tmp_path / "other")
    decoding = {"decoding": "beam", "beams": beams} if beams > 1 else {}
    told = {"observations": {"Effusion": "Pleural Effusion"}, "prompt": "Is there mass ?", "image_size": 32, **decoding}
    loaded = regime_in(tmp_path, "other", **told).load(FINDINGS)
    shown = pictures(4, side=32)
    written = loaded.read(as_images(shown), ids=names(4), seed=0).written
    processor = AutoProcessor.from_pretrained(tmp_path / "other")
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is there mass ?"}]}]
    text = (
        processor.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        if processor.chat_template
        else "<image>Is there mass ?"
    )
    for picture, ours, log_probability in zip(shown, written.reports, written.log_probabilities, strict=True):
        inputs = processor(images=[Image.fromarray(picture).convert("RGB")], text=[text], return_tensors="pt")
        inputs.pop("labels", None)
        with torch.no_grad(), quiet():
            found = network.generate(
                **inputs, do_sample=False, num_beams=beams, max_new_tokens=loaded.decoding.most_tokens,
                eos_token_id=2, pad_token_id=0, suppress_tokens=loaded.writer.never or None,
                return_dict_in_generate=True, output_logits=True,
            )  # fmt: skip
        new = found.sequences[0][inputs["input_ids"].shape[1] :]
        assert ours == processor.tokenizer.decode(new, skip_special_tokens=True).strip()
        if beams == 1:
            own = torch.stack(found.logits)[:, 0].float().log_softmax(dim=1)[range(len(new)), new]
            assert log_probability == pytest.approx(float(own.mean()), abs=1e-4)
    assert len(set(written.log_probabilities)) == 4


def test_probability_of_a_report_of_llava_next_against_transformers(tmp_path):
    network = save_llava_next(tmp_path / "next")
    settings = {"observations": {"Effusion": "Pleural Effusion"}, "image_size": 32, "prompt": "Is there mass ?"}
    loaded = regime_in(tmp_path, "next", **settings).load(FINDINGS)
    report = loaded.tokens_of("no mass there")
    with torch.no_grad():
        found = loaded.log_probability(as_images(pictures(4, side=32)), [report] * 4)
    processor = AutoProcessor.from_pretrained(tmp_path / "next")
    asked = "USER: <image> Is there mass ? ASSISTANT:"
    for picture, ours in zip(pictures(4, side=32), found, strict=True):
        inputs = processor(images=Image.fromarray(picture).convert("RGB"), text=asked, return_tensors="pt")
        n_asked = inputs["input_ids"].shape[1]
        told = {key: inputs[key] for key in ("pixel_values", "image_sizes")}
        with torch.no_grad(), quiet():
            ids = torch.cat((inputs["input_ids"], torch.tensor([list(report)])), dim=1)
            steps = network(input_ids=ids, **told).logits[0, n_asked - 1 : -1].log_softmax(dim=1)
        theirs = steps[range(len(report)), list(report)].mean()
        torch.testing.assert_close(ours.float(), theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "layers"), [("llava", ["q_proj", "fc1"]), ("encoder-decoder", ["q_proj", "query", "value"])]
)
def test_adapter_changes_what_is_written(kind, layers, folder, tmp_path):
    from peft import LoraConfig, get_peft_model

    network = SAVED[kind][0](folder / kind)
    images = as_images(pictures(4))
    plain = regime_in(folder, kind).load(FINDINGS).read(images, ids=names(4), seed=0)
    with quiet():
        adapted = get_peft_model(network, LoraConfig(r=2, target_modules=layers))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(1))
    adapted.save_pretrained(tmp_path / "lora")
    loaded = regime_in(folder, kind, adapter=str(tmp_path / "lora")).load(FINDINGS)
    reports = loaded.read(images, ids=names(4), seed=0).written.reports
    assert reports != plain.written.reports
    assert list(reports) == [by_transformers(folder, kind, one, adapted.eval())[0] for one in pictures(4)]


def test_faults_are_named(folder):
    loaded = regime_in(folder, max_new_tokens=2).load(FINDINGS)
    reading = loaded.read(as_images(pictures(8)), ids=names(8), seed=0)
    assert any("cut off" in faults for faults in reading.written.faults)


def test_samples_of_an_image_are_drawn_apart_from_one_another_and_from_its_report(folder, monkeypatch):
    """Each by a seed of its own, which neither batch nor other images decide."""
    loaded = regime_in(folder, confidence="agreement", samples=3, decoding="sample").load(FINDINGS)
    images, write, seeds = as_images(pictures(4)), loaded.writer.write, []
    monkeypatch.setattr(
        loaded.writer, "write", lambda shown, how, own: seeds.append(tuple(own)) or write(shown, how, own)
    )
    loaded.read(images, ids=names(4), seed=3)
    together = seeds.copy()
    assert len(together) == 1 + 3
    assert len({seed for own in together for seed in own}) == 4 * (1 + 3)
    seeds.clear()
    loaded.read(images[[2]], ids=["i2"], seed=3)
    assert seeds == [own[2:3] for own in together]


def test_samples_that_state_nothing_are_told_beside_the_report(folder, monkeypatch):
    loaded = regime_in(folder, confidence="agreement", samples=3).load(FINDINGS)
    images, write, drawn = as_images(pictures(2)), loaded.writer.write, []

    def draws(shown, decoding, seeds):
        rows = write(shown, decoding, seeds)
        drawn.append([[loaded.writer.ends[0]] if decoding.samples and len(drawn) == 1 else row for row in rows])
        return drawn[-1]

    monkeypatch.setattr(loaded.writer, "write", draws)
    faults = loaded.read(images, ids=names(2), seed=0).written.faults
    assert len(drawn) == 4
    for place, own in enumerate(faults):
        told = [f"with samples {fault}" for fault in ("empty", "not English", "cut off", "very long")]
        texts = [loaded.writer.text_of(sample[place]) for sample in drawn[1:]]
        uncut = [sample[place][-1] in loaded.writer.ends for sample in drawn[1:]]
        assert texts[0] == ""
        assert told[0] in own
        assert (told[1] in own) == any(text and not speaks_english(text) for text in texts)
        assert (told[2] in own) == (not all(uncut))
        assert told[3] not in own


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("llava", {"observations": {}}, "reports are not read for 'Effusion'"),
        ("llava", {"observations": {"Edema": "Edema"}}, "observations names 'Edema', which is no finding"),
        ("encoder-decoder", {"confidence": "questions"}, "takes no prompt: remove confidence"),
        (
            "encoder-decoder",
            {"confidence": "statements", "present": "A {finding} is seen ."},
            "'A effusion is seen .' has a word that its tokenizer lacks",
        ),
        (
            "encoder-decoder",
            {"confidence": "statements", "present": "no {finding}", "absent": "no  {finding}"},
            "it reads 'no effusion' and 'no  effusion' alike",
        ),
        ("encoder-decoder", {"prompt": "Describe"}, "takes no prompt: remove prompt"),
        (
            "encoder-decoder",
            {"max_new_tokens": 5000},
            r"places for \d+ tokens, and max_new_tokens is 5,000: write max_new_tokens = \d+ or less",
        ),
        ("llava", {"confidence": "questions", "yes": ["certainly so"]}, "is one token of the model"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(kind, settings, message, folder):
    with pytest.raises(DataError, match=message) as caught:
        regime_in(folder, kind, **settings).load(FINDINGS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('form = "{image}"', "form needs {image} and {question}"),
        ("beams = 3", 'beams is of use with decoding = "beam" alone'),
        ("samples = 3", 'samples is of use with confidence = "agreement" alone'),
        ("temperature = 0.5", "temperature is of use with"),
        ('question = "Is it?"', "question has no {finding}"),
        ('confidence = "statements"\nabsent = "Clear."', "absent has no {finding}"),
        ('absent = "no {finding}"', 'absent is of use with confidence = "statements" alone'),
        ('confidence = "statements"\nyes = ["Y"]', 'yes is of no use with confidence = "statements"'),
    ],
)
def test_keys_without_their_use_are_refused(line, message, tmp_path):
    text = (
        '[study]\ntitle = "t"\nseed = 1\nreference = "r"\n[data]\nkind = "phantoms"\n[[regimes]]\nname = "r"\n'
        f'family = "generator"\nmodel = "vlm"\n{line}\n'
    )
    with pytest.raises(StudyError) as caught:
        parse_study(text, path=tmp_path / "study.toml")
    assert message in str(caught.value)


def test_facts_tell_what_a_generator_is_asked_for_a_report_and_of_findings(folder):
    given = {"form": "{image} Q: {question}", "prompt": "describe .", "question": "Is there {finding} ?"}
    asked = regime_in(folder, **given).facts()["asked"]
    image = AutoProcessor.from_pretrained(folder / "llava").image_token
    assert asked == {"texts": [f"{image} Q: describe ."], "form": "study"}
    both = regime_in(folder, **given, confidence="questions").facts()["asked"]["texts"]
    assert both == [f"{image} Q: describe .", f"{image} Q: Is there {{finding}} ?"]
    assert "asked" not in regime_in(folder, "encoder-decoder").facts()
