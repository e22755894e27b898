"""The configuration: bad fields are named, and `config.json` gives it back."""

from itertools import product

import pytest

from sentiment_hf import LSTMConfig, SentimentError
from sentiment_hf.training.presets import get_preset

VOCAB_SIZE = 40
FOUR_LABELS = dict(enumerate(["bad", "poor", "good", "great"]))
SIZES = ("vocab_size", "embedding_dim", "hidden_size", "num_layers")
BAD_FIELDS = [
    *product(SIZES, [0, -1, 10**12, 2**63, 14.0, "14", None, True, float("nan"), [14]]),
    ("num_layers", 65),
    *product(["max_length"], [0, -1, 200.0, "200", True, 2**63]),
    *product(["pad_token_id", "unk_token_id"], [-1, VOCAB_SIZE, 2**63, 1.0, "1", None, False]),
    ("unk_token_id", 0),
    *product(["dropout", "embedding_dropout", "word_dropout"], [-0.1, 1.0, "0", None, True]),
    *product(["temperature"], [0, -1.0, float("nan"), float("inf"), "1", None]),
    *product(["bidirectional"], [1, "true", None]),
    *product(["pooling"], ["first", "", None, ["mean"]]),
    *product(["dtype"], ["bfloat16", "int8", None]),
    *product(["id2label"], [None, {}, {0: "pos"}, {1: "neg", 2: "pos"}, {"0": "neg", "1": "pos"}]),
    *product(["id2label"], [["neg", "pos"], {0: "pos", 1: "pos"}, {0: "", 1: "b"}, {0: 3, 1: 4}]),
]


@pytest.mark.parametrize(("name", "value"), BAD_FIELDS, ids=str)
def test_a_bad_field_is_named_with_its_value(name, value):
    with pytest.raises(SentimentError) as error:
        LSTMConfig(**{"vocab_size": VOCAB_SIZE, name: value})
    assert f"configuration's {name} " in str(error.value)
    assert str(value) in str(error.value)
    assert error.value.exit_status == 2


@pytest.mark.parametrize(
    "config",
    [
        LSTMConfig(2),
        LSTMConfig(**{"vocab_size": 90} | get_preset("article").network),
        LSTMConfig(9, 3, 4, 2, True, "max", 0.1, 0.2, 0.3, None, 8, 7, FOUR_LABELS, 2.5, "float16"),
        LSTMConfig(9, id2label={i: f"label {i}" for i in range(12)}),
    ],
    ids=["defaults", "article", "all fields", "12 labels"],
)
def test_a_configuration_read_back_from_its_dictionary_is_the_same(config):
    values = config.to_dict()
    assert values["model_type"] == "sentiment-lstm"
    assert values["num_labels"] == len(values["id2label"]) == len(values["label2id"])
    read = LSTMConfig.from_dict(values | {"a key of a later version": [1]})
    assert read == config
    assert list(read.id2label) == list(range(read.num_labels))
    assert read.label_names == config.label_names
