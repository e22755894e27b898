"""Changes to the files of a checkpoint folder."""

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"


def changed(file: str, change):
    def damage(folder: Path) -> None:
        (folder / file).write_bytes(change((folder / file).read_bytes()))

    return file, damage


def config(**fields):
    return changed(CONFIG, lambda data: json.dumps(json.loads(data) | fields).encode())


def weights(change):
    def damage(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)

    return WEIGHTS, damage
