"""A whole checkpoint: text in, labels out."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer

from sentiment_hf.arguments import check_kind, check_whole, listed_texts
from sentiment_hf.backend import pick_backend
from sentiment_hf.checkpoint.card import write_card
from sentiment_hf.checkpoint.download import find_checkpoint
from sentiment_hf.checkpoint.folder import read_config, saved_checkpoint
from sentiment_hf.checkpoint.records import drop_other_records
from sentiment_hf.checkpoint.tokenizer_file import read_tokenizer, write_tokenizer
from sentiment_hf.checkpoint.upload import PushToHubMixin
from sentiment_hf.checkpoint.weights import weights_checksum, write_network
from sentiment_hf.data.tokenization import encode_texts, readable, shortened, slices_of
from sentiment_hf.errors import SentimentError
from sentiment_hf.export.onnx_folder import read_graph
from sentiment_hf.model.config import LSTMConfig
from sentiment_hf.model.onnx_network import OnnxNetwork

if TYPE_CHECKING:
    from torch import Tensor

    from sentiment_hf.checkpoint.pretrained import LSTMForSequenceClassification
    from sentiment_hf.reading.explanation import Explanation
    from sentiment_hf.reading.trace import Step
    from sentiment_hf.reading.trajectory import Point

LABEL_COLUMN, SCORE_COLUMN = "predicted_label", "predicted_score"
_NOT_GIVEN: Any = object()


class SentimentPipeline(PushToHubMixin):
    """A network with its tokenizer.

    Args:
        network: in evaluation mode, on the device that is to compute.
        tokenizer: whose ids the network was trained on.
    """

    backend = "torch"

    def __init__(self, network: "LSTMForSequenceClassification", tokenizer: Tokenizer) -> None:
        self.network = network
        self.tokenizer = tokenizer

    @property
    def config(self) -> LSTMConfig:
        return self.network.config

    @property
    def label_names(self) -> list[str]:
        """What the labels are called, in the order of `probabilities`."""
        return self.config.label_names

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        *,
        device: str | None = None,
        dtype: str | None = None,
        backend: str = "torch",
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> "SentimentPipeline":
        """Loads a checkpoint, strictly.

        Args:
            model: a checkpoint folder or a Hub id; the reference checkpoint by default.
            device: `cpu`, `cuda`, ...; the best one at hand by default.
            dtype: `float32` (the default) or `bfloat16`, which is faster where the hardware has it.
            backend: `torch`, `onnx` (ONNX Runtime on the CPU, the same answers without importing
                torch; extra `onnx`), or `auto`: `onnx` where it is installed and neither `device`
                nor `dtype` is given.
            revision, token, cache_dir, local_files_only, force_download: as in `find_checkpoint`.

        Raises:
            SentimentError: a file is missing, damaged, or does not fit the others.
        """
        folder = find_checkpoint(
            model, revision=revision, token=token, cache_dir=cache_dir,
            local_files_only=local_files_only, force_download=force_download,
        )  # fmt: skip
        config = read_config(folder)
        tokenizer = read_tokenizer(folder, config)
        if pick_backend(backend, folder, device, dtype) == "onnx":
            return OnnxPipeline(OnnxNetwork(config, read_graph(folder, config)), tokenizer)
        from sentiment_hf.checkpoint.pretrained import move_network, read_network
        from sentiment_hf.model.device import pick_device, pick_dtype
        from sentiment_hf.model.memory import keep_few_shapes

        keep_few_shapes()
        network = read_network(folder, config)
        move_network(network, pick_device(device), pick_dtype(dtype or "float32"))
        return cls(network, tokenizer)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes `config.json`, `model.safetensors`, the tokenizer's two files and a card."""
        with saved_checkpoint(folder) as new:
            self.write(new)
            drop_other_records(new)
            write_card(new)

    def write(self, folder: Path) -> None:
        """Writes `save_pretrained`'s files but the card into a folder that is being filled."""
        write_tokenizer(folder, self.tokenizer)
        write_network(folder, self.network)

    def __call__(
        self,
        texts: str | Sequence[str],
        *,
        top_k: int | None = _NOT_GIVEN,
        batch_size: int | None = None,
    ) -> list[Any]:
        """Labels with scores, in the shape of `transformers`' text classification pipeline.

        Args:
            texts: one text, or a list of texts.
            top_k: that many labels a text, best first; None gives all of them.
            batch_size: at most that many texts in one forward pass.

        Returns:
            One text: `[{"label": ..., "score": ...}]`, a dictionary for each of the top k labels.
            A list: one dictionary a text, or a list of dictionaries a text where `top_k` is given.
        """
        if top_k is not _NOT_GIVEN:
            check_whole("top_k", top_k, least=0)
        probabilities = np.asarray(self.probabilities(texts, batch_size=batch_size))
        names = self.config.label_names
        count = 1 if top_k is _NOT_GIVEN else top_k
        best = np.argsort(-probabilities, axis=-1, kind="stable")[:, :count]
        answers = (
            [{"label": names[i], "score": float(row[i])} for i in ids]
            for row, ids in zip(probabilities, best, strict=True)
        )
        if isinstance(texts, str):
            return next(answers)
        return [answer[0] for answer in answers] if top_k is _NOT_GIVEN else list(answers)

    def annotate(self, batch: Any, text_column: str = "text") -> Any:
        """For `dataset.map(pipe.annotate, batched=True)`: the answer beside each row.

        The cache of `datasets` knows the answers by the content of the checkpoint; `num_proc` and
        `fn_kwargs={"text_column": ...}` work as they do with any function.

        Returns:
            `predicted_label` (a name) and `predicted_score`, None for a text that is None; where
            the batch is a table of pandas or Arrow, the table with the two as its last columns.

        Raises:
            SentimentError: there is no such column, or one of the two is there already.
        """
        is_arrow, is_pandas = hasattr(batch, "append_column"), hasattr(batch, "assign")
        if not (hasattr(batch, "keys") or is_arrow):
            raise SentimentError(
                f"`batch` must be the columns of some rows, not a {type(batch).__name__}: use it"
                " with `dataset.map(pipe.annotate, batched=True)`."
            )
        check_kind("text_column", text_column, str, "a name (in `map` no with_indices, with_rank)")
        columns = batch.column_names if is_arrow else list(batch.keys())
        refuse_answers(columns)
        if text_column not in columns:
            raise SentimentError(
                f"There is no column {text_column!r}, but {', '.join(map(str, columns))}; name it"
                ' with fn_kwargs={"text_column": ...}.'
            )
        ids, scores = self.best(batch[text_column])
        names = self.config.label_names
        labels = [None if i is None else names[i] for i in ids]
        answers = {LABEL_COLUMN: labels, SCORE_COLUMN: scores}
        # Of a table `map` keeps what comes back alone.
        if is_arrow:
            for name, values in answers.items():
                batch = batch.append_column(name, [values])
            return batch
        return batch.assign(**answers) if is_pandas else answers

    def best(
        self, texts: Sequence[str | None], *, batch_size: int | None = None
    ) -> tuple[list[int | None], list[float | None]]:
        """Class id and score of each text's label; None for None."""
        texts = listed_texts(texts, rows=True)
        given = [text for text in texts if text is not None]
        probabilities = np.asarray(self.probabilities(given, batch_size=batch_size))
        ids = iter(probabilities.argmax(axis=-1).tolist())
        scores = iter(probabilities.max(axis=-1).tolist())
        return (
            [None if text is None else next(ids) for text in texts],
            [None if text is None else next(scores) for text in texts],
        )

    def checksum(self) -> str:
        """The sha256 of all that the answers depend on: weights, configuration, tokenizer."""
        parts = [self.config.to_dict(), self.tokenizer.to_str(), self._network_checksum()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _weights(self) -> dict[str, np.ndarray]:
        return {name: t.float().cpu().numpy() for name, t in self.network.state_dict().items()}

    def _network_checksum(self) -> str:
        return weights_checksum(self._weights())

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled, for other processes and for the cache of `datasets`: the content."""
        weight = self.network.linear.weight
        return {
            "config": self.config.to_dict(),
            "tokenizer": self.tokenizer.to_str(),
            "weights": self._weights(),
            "device": str(weight.device),
            "dtype": str(weight.dtype).removeprefix("torch."),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        from sentiment_hf.checkpoint.pretrained import move_network, network_of
        from sentiment_hf.model.device import pick_dtype

        # joblib gives memory that cannot be written.
        weights = {name: np.array(values) for name, values in state["weights"].items()}
        self.network = network_of(LSTMConfig.from_dict(state["config"]), weights)
        move_network(self.network, state["device"], pick_dtype(state["dtype"]))
        self.tokenizer = Tokenizer.from_str(state["tokenizer"])

    def trace(
        self, texts: str | Sequence[str], labels: Sequence[int] | None = None
    ) -> "list[Step]":
        """The steps from the texts to the verdicts; see `sentiment_hf.reading.layers`."""
        from sentiment_hf.reading.layers import trace_texts

        several = [shortened(readable(text)) for text in listed_texts(texts)]
        if not several:
            raise SentimentError("There is no text to follow through the network.")
        if labels is not None and len(labels) != len(several):
            raise SentimentError(f"There are {len(several)} texts, but {len(labels)} labels.")
        return trace_texts(self.network, self.tokenizer, several, labels)

    def trajectory(self, text: str) -> "list[Point]":
        """The probability of the second label after each word of a text, at most 200 points."""
        from sentiment_hf.reading.trajectory import trajectory

        check_kind("text", text, str, "one text")
        return trajectory(self.network, self.tokenizer, shortened(readable(text)))

    def explain(self, text: str) -> "Explanation":
        """What each word of a text contributes to its label (extra `explain`)."""
        from sentiment_hf.reading.explanation import explain

        check_kind("text", text, str, "one text")
        return explain(self.network, self.tokenizer, shortened(readable(text)))

    def probabilities(
        self, texts: Sequence[str], *, batch_size: int | None = None
    ) -> "Tensor | np.ndarray":
        """Calibrated probabilities `(len(texts), num_labels)` in float32 on the CPU.

        A tensor, with the ONNX backend an array.
        """
        return self.network.probabilities(self.logits(texts, batch_size=batch_size))  # type: ignore[arg-type]

    def logits(
        self, texts: Sequence[str], *, batch_size: int | None = None
    ) -> "Tensor | np.ndarray":
        """Logits of each text, in order: `(len(texts),)` for two labels, else with `num_labels`."""
        import torch

        from sentiment_hf.model.inference import predict_logits

        predict = partial(predict_logits, self.network, batch_size=batch_size)
        return torch.cat([*map(predict, self._encoded_slices(texts))])

    def _encoded_slices(self, texts: Sequence[str]) -> Iterator[list[np.ndarray]]:
        """Ids of the texts, some at a time: memory does not grow with the number of texts."""
        for some in slices_of([shortened(text) for text in listed_texts(texts)]):
            yield [np.asarray(ids, dtype=np.int32) for ids in encode_texts(self.tokenizer, some)]


class OnnxPipeline(SentimentPipeline):
    """What `from_pretrained(..., backend="onnx")` gives: the same answers without torch.

    Reading between the layers, saving and pushing need the torch network: they are refused.
    """

    backend = "onnx"

    def __init__(self, onnx_network: OnnxNetwork, tokenizer: Tokenizer) -> None:
        self.onnx_network = onnx_network
        self.tokenizer = tokenizer

    @property
    def network(self) -> Any:  # type: ignore[override]
        raise SentimentError(
            "The ONNX backend only predicts: load the checkpoint with `backend` 'torch' to look"
            " inside, to save or to push it."
        )

    @property
    def config(self) -> LSTMConfig:
        return self.onnx_network.config

    def logits(self, texts: Sequence[str], *, batch_size: int | None = None) -> np.ndarray:
        predict = partial(self.onnx_network.predict_logits, batch_size=batch_size)
        return np.concatenate([*map(predict, self._encoded_slices(texts))])

    def probabilities(self, texts: Sequence[str], *, batch_size: int | None = None) -> np.ndarray:
        return self.onnx_network.probabilities(self.logits(texts, batch_size=batch_size))

    def _network_checksum(self) -> str:
        return hashlib.sha256(self.onnx_network.graph).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "tokenizer": self.tokenizer.to_str(),
            "graph": self.onnx_network.graph,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        config, tokenizer = LSTMConfig.from_dict(state["config"]), state["tokenizer"]
        self.__init__(OnnxNetwork(config, state["graph"]), Tokenizer.from_str(tokenizer))  # type: ignore[misc]


def refuse_answers(columns: Iterable[str]) -> None:
    """Refuses a data set whose columns the answers would replace."""
    for name in columns:
        if name in (LABEL_COLUMN, SCORE_COLUMN):
            raise SentimentError(
                f"The data set has a column {name!r} already; rename it or remove it first."
            )
