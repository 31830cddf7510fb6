"""Vision-language models as classifiers: yes against no as the answer to a question for each finding."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from cxrobust.errors import DataError, require
from cxrobust.inference.models import model_family
from cxrobust.inference.outputs import words_of
from cxrobust.inference.repository_regimes import SizedRegime

if TYPE_CHECKING:
    from cxrobust.inference.graph import PixelClassifier

FINDING, QUESTION, IMAGE = "{finding}", "{question}", "{image}"


@model_family("vlm")
class VisionLanguageModel(SizedRegime):
    """A model of `AutoModelForImageTextToText`, asked one question for each finding.

    The log-odds are log p(yes) − log p(no) of the next token, each summed over the spellings that are one token.
    Resizing, normalisation and the processor's arrangement of pixels (patches) are within the graph.
    """

    code = ("cxrobust.inference.vision_language",)
    reads_texts = True
    family: Literal["vlm"]
    question: str = f"Is there {FINDING}?"
    """`{finding}` stands for the finding's words."""
    words: dict[str, str] = Field(default_factory=dict)
    """Words of a finding in the question; its name in small letters with spaces where absent."""
    prompt: str | None = None
    """What the model reads, with `{image}` and `{question}`; the model's own form of a conversation when absent."""
    yes: tuple[str, ...] = Field(default=("Yes", "yes", " Yes", " yes"), min_length=1)
    """Spellings of yes; those that are one token of the model count."""
    no: tuple[str, ...] = Field(default=("No", "no", " No", " no"), min_length=1)
    """Spellings of no."""

    @model_validator(mode="after")
    def _has_places(self) -> "VisionLanguageModel":
        if FINDING not in self.question:
            raise ValueError(f"question has no {FINDING}: put it where the finding stands")
        if self.prompt is not None and not (QUESTION in self.prompt and IMAGE in self.prompt):
            raise ValueError(f"prompt needs {IMAGE} and {QUESTION}: put them where these stand")
        return self

    def load(self, findings: tuple[str, ...], *, fold: str | None = None) -> "PixelClassifier":
        """Load the model, and ask its processor how it arranges texts and pixels.

        Raises
        ------
        DataError
            When the checkpoint is missing or damaged, or its processor cannot stand within the graph.
        """
        require("torch", group="inference")
        from cxrobust.inference import pretrained, vision_language
        from cxrobust.inference.graph import PixelClassifier

        questions = self.questions_of(findings)
        folder = self.repository(fold).folder
        where = f"regime {self.name!r}, model {folder.name}"
        config = pretrained.read_config(folder, trust_remote_code=self.trust_remote_code)
        processor = vision_language.load_processor(folder, trust_remote_code=self.trust_remote_code)
        yes, no = self._answers(processor, where)
        preprocessing = self.preprocessing(folder, config)
        if (size := preprocessing.image_size) is None:
            raise DataError(f"{where}: it takes images of many sizes: give image_size, for example 448")
        texts = [vision_language.prompt_text(processor, one, prompt=self.prompt) for one in questions]
        asked, order = vision_language.ask(processor, texts, size=size, where=where)
        network = pretrained.load_network(
            folder,
            config=config,
            auto=pretrained.find_generating_auto(config),
            adapter=self.adapter_folder(fold),
            trust_remote_code=self.trust_remote_code,
        )
        network = pretrained.without_wrapper(network)
        answers = vision_language.Answers(
            network, questions=asked, order=order, yes=list(yes.values()), no=list(no.values())
        )
        classifier = PixelClassifier(
            answers,
            columns=range(len(findings)),
            image_size=size,
            mean=preprocessing.mean,
            std=preprocessing.std,
            interpolation=preprocessing.interpolation,
        )
        vision_language.check_arrangement(processor, texts[0], classifier, answers, where=where)
        return classifier.eval().requires_grad_(False)

    def facts(self, *, fold: str | None = None) -> dict[str, Any]:
        """Return what configuration, headers of the weights and tokenizer tell of the network."""
        from cxrobust.inference import vision_language

        folder = self.repository(fold).folder
        processor = vision_language.load_processor(folder, trust_remote_code=self.trust_remote_code)
        yes, no = self._answers(processor, f"regime {self.name!r}, model {folder.name}")
        return {
            **super().facts(fold=fold),
            "asked": vision_language.told_of_texts(processor, [self.question], prompt=self.prompt),
            "answers": {"yes": list(yes), "no": list(no)},
        }

    def _answers(self, processor: Any, where: str) -> tuple[dict[str, int], dict[str, int]]:
        from cxrobust.inference import vision_language

        return vision_language.answer_tokens(processor.tokenizer, yes=self.yes, no=self.no, where=where)

    def questions_of(self, findings: Sequence[str]) -> tuple[str, ...]:
        """Return the question for each finding.

        Raises
        ------
        DataError
            When `words` names a finding that the study does not have.

        Examples
        --------
        >>> VisionLanguageModel(name="vlm", family="vlm", model="llava").questions_of(["Pleural_Thickening"])
        ('Is there pleural thickening?',)
        """
        words = words_of(findings, self.words, where=f"regime {self.name!r}")
        return tuple(self.question.replace(FINDING, one) for one in words)
