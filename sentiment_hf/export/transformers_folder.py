"""A checkpoint with the code that reads it, for people who have transformers alone."""

import shutil
from pathlib import Path

from sentiment_hf.checkpoint.pretrained import read_network
from sentiment_hf.checkpoint.staging import new_folder
from sentiment_hf.checkpoint.tokenizer_file import write_tokenizer
from sentiment_hf.checkpoint.weights import write_network
from sentiment_hf.export.folder import free_folder, open_source, write_card

# The file that `import sentiment_hf.transformers` registers, too.
MODELLING_FILE = Path(__file__).parent / "modeling_sentiment_lstm.py"
CARD_TEMPLATE = Path(__file__).parent / "transformers_card.md"
AUTO_MAP = {
    "AutoConfig": f"{MODELLING_FILE.stem}.SentimentLSTMConfig",
    "AutoModelForSequenceClassification": (
        f"{MODELLING_FILE.stem}.SentimentLSTMForSequenceClassification"
    ),
}


def export_transformers(model: str | Path | None, output: str | Path) -> Path:
    """Writes a checkpoint that `transformers` opens with `trust_remote_code=True`.

    It is still one of ours: `SentimentPipeline.from_pretrained` reads it as well.

    Args:
        model: a checkpoint; the reference checkpoint by default.
        output: a folder that does not exist, or is empty.

    Raises:
        SentimentError: no such checkpoint, a pretrained encoder, or the folder is not empty.
    """
    output, source = free_folder(output), open_source(model)
    network = read_network(source.folder, source.config)
    with new_folder(output) as new:
        write_tokenizer(new, source.tokenizer)
        write_network(new, network, auto_map=AUTO_MAP)
        shutil.copyfile(MODELLING_FILE, new / MODELLING_FILE.name)
        write_card(new, CARD_TEMPLATE, source)
    return output
