"""The network through ONNX Runtime: logits of many texts on the CPU, without torch."""

import numpy as np

from sentiment_hf.arguments import check_whole
from sentiment_hf.data.batching import EncodedRows, pad_rows, texts_of_like_length
from sentiment_hf.errors import SentimentError, first_line, needs_extra
from sentiment_hf.model.config import LSTMConfig
from sentiment_hf.model.workers import WORDS_PER_BATCH, Batch, answer_batches, threads_at_once

INPUTS = ["attention_mask", "input_ids"]


class OnnxNetwork:
    """What a graph of `build_graph` answers.

    Args:
        config: of the same checkpoint.
        graph: the content of `model.onnx`.

    Raises:
        SentimentError: onnxruntime is not installed, or the graph is not the configuration's.
    """

    def __init__(self, config: LSTMConfig, graph: bytes) -> None:
        with needs_extra("onnx", "The ONNX backend needs onnxruntime"):
            import onnxruntime
        self.config = config
        self.graph = graph
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_mem_pattern = False  # It keeps a plan for each shape of a batch.
        options.log_severity_level = 4  # What goes wrong is raised as well.
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # Each failure has a class of its own, in a private module.
            raise SentimentError(f"The ONNX graph cannot be run: {first_line(error)}.") from error
        inputs = sorted(value.name for value in self._session.get_inputs())
        outputs = [(value.name, value.shape[-1:]) for value in self._session.get_outputs()]
        if inputs != INPUTS or outputs != [("logits", [config.num_labels])]:
            raise SentimentError("The ONNX graph is not one of this checkpoint's configuration.")

    def predict_logits(
        self, rows: EncodedRows | list[np.ndarray], *, batch_size: int | None = None
    ) -> np.ndarray:
        """As `predict_logits` of `sentiment_hf.model.inference`, as an array."""
        check_whole("batch_size", batch_size)
        config = self.config
        logits = np.empty((len(rows), config.num_labels), dtype=np.float32)
        batches = texts_of_like_length(rows, config.max_length, WORDS_PER_BATCH, batch_size)
        for numbers, answers in answer_batches(self._answer, batches, threads_at_once()):
            logits[numbers] = answers * np.float32(config.temperature)
        return logits[:, 1] if config.num_labels == 2 else logits

    def _answer(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        numbers, texts = batch
        input_ids = pad_rows(texts)
        lengths = np.array([len(ids) for ids in texts])
        mask = (np.arange(input_ids.shape[1]) < lengths[:, None]).astype(np.int64)
        inputs = {"input_ids": input_ids, "attention_mask": mask}
        return numbers, self._session.run(["logits"], inputs)[0]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities `(batch, num_labels)` in float32."""
        scaled = logits / np.float32(self.config.temperature)
        if self.config.num_labels == 2:
            scaled = np.stack([np.zeros_like(scaled), scaled], axis=-1)
        powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)
