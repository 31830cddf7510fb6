"""Report generators: a report of each image, with a probability for each finding that is read from it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from cxrobust.errors import DataError, require
from cxrobust.inference.models import model_family
from cxrobust.inference.outputs import words_of
from cxrobust.inference.repository_regimes import SizedRegime
from cxrobust.radiology_reports.findings import Doubted, observations_of

if TYPE_CHECKING:
    from cxrobust.inference.generation import Generator, Reader, Statements
    from cxrobust.inference.writers import Decoding, Writer

PROMPT = "Write the findings and impression of this chest X-ray."
FINDING, IMAGE, QUESTION = "{finding}", "{image}", "{question}"
ENCODER_DECODER = "vision-encoder-decoder"
"""The type of configuration of a `VisionEncoderDecoderModel`."""


@model_family("generator")
class ReportGenerator(SizedRegime):
    """A model that writes a report: `VisionEncoderDecoderModel`, or one of `AutoModelForImageTextToText`.

    Its report of an image gives a probability for each finding by `confidence`:

    - `token-probability`: the embedded labeler reads which findings the report states, and the mean log-probability of
      its tokens how sure it is;
    - `questions`: p(yes) against p(no) as the answer to a question, as in family `vlm`;
    - `statements`: the probability that a report begins with a sentence that states the finding, against one that
      denies it;
    - `agreement`: the share of sampled reports that state the finding.
    """

    code = (
        "cxrobust.inference.generation",
        "cxrobust.inference.vision_language",
        "cxrobust.inference.writers",
        "cxrobust.inference.written",
        "cxrobust.radiology_reports.findings",
        "cxrobust.radiology_reports.labeler",
        "cxrobust.radiology_reports.phrases",
    )
    writes_reports: ClassVar[bool] = True
    reads_texts = True
    family: Literal["generator"]
    prompt: str | None = None
    """What asks for a report, in words; `Write the findings and impression of this chest X-ray.` when absent."""
    form: str | None = None
    """What the model reads, with `{image}` and, in the place of prompts and questions, `{question}`; the model's own
    form of a conversation when absent."""
    decoding: Literal["greedy", "beam", "sample"] = "greedy"
    beams: int = Field(default=4, ge=2, le=64)
    """Of `beam`: how many texts are followed."""
    temperature: float = Field(default=1.0, gt=0, le=10)
    """Of samples: what logits are divided by."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Of samples: tokens are drawn from the likeliest that together have this probability."""
    max_new_tokens: int = Field(default=256, ge=1, le=100_000)
    """A report is cut off there, and counted."""
    confidence: Literal["token-probability", "questions", "statements", "agreement"] = "token-probability"
    samples: int = Field(default=8, ge=2, le=1000)
    """Of `agreement`: reports that are sampled for each image."""
    observations: dict[str, str] = Field(default_factory=dict)
    """The labeler's observation for a finding whose name is another: `{ Effusion = "Pleural Effusion" }`."""
    doubted: Doubted = "ones"
    """What a doubted finding counts as: `ones` (stated), `zeros` (not stated) or `half`."""
    question: str = f"Is there {FINDING}?"
    """`{finding}` stands for the finding's words; asked for `questions`, and by attacks that aim at findings."""
    present: str = f"There is {FINDING}."
    absent: str = f"There is no {FINDING}."
    """Of `statements`: what states a finding, and what denies it."""
    words: dict[str, str] = Field(default_factory=dict)
    """Words of a finding in question and statements; its name in small letters with spaces where absent."""
    yes: tuple[str, ...] = Field(default=("Yes", "yes", " Yes", " yes"), min_length=1)
    """Spellings of yes; those that are one token of the model count."""
    no: tuple[str, ...] = Field(default=("No", "no", " No", " no"), min_length=1)
    """Spellings of no."""

    @model_validator(mode="after")
    def _fitting(self) -> "ReportGenerator":
        for key in ("question", "present", "absent"):
            if FINDING not in getattr(self, key):
                raise ValueError(f"{key} has no {FINDING}: put it where the finding stands")
        if self.form is not None and not (QUESTION in self.form and IMAGE in self.form):
            raise ValueError(f"form needs {IMAGE} and {QUESTION}: put them where these stand")
        for key, value, keys in (
            ("decoding", "beam", ("beams",)),
            ("confidence", "agreement", ("samples",)),
            ("confidence", "statements", ("present", "absent")),
        ):
            for one in {*keys} & self.model_fields_set if getattr(self, key) != value else ():
                raise ValueError(f'{one} is of use with {key} = "{value}" alone: remove it, or say so')
        if self.confidence == "statements":
            for key in ("question", "yes", "no"):
                if key in self.model_fields_set:
                    raise ValueError(
                        f'{key} is of no use with confidence = "statements", which asks nothing: remove it'
                    )
        if not self.draws:
            for key in ("temperature", "top_p"):
                if key in self.model_fields_set:
                    raise ValueError(
                        f'{key} is of use with decoding = "sample" or confidence = "agreement" alone: remove it, or '
                        f"say so"
                    )
        return self

    @property
    def draws(self) -> bool:
        """Whether reports are sampled, so that the study's seed matters."""
        return self.decoding == "sample" or self.confidence == "agreement"

    def load(self, findings: tuple[str, ...], *, fold: str | None = None) -> "Generator":
        """Load the model and see that it writes, and gives texts the probabilities by which it writes.

        Raises
        ------
        DataError
            When the checkpoint is missing or damaged, its processor cannot stand within the graph, or a finding is none
            that reports are read for.
        """
        require("torch", group="inference")
        from cxrobust.inference import generation, pretrained

        folder = self.repository(fold).folder
        where = f"regime {self.name!r}, model {folder.name}"
        reader = self._reader(findings)
        config = pretrained.read_config(folder, trust_remote_code=self.trust_remote_code)
        is_bare = config.model_type == ENCODER_DECODER
        preprocessing = self.preprocessing(folder, config.encoder if is_bare else config)
        if (size := preprocessing.image_size) is None:
            raise DataError(f"{where}: it takes images of many sizes: give image_size, for example 448")
        network = pretrained.without_wrapper(
            pretrained.load_network(
                folder,
                config=config,
                auto="VisionEncoderDecoderModel" if is_bare else pretrained.find_generating_auto(config),
                adapter=self.adapter_folder(fold),
                trust_remote_code=self.trust_remote_code,
            )
        )

        def generator(writer: "Writer", answers: Any) -> "Generator":
            return generation.Generator(
                writer,
                answers=answers,
                n_findings=len(findings),
                decoding=self._decoding(),
                reader=reader,
                image_size=size,
                mean=preprocessing.mean,
                std=preprocessing.std,
                interpolation=preprocessing.interpolation,
            )

        made = (
            self._without_prompt(network, folder, generator, findings, where)
            if is_bare
            else self._with_prompt(network, folder, generator, findings, size, where)
        )
        generation.check_forced(made, where=where)
        return made.eval().requires_grad_(False)

    def facts(self, *, fold: str | None = None) -> dict[str, Any]:
        """Return what configuration, headers of the weights and, where it takes a prompt, processor tell of it."""
        from cxrobust.inference import pretrained, vision_language

        found = super().facts(fold=fold)
        folder = self.repository(fold).folder
        config = pretrained.read_config(folder, trust_remote_code=self.trust_remote_code)
        if config.model_type == ENCODER_DECODER:
            return found
        processor = vision_language.load_processor(folder, trust_remote_code=self.trust_remote_code)
        asked = [self._prompt, *([self.question] if self.confidence == "questions" else [])]
        return {**found, "asked": vision_language.told_of_texts(processor, asked, prompt=self.form)}

    @property
    def _prompt(self) -> str:
        return PROMPT if self.prompt is None else self.prompt

    def _without_prompt(
        self, network: Any, folder: Path, generator: Any, findings: tuple[str, ...], where: str
    ) -> "Generator":
        from cxrobust.inference import vision_language, writers

        keys = [key for key in ("prompt", "form") if getattr(self, key) is not None]
        keys += ['confidence = "questions"'] if self.confidence == "questions" else []
        for key in keys:
            raise DataError(f"{where}: a VisionEncoderDecoderModel takes no prompt: remove {key}")
        longest = getattr(network.config.decoder, "max_position_embeddings", None)
        if longest is not None and self.max_new_tokens > longest:
            raise DataError(
                f"{where}: its decoder has places for {longest:,} tokens, and max_new_tokens is "
                f"{self.max_new_tokens:,}: write max_new_tokens = {longest} or less"
            )
        tokenizer = vision_language.load_tokenizer(folder, trust_remote_code=self.trust_remote_code)
        writer = writers.EncoderDecoderWriter(network, tokenizer, where=where)
        made: Generator = generator(writer, self._statements(writer, findings))
        return made

    def _with_prompt(
        self,
        network: Any,
        folder: Path,
        generator: Any,
        findings: tuple[str, ...],
        size: tuple[int, int],
        where: str,
    ) -> "Generator":
        from cxrobust.inference import vision_language, writers

        processor = vision_language.load_processor(folder, trust_remote_code=self.trust_remote_code)
        asked = [self._prompt, *self.questions_of(findings)]
        asking = [vision_language.prompt_text(processor, one, prompt=self.form) for one in asked]
        (prompt, *questions), order = vision_language.ask(processor, asking, size=size, where=where)
        writer = writers.ImageTextWriter(network, processor.tokenizer, prompt=prompt, order=order, where=where)
        answers: Any = self._statements(writer, findings)
        if answers is None and (tokens := self._answer_tokens(processor.tokenizer, where)):
            answers = vision_language.Answers(network, questions=questions, order=order, yes=tokens[0], no=tokens[1])
        made: Generator = generator(writer, answers)
        vision_language.check_arrangement(processor, asking[0], made, writer, where=where)
        return made

    def _statements(self, writer: "Writer", findings: tuple[str, ...]) -> "Statements | None":
        """Return what gives statements their log-odds; None where the study asks for another confidence."""
        from cxrobust.inference import generation

        if self.confidence != "statements":
            return None
        words = words_of(findings, self.words, where=f"regime {self.name!r}")
        pairs = [(self.present.replace(FINDING, one), self.absent.replace(FINDING, one)) for one in words]
        return generation.Statements(writer, [writer.statements_of(*pair) for pair in pairs])

    def _answer_tokens(self, tokenizer: Any, where: str) -> tuple[list[int], list[int]] | None:
        """Return the tokens of yes and of no; None where the model has none and nothing needs them."""
        from cxrobust.inference import vision_language

        try:
            yes, no = vision_language.answer_tokens(tokenizer, yes=self.yes, no=self.no, where=where)
        except DataError:
            if self.confidence == "questions" or {"yes", "no"} & self.model_fields_set:
                raise
            return None
        return list(yes.values()), list(no.values())

    def _decoding(self) -> "Decoding":
        from cxrobust.inference.writers import Decoding

        return Decoding(
            samples=self.decoding == "sample",
            beams=self.beams if self.decoding == "beam" else 1,
            most_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
        )

    def read_texts(self, texts: Sequence[str], *, fold: str | None = None) -> list[tuple[int, bool]]:
        """Return of each text how many tokens it has, its end included, and whether the tokenizer has all its words.

        Weights stay unread.

        Raises
        ------
        DataError
            When the tokenizer is missing or damaged.
        """
        from cxrobust.inference import pretrained, vision_language

        folder = self.repository(fold).folder
        config = pretrained.read_config(folder, trust_remote_code=self.trust_remote_code)
        is_bare = config.model_type == ENCODER_DECODER
        load = vision_language.load_tokenizer if is_bare else vision_language.load_processor
        loaded = load(folder, trust_remote_code=self.trust_remote_code)
        tokenizer = loaded if is_bare else loaded.tokenizer
        with pretrained.quiet():  # of a text that is longer than the model reads, which is what is looked for
            read = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
        return [(len(tokens) + 1, tokenizer.unk_token_id not in tokens) for tokens in read]

    def _reader(self, findings: Sequence[str]) -> "Reader":
        from cxrobust.inference.generation import Reader

        read = self.confidence not in {"questions", "statements"}
        where = f"regime {self.name!r}"
        return Reader(
            confidence=self.confidence,
            observations=observations_of(findings, self.observations, where=where) if read else (),
            doubted=self.doubted,
            n_samples=self.samples,
        )

    def questions_of(self, findings: Sequence[str]) -> tuple[str, ...]:
        """Return the question for each finding.

        Raises
        ------
        DataError
            When `words` names a finding that the study does not have.
        """
        words = words_of(findings, self.words, where=f"regime {self.name!r}")
        return tuple(self.question.replace(FINDING, one) for one in words)
