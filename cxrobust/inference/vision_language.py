"""Vision-language models as classifiers: log-odds of yes against no as the next token after a question."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cxrobust.errors import DataError, require
from cxrobust.inference.checkpoints import one_line, tokenizer_files
from cxrobust.inference.graph import PixelClassifier
from cxrobust.inference.pretrained import own_code_refused, quiet

PIXELS, TO_LEARN = "pixel_values", "labels"
"""What a processor gives of images, and (PaliGemma's) of texts to be trained on."""
UNTOUCHED = {"do_resize": False, "do_center_crop": False}
LARGEST_EXACT = 2**24
"""Whole numbers up to here are exact in single precision."""


class Answers(nn.Module):
    """A vision-language model as a network: prepared images to the log-odds of yes against no for each question.

    Parameters
    ----------
    network
        A model of `AutoModelForImageTextToText`.
    questions
        For each question, what the processor gives for one image, without its pixels.
    order
        Which pixel of an image, numbered through channels, rows and columns, stands where in the processor's pixels.
    yes, no
        Tokens that count as either answer.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        questions: Sequence[Mapping[str, Tensor]],
        order: Tensor,
        yes: Sequence[int],
        no: Sequence[int],
    ) -> None:
        super().__init__()
        self.network = network
        self.keys = [tuple(question) for question in questions]
        for index, question in enumerate(questions):
            for key, value in question.items():
                self.register_buffer(f"question_{index}_{key}", value, persistent=False)
        self.register_buffer("order", order, persistent=False)
        self.order: Tensor
        self.yes, self.no = list(yes), list(no)
        asked = inspect.signature(network.forward).parameters
        self.takes_encoded = "mm_encoder_outputs" in asked and hasattr(self._core, "get_image_features")
        self.last_alone = {"logits_to_keep": 1} if "logits_to_keep" in asked else {}

    def forward(self, images: Tensor) -> Tensor:
        """Return the log-odds (n, n_questions) of images (n, channels, height, width) that are prepared.

        Images pass the encoder once for all questions, where the model takes them so. For gradients, each question's
        pass is computed again, so that memory does not grow with their number.
        """
        pixels = self.arranged(images)
        repeated = [self._repeated(index, len(images)) for index in range(len(self.keys))]
        shared: Any = {PIXELS: pixels}
        if self.takes_encoded:
            shared = {"mm_encoder_outputs": {"image": self._encoded(pixels, repeated[0])}}
        answers = []
        for question in repeated:
            if torch.is_grad_enabled() and len(repeated) > 1:
                one = checkpoint(self._answer, question, shared, use_reentrant=False, preserve_rng_state=False)
            else:
                one = self._answer(question, shared)
            answers.append(one)
        return torch.stack(answers, dim=1)

    def arranged(self, images: Tensor) -> Tensor:
        """Return prepared images as the processor arranges them, for example as patches."""
        return arrange(images, self.order)

    def _answer(self, question: dict[str, Tensor], shared: dict[str, Any]) -> Tensor:
        shared = {key: dict(value) if isinstance(value, dict) else value for key, value in shared.items()}
        logits = self.network(**question, **shared, **self.last_alone, use_cache=False).logits[:, -1]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        answer: Tensor = logits[:, self.yes].logsumexp(dim=1) - logits[:, self.no].logsumexp(dim=1)
        return answer

    def _encoded(self, pixels: Tensor, question: dict[str, Tensor]) -> Any:
        core: Any = self._core
        wanted = inspect.signature(core.get_image_features).parameters
        also = {key: value for key, value in question.items() if key in wanted}
        return core.get_image_features(pixel_values=pixels, return_dict=True, **also)

    def _repeated(self, index: int, n_images: int) -> dict[str, Tensor]:
        found = {}
        for key in self.keys[index]:
            value: Tensor = getattr(self, f"question_{index}_{key}")
            found[key] = value.repeat(n_images, *(1 for _ in value.shape[1:]))
        return found

    @property
    def _core(self) -> Any:
        return getattr(self.network, "base_model", self.network)


def load_processor(folder: Path, *, trust_remote_code: bool) -> Any:
    """Return what puts texts and images together for a model.

    Raises
    ------
    DataError
        When its files are missing or damaged.
    """
    processor = _loaded(folder, "AutoProcessor", "processor", trust_remote_code=trust_remote_code)
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise DataError(f"{folder}: {type(processor).__name__} is no processor of images and texts: save it again")
    return processor


def load_tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    """Return the tokenizer of a model without a processor of images and texts.

    Raises
    ------
    DataError
        When its files are missing or damaged.
    """
    return _loaded(folder, "AutoTokenizer", "tokenizer", trust_remote_code=trust_remote_code)


def _loaded(folder: Path, auto: str, what: str, *, trust_remote_code: bool) -> Any:
    transformers = require("transformers", group="inference")
    tokenizer_files(folder)
    try:
        with quiet():
            return getattr(transformers, auto).from_pretrained(
                folder, local_files_only=True, trust_remote_code=trust_remote_code
            )
    except Exception as error:  # transformers raises errors of many types for missing or damaged files
        raise own_code_refused(folder, error) or DataError(
            f"{folder}: the {what} cannot be loaded ({one_line(error)}): save it beside the model"
        ) from error


def arrange(images: Tensor, order: Tensor) -> Tensor:
    """Return prepared images as a processor arranges them, for example as patches; `order` is that of `ask`."""
    pixels = images.flatten(1)[:, order.flatten()]
    return pixels.reshape(len(images) * order.shape[0], *order.shape[1:])


def prompt_text(processor: Any, question: str, *, prompt: str | None) -> str:
    """Return what the model reads: the question and the image's place, in the model's own form of a conversation."""
    image = str(getattr(processor, "image_token", None) or "<image>")
    if prompt is not None:
        return prompt.replace("{image}", image).replace("{question}", question)
    if not getattr(processor, "chat_template", None):
        return f"{image}{question}"
    content = [{"type": "image"}, {"type": "text", "text": question}]
    text: str = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return text


def told_of_texts(processor: Any, asked: Sequence[str], *, prompt: str | None) -> dict[str, Any]:
    """Return the texts that the processor is given with an image for what is asked, and what their form is from.

    `form` is `study` (a prompt of the study file), `template` (the processor's chat template) or `none`.
    """
    form = "study" if prompt is not None else "template" if getattr(processor, "chat_template", None) else "none"
    return {"texts": [prompt_text(processor, one, prompt=prompt) for one in asked], "form": form}


def ask(processor: Any, texts: Sequence[str], *, size: tuple[int, int], where: str) -> tuple[list[Any], Tensor]:
    """Return what the processor gives for one image and each text, without pixels, and how it arranges pixels.

    The arrangement is found by sending the processor an image of numbers, unscaled and not normalised.

    Raises
    ------
    DataError
        When the processor fails, or does more to an image of its size than to arrange pixels.
    """
    if 3 * size[0] * size[1] >= LARGEST_EXACT:
        raise DataError(f"{where}: images of {size[0]} × {size[1]} pixels are too large: lower image_size")
    found = [_processed_numbers(processor, text, size, where=where) for text in texts]
    order = _order(found[0][PIXELS], size)
    if order is None:
        whole = _size_of_one_tile(processor, texts[0], size, where=where)
        raise _not_an_arrangement(where, size, whole=whole, tile=_tile_of_a_grid(processor))
    questions = [
        {key: v for key, v in one.items() if isinstance(v, Tensor) and key not in {PIXELS, TO_LEARN}} for one in found
    ]
    return questions, order


def _processed_numbers(processor: Any, text: str, size: tuple[int, int], *, where: str) -> dict[str, Any]:
    """Return what the processor makes of an image whose values count from 1, so that 0 can only be padding."""
    numbers = torch.arange(1, 3 * size[0] * size[1] + 1, dtype=torch.float32).reshape(3, *size)
    plain = {**UNTOUCHED, "do_rescale": False, "do_normalize": False}
    found = dict(_process(processor, text, numbers, plain, where=where))
    if PIXELS not in found:
        raise DataError(f"{where}: its processor gives no {PIXELS}: this model needs a family of its own")
    return found


def _order(arranged: Any, size: tuple[int, int]) -> Tensor | None:
    """Return which pixel stands where, None where a value is no pixel's own: padded, or mixed of several."""
    order = torch.as_tensor(arranged)
    is_whole = torch.equal(order, order.round()) and order.min() >= 1 and order.max() <= 3 * size[0] * size[1]
    return order.long() - 1 if is_whole else None


def _size_of_one_tile(processor: Any, text: str, size: tuple[int, int], *, where: str) -> int | None:
    """Return a smaller side at which the processor only arranges pixels, as of one that cuts larger images into tiles.

    None where there is none among the sizes that it names.
    """
    for key in ("max_image_size", "crop_size", "size"):
        told: Any = getattr(processor.image_processor, key, None) or {}
        for side in {told.get(name) for name in ("height", "longest_edge", "shortest_edge")} - {None}:
            if side >= min(size):
                continue
            try:
                found = _processed_numbers(processor, text, (side, side), where=where)
            except DataError:
                continue
            if _order(found[PIXELS], (side, side)) is not None:
                return int(side)
    return None


def _tile_of_a_grid(processor: Any) -> int | None:
    """Return the side of a tile of LLaVA-NeXT, which lays every image on a grid of tiles; None of other processors."""
    if not getattr(processor.image_processor, "image_grid_pinpoints", None):
        return None
    told: Any = getattr(processor.image_processor, "crop_size", None) or {}
    side: int | None = told.get("height")
    return side


class Arranging(Protocol):
    """What puts prepared images as a processor arranges them."""

    def arranged(self, images: Tensor) -> Tensor:
        """Return the processor's pixels."""


def check_arrangement(
    processor: Any, text: str, classifier: PixelClassifier, arranging: Arranging, *, where: str
) -> None:
    """Raise where the graph's pixels are not those that the processor makes of the same image.

    Raises
    ------
    DataError
        Naming the largest difference.
    """
    height, width = classifier.image_size or (0, 0)
    image = torch.randint(0, 256, (1, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    theirs = _process(processor, text, image.expand(3, -1, -1).contiguous(), UNTOUCHED, where=where)[PIXELS]
    ours = arranging.arranged(classifier.prepared(image[None].float() / 255))
    if ours.shape != theirs.shape or float((ours - theirs).abs().max()) > 1e-3:
        raise _not_an_arrangement(where, (height, width))


def answer_tokens(
    tokenizer: Any, *, yes: Sequence[str], no: Sequence[str], where: str
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the answers yes and no that are one token each, and that token; others are left aside.

    Raises
    ------
    DataError
        When none of a side is one known token, or one is an answer of both.
    """
    positive, negative = (_single_tokens(tokenizer, side, where=where) for side in (yes, no))
    if both := set(positive.values()) & set(negative.values()):
        raise DataError(f"{where}: token {min(both)} is an answer of both yes and no: give other spellings")
    return positive, negative


def _single_tokens(tokenizer: Any, answers: Sequence[str], *, where: str) -> dict[str, int]:
    """Return a spelling of each token, the first where several are the same token."""
    found: dict[int, str] = {}
    for answer in answers:
        ids = tokenizer.encode(answer, add_special_tokens=False)
        if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
            found.setdefault(int(ids[0]), answer)
    if not found:
        raise DataError(f"{where}: none of the answers {list(answers)} is one token of the model: give others")
    return {answer: token for token, answer in found.items()}


def _process(processor: Any, text: str, image: Tensor, how: Mapping[str, bool], *, where: str) -> Any:
    begin = processor.tokenizer.bos_token
    texts = {"add_special_tokens": False} if begin and text.startswith(begin) else {}
    try:
        with quiet():
            return processor(
                images=[image], text=[text], return_tensors="pt", images_kwargs=dict(how), text_kwargs=texts
            )
    except Exception as error:  # a processor raises errors of many types
        raise DataError(
            f"{where}: its processor failed on {text!r} with {type(error).__name__} ({one_line(error, most=160)}): "
            f"correct prompt or image_size"
        ) from error


def _not_an_arrangement(
    where: str, size: tuple[int, int], *, whole: int | None = None, tile: int | None = None
) -> DataError:
    if whole is not None:
        mend = f"give image_size = {whole}, at which it takes an image whole"
    elif tile is not None:
        mend = (
            f"set image_grid_pinpoints to [[{tile}, {tile}]] in its config.json and its processor's file, and give "
            f"image_size = {tile}, at which it then takes an image whole"
        )
    else:
        mend = "choose a model or image_size for which it does not"
    return DataError(
        f"{where}: its processor does more to an image of {size[0]} × {size[1]} pixels than to resize, normalise and "
        f"arrange pixels (it cuts it into tiles, or pads it), and that cannot stand in the graph: {mend}"
    )
