"""What finetune_teacher.py and adapt_encoder.py share: the base encoder, and how they resume."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from transformers import AutoTokenizer, TrainingArguments

from sentiment_hf.checkpoint.files import read_json, write_json
from sentiment_hf.checkpoint.folder import CONFIG_FILE
from sentiment_hf.checkpoint.weights import weights_checksum
from sentiment_hf.errors import HUB_TIMEOUT_SECONDS, SentimentError, first_line, hub_errors
from sentiment_hf.model.device import pick_device, pick_training_dtype

BASE = "sentence-transformers/all-MiniLM-L6-v2"
REQUEST_FILE = "request.json"
STEPS_FOLDER = "steps"
# What a request knows by checksums and fingerprints, which say nothing to a reader.
CHANGED = {
    "data": "read other data: the data has changed",
    "texts": "read other texts: the texts have changed",
    "base_sha256": "began with another `base`: the encoder has changed",
}


def load_tokenizer(base: str, *needed: str) -> Any:
    """The tokenizer of an encoder.

    Says in one sentence what transformers says in a minute of attempts without the Hub.

    Raises:
        SentimentError: `base` is no folder, and is neither on the Hub nor in its cache; or it has
            no tokenizer with words and the special tokens that are needed.
    """
    if not Path(base).is_dir():
        with hub_errors(f"the encoder {base!r}", without_hub="name a folder with `base`"):
            if not isinstance(try_to_load_from_cache(base, CONFIG_FILE), str):
                HfApi().model_info(base, timeout=HUB_TIMEOUT_SECONDS)
    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
    except Exception as error:  # Each kind of damage has an exception of its own.
        reason = first_line(error).rstrip(" :")
        raise SentimentError(
            f"The encoder {base!r} has no tokenizer that can be read ({reason}); name another"
            " encoder with `base`."
        ) from error
    # Without the tokenizer's files, some classes give one that knows no word.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise SentimentError(
            f"The encoder {base!r} has no tokenizer with words; name another encoder with `base`."
        )
    for name in needed:
        if getattr(tokenizer, name) is None:
            raise SentimentError(
                f"The tokenizer of {base!r} has no {name.replace('_', ' ')}; name another encoder"
                " with `base`."
            )
    return tokenizer


def checksum(model: torch.nn.Module) -> str:
    tensors = model.state_dict().items()
    return weights_checksum({name: tensor.float().numpy() for name, tensor in tensors})


def finished_figures(output: Path, request: dict[str, Any], figures: str) -> dict[str, Any] | None:
    """What is in the file `figures` of a training that has ended; else None.

    Writes the request where nothing was trained yet: it may be one that failed, corrected.

    Raises:
        SentimentError: the folder holds another training, or something else.
    """
    path = output / REQUEST_FILE
    # A process that starts beside this one, or was killed, leaves the request's temporary file.
    there = {one.name for one in output.glob("*") if one.suffix != ".tmp"}
    checkpoints = (output / STEPS_FOLDER).glob("checkpoint-*")
    if not (there - {REQUEST_FILE, STEPS_FOLDER} or any(checkpoints)):
        output.mkdir(parents=True, exist_ok=True)
        write_json(path, request)
        return None
    if REQUEST_FILE not in there:
        raise SentimentError(
            f"{output} holds files, and no {REQUEST_FILE} of a training that could be resumed; name"
            " another `output`."
        )
    earlier, asked = read_json(path), json.loads(json.dumps(request))
    for key, value in asked.items():
        if earlier.get(key) != value:
            other = CHANGED.get(key, f"has other `{key}` ({earlier.get(key)!r}, not {value!r})")
            raise SentimentError(
                f"The training in {output} {other}; run it with the same arguments, or name another"
                " `output`."
            )
    if not (output / figures).exists():
        return None
    print(f"{output} holds this training, finished: nothing was trained.", file=sys.stderr)
    return read_json(output / figures)


def training_arguments(steps: Path, **settings: Any) -> TrainingArguments:
    device = pick_device()
    dtype, _ = pick_training_dtype(device)
    return TrainingArguments(
        str(steps),
        warmup_steps=0.06,
        weight_decay=0.01,
        train_sampling_strategy="group_by_length",
        use_cpu=device.type == "cpu",
        bf16=dtype == torch.bfloat16,
        save_total_limit=1,
        report_to="none",
        **settings,
    )


def newest_checkpoint(steps: Path) -> str | None:
    """The newest checkpoint that was written to its end; what is written last is the state."""
    whole = [path.parent for path in steps.glob("checkpoint-*/trainer_state.json")]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None
