"""Mutates the files of a good checkpoint and reads them: `python mutations.py FOLDER COUNT`.

Run in a process of its own with bounded memory: loading it and rendering its card must end in the
same predictions, in a `SentimentError`, or, where a JSON file still says something valid, in what
that file says.
"""

import json
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentiment_hf import SentimentError, SentimentPipeline
from sentiment_hf.checkpoint.card import render_card

BYTES = 6 * 2**30
SECONDS = 5.0
TEXTS = ["a good film", "not a bad film, warm and cold", "unknown words"]
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
RECORDS = ("README.md", "training.json", "eval_results.json")  # A push reads them.
MIXED = FILES[:3]
OTHERS = ("files of another checkpoint",)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([0, -1, 10**12, 2**63, 1e308, ""]),
    st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
)  # fmt: skip
counts: Counter[str] = Counter()


@st.composite
def damaged_bytes(draw, content: bytes) -> bytes:
    kind = draw(st.sampled_from(["flip", "cut", "insert", "repeat", "empty"]))
    at = draw(st.integers(0, len(content) - 1))
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ draw(st.integers(1, 255))]) + content[at + 1 :]
    if kind == "cut":
        return content[:at]
    if kind == "insert":
        return content[:at] + draw(st.binary(min_size=1, max_size=20)) + content[at:]
    return content * 2 if kind == "repeat" else b""


@st.composite
def changed_json(draw, content: bytes) -> bytes:
    values = json.loads(content)
    place, key = values, draw(st.sampled_from(sorted(values)))
    while isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
        place = place[key]
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = draw(st.sampled_from(keys))
    if draw(st.booleans()):
        place[key] = draw(VALUES)
    else:
        del place[key]
    return json.dumps(values).encode()


def main(folder: Path, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    good = {name: (folder / name).read_bytes() for name in FILES + RECORDS}
    other = {name: (folder / "other" / name).read_bytes() for name in FILES}
    original = SentimentPipeline.from_pretrained(folder)
    logits, vocabulary = original.logits(TEXTS), original.tokenizer.to_str()

    @settings(
        max_examples=count, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def load(data) -> None:
        changed = dict(good)
        names = data.draw(st.sampled_from([*((name,) for name in FILES + RECORDS), OTHERS]))
        if names == OTHERS:  # A pair of files from two checkpoints.
            names = data.draw(st.sets(st.sampled_from(MIXED), min_size=1, max_size=2))
            changed |= {name: other[name] for name in names}
        else:
            (name,) = names
            strategy = damaged_bytes
            if name.endswith(".json") and data.draw(st.booleans()):
                strategy = changed_json
            changed[name] = data.draw(strategy(good[name]))
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as place:
            for name, content in changed.items():
                (Path(place) / name).write_bytes(content)
            try:
                render_card(Path(place))
                pipe = SentimentPipeline.from_pretrained(place)
            except SentimentError as error:
                assert "\n" not in str(error), str(error)
                assert len(str(error)) < 400, str(error)
                counts["refused"] += 1
            else:
                same = pipe.config == original.config and pipe.tokenizer.to_str() == vocabulary
                answers = pipe.logits(TEXTS)
                if same:
                    assert answers.equal(logits)
                else:
                    # A valid edit of a JSON file: the checkpoint is what it now says.
                    assert good["model.safetensors"] == changed["model.safetensors"]
                    assert answers.isfinite().all()
                counts["the same" if same else "a valid edit"] += 1
        assert time.monotonic() - start < SECONDS

    load()
    print(json.dumps({"mutations": sum(counts.values()), **counts}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
