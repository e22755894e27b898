"""Which device computes, and in which precision."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from sentiment_hf.errors import SentimentError, first_line

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@contextmanager
def plain_torch() -> Iterator[None]:
    """Torch with gradients, in float32 and on the CPU unless another device is named.

    That is how it begins; a notebook may have changed it for the whole process.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if (dtype := torch.get_default_dtype()) != torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        yield


def pick_device(name: str | None = None) -> torch.device:
    """The named device, or the best one at hand; refuses one that is not here."""
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("it holds no numbers")
        torch.empty(0, device=device)
    except Exception as error:
        reason = first_line(error)
        raise SentimentError(f"The device {name!r} cannot be used here: {reason}") from error
    return device


def pick_dtype(name: str) -> torch.dtype:
    """The named precision, one of `DTYPES`."""
    if name not in DTYPES:
        raise SentimentError(f"There is no precision {name!r}; there are {', '.join(DTYPES)}.")
    return DTYPES[name]


def pick_training_dtype(device: torch.device, name: str | None = None) -> tuple[torch.dtype, str]:
    """The precision to train in, and the reason, for the user to read."""
    if name is not None:
        dtype = pick_dtype(name)
        if dtype == torch.bfloat16 and device.type == "cpu" and not _trains_in_bfloat16():
            raise SentimentError(
                "This processor cannot train an LSTM in bfloat16: it lacks the instructions that"
                " oneDNN needs for it. Train in float32 (`dtype`), which is the default here."
            )
        return dtype, "as asked for"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported():
            return torch.bfloat16, "the GPU computes in it"
        return torch.float32, "the GPU has no bfloat16"
    if device.type == "cpu":
        # Without instructions for it, bfloat16 is emulated and slower than float32; AMX comes with
        # them, and AVX512_BF16 alone trains 1.6 times as fast.
        if torch.cpu._is_avx512_bf16_supported() and _trains_in_bfloat16():
            return torch.bfloat16, "the processor has bfloat16 instructions"
        return torch.float32, "the processor has no bfloat16 instructions"
    return torch.float32, f"the safe choice on {device.type}"


def _trains_in_bfloat16() -> bool:
    """Whether the CPU makes a training step of an LSTM in bfloat16, tried in milliseconds.

    oneDNN has requirements that torch does not know of, and ONEDNN_MAX_CPU_ISA restricts it.
    """
    with torch.random.fork_rng(devices=[]):
        lstm = torch.nn.LSTM(8, 8, batch_first=True)
    try:
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
            states, _ = lstm(torch.zeros(1, 2, 8))
        states.float().sum().backward()
    except RuntimeError:
        return False
    return True
