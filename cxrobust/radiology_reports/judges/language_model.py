"""A language model on this machine as a judge of two reports."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import Field

from cxrobust.errors import require
from cxrobust.files import sha256_json
from cxrobust.radiology_reports.judges import Desk, judge
from cxrobust.radiology_reports.judges.asking import Answer, Talk
from cxrobust.study.sections import StudyPath


@judge("language-model")
class LanguageModel(Talk):
    """A causal language model of transformers, which answers greedily."""

    kind: Literal["language-model"]
    model: str = Field(min_length=1)
    """A folder relative to the study file, or a repository of the hub."""
    revision: str | None = None
    adapter: StudyPath | None = None
    batch: int = Field(default=8, ge=1)
    trust_remote_code: bool = False

    def identity(self) -> dict[str, Any]:
        """Return the question and the hashes of the model's files."""
        from cxrobust.inference.checkpoints import adapter_files, hashes, model_files, tokenizer_files

        folder = self._repository().folder
        files = {*model_files(folder, code=self.trust_remote_code), *tokenizer_files(folder)}
        files |= set() if self.adapter is None else set(adapter_files(self.adapter))
        settings = super().identity()
        settings.pop("batch")
        return {**settings, "model": self._repository().name, "files": sha256_json(hashes(sorted(files)))}

    def check(self) -> None:
        """See that the model's files are there."""
        self.identity()

    def ask(self, questions: Mapping[str, str], keep: Callable[[str, Answer], None], desk: Desk) -> None:
        """Let the model answer, questions of similar length together."""
        torch: Any = require("torch", group="inference")
        from cxrobust.inference.pretrained import load_network, quiet, read_config
        from cxrobust.inference.runtime import choose_device, naming_a_mismatch
        from cxrobust.inference.vision_language import load_tokenizer

        folder = self._repository().folder
        device = choose_device(desk.device)
        with naming_a_mismatch():
            tokenizer = load_tokenizer(folder, trust_remote_code=self.trust_remote_code)
            config = read_config(folder, trust_remote_code=self.trust_remote_code)
            model: Any = load_network(
                folder,
                config=config,
                auto="AutoModelForCausalLM",
                adapter=self.adapter,
                trust_remote_code=self.trust_remote_code,
            ).to(device)
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        texts = {key: self._text(tokenizer, question) for key, question in questions.items()}
        lengths = {key: len(tokenizer.encode(text, add_special_tokens=False)) for key, text in texts.items()}
        longest = getattr(config.get_text_config(), "max_position_embeddings", None) or max(lengths.values()) + 2**20
        for key in (key for key, length in lengths.items() if length + self.max_tokens > longest):
            keep(key, Answer(text=None, why=f"a question longer than the model's {longest:,} tokens"))
        fitting = [key for key, length in lengths.items() if length + self.max_tokens <= longest]
        ordered = sorted(fitting, key=lambda key: (lengths[key], key))
        for start in range(0, len(ordered), self.batch):
            keys = ordered[start : start + self.batch]
            asked = tokenizer(
                [texts[key] for key in keys], return_tensors="pt", padding=True, add_special_tokens=False
            ).to(device)
            n = asked["input_ids"].shape[1]
            with quiet(), torch.inference_mode():
                written = model.generate(
                    input_ids=asked["input_ids"],
                    attention_mask=asked["attention_mask"],
                    max_new_tokens=self.max_tokens,
                    do_sample=False,
                    num_beams=1,
                    pad_token_id=tokenizer.pad_token_id,
                )
            for key, tokens in zip(keys, written[:, n:], strict=True):
                keep(key, Answer(text=tokenizer.decode(tokens, skip_special_tokens=True)))

    def _text(self, tokenizer: Any, question: str) -> str:
        """Return what the model reads: its own form of a conversation, where it has one."""
        if getattr(tokenizer, "chat_template", None):
            return str(
                tokenizer.apply_chat_template(self.messages(question), tokenize=False, add_generation_prompt=True)
            )
        return f"{tokenizer.bos_token or ''}{question}\n"

    def _repository(self) -> Any:
        from cxrobust.inference.repositories import TOKENIZER_FILES, Repository

        return Repository(
            model=self.model,
            study_folder=self._study_folder,
            revision=self.revision,
            code=self.trust_remote_code,
            patterns=TOKENIZER_FILES,
        )
