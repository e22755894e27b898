"""Bad data, options and checkpoints, and a full disk: one sentence, and nothing is left behind."""

import contextlib
import json
import resource

import command_folder
import pytest
from command_folder import EVALUATE, PREDICT, TRAIN
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from sentiment_hf import SentimentPipeline

here = command_folder.here


@contextlib.contextmanager
def full_disk(room):
    """No file can grow beyond `room` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def snapshot(folder):
    return {path: path.is_dir() or path.read_bytes() for path in folder.rglob("*")}


def sentence_of(result):
    """The one `error:` line at the end of stderr."""
    *messages, sentence = result.stderr.splitlines()
    assert sentence.startswith("error: ")
    assert not any(line.startswith(("error", "Traceback", "Usage")) for line in messages)
    assert "Error:" not in sentence, "the name of an exception is no sentence"
    return sentence


def nothing(folder):
    pass


def put(data, name="data.csv"):
    def write(folder):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())

    return write


def rows(*lines):
    return put("\n".join(["text,label", *lines, ""]))


def remove(name):
    return lambda folder: (folder / "checkpoint" / name).unlink()


def truncate(name):
    def cut(folder):
        path = folder / "checkpoint" / name
        path.write_bytes(path.read_bytes()[:-100])

    return cut


def config(**fields):
    def write(folder):
        path = folder / "checkpoint/config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return write


def words(change):
    def write(folder):
        path = folder / "checkpoint/tokenizer.json"
        tokenizer = json.loads(path.read_text())
        change(tokenizer["model"]["vocab"])
        path.write_text(json.dumps(tokenizer))

    return write


def weights(change):
    def write(folder):
        path = folder / "checkpoint/model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return write


W, C, T = "checkpoint/model.safetensors", "checkpoint/config.json", "checkpoint/tokenizer.json"
NAN = float("nan")
# One table: what is wrong, how it comes about, the command, its exit status, what its sentence
# says (joined by |).
# fmt: off
BAD_DATA = [(name, damage, TRAIN, 2, said) for name, damage, said in [
    ("an empty file", put(""), "data.csv|empty"),
    ("a header alone", put("text,label\n"), "row"),
    ("garbage", put(b'\x00\xff\xfe,"\n' * 9), "data.csv"),
    ("no text column", put("a,label\n1,x\n2,y\n"), "--text-column|a, label"),
    ("several text columns", put("a,b,label\nx,y,0\nz,w,1\n"), "--text-column|a, b"),
    ("no label column", put("text,x\na film,3\n"), "--label-column"),
    ("one label only", rows(*(f"film {i},pos" for i in range(50))), "'pos'|two labels"),
    ("one row", rows("a film,pos"), "two labels"),
    ("two rows", rows("a film,pos", "the film,neg"), "2 |few"),
    ("no text at all", rows(",pos", ",neg"), "text"),
    ("no labels at all", rows("a film,", "the film,"), "label"),
    ("numeric text", rows("1,pos", "2,neg"), "'text'|int64"),
    ("as many labels as rows", rows(*(f"film {i},l{i}" for i in range(200))), "200|--label-column"),
    ("another encoding", put(b"text,label\n" + b"a f\xe9lm,1\n" * 9), "data.csv|UTF-8"),
    ("soft labels beyond 1", rows("a film,0.5", "the film,7.5"), "'label'|[0, 1]"),
]]
OTHER_DATA = [(name, damage, ["train", data, *TRAIN[2:]], status, said)
              for name, damage, data, status, said in [
    ("no such file", nothing, "nothing.csv", 2, "nothing.csv|does not exist"),
    ("no such folder", nothing, "./no/such", 2, "./no/such|does not exist"),
    ("a file of another kind", put("a", "data.doc"), "data.doc", 2, "data.doc|csv"),
    ("an empty label", put('[{"text": "a", "label": ""}, {"text": "b", "label": "pos"}]', "e.json"),
     "e.json", 2, "empty|name"),
    ("null texts", put('{"text": null, "label": "a"}\n' * 9, "n.json"), "n.json", 2, "No row"),
    ("broken json", put("{", "data.json"), "data.json", 2, "data.json"),
    ("labels that are lists", put('{"text": "a", "label": [1]}', "l.json"), "l.json", 2, "'label'"),
    ("an empty folder", lambda f: (f / "data").mkdir(), "data", 2, "data"),
    ("no split to train on", put("text,label\na,b\n", "d/test.csv"), "d", 2, "'train'|test"),
    ("the Hub out of reach", nothing, "user/data", 1, "folder|csv|sample"),
    ("the Hub switched off", "offline", "user/data", 1, "folder|csv|sample"),
]]
BAD_OPTIONS = [(" ".join(options), nothing, [*TRAIN, *options], 2, said) for options, said in [
    (["--text-column", "body"], "'body'|text, label"),
    (["--label-column", "body"], "'body'|text, label"),
    (["--label-map", "good=pos"], "'good'|'neg'|'pos'"),
    (["--label-map", "pos"], "positive=pos"),
    (["--preset", "huge"], "'huge'|article|fast"),
    (["--epochs", "0"], "--epochs|0"),
    (["--epochs", "many"], "--epochs|many"),
    (["--batch-size", "-1"], "--batch-size|-1"),
    (["--max-samples", "0"], "--max-samples"),
    (["--max-length", "-5"], "--max-length"),
    (["--vocab-size", "-5"], "--vocab-size"),
    (["--vocab-size", "2"], "--vocab-size"),
    (["--vocab-size", str(10**30)], "--vocab-size"),
    (["--learning-rate", "0"], "--learning-rate"),
    (["--learning-rate", "inf"], "--learning-rate"),
    (["--learning-rate", "nan"], "--learning-rate"),
    (["--seed", "-1"], "--seed"),
    (["--seed", str(2**40)], "--seed"),
    (["--device", "abacus"], "'abacus'"),
    (["--dtype", "int8"], "float32|bfloat16"),
    (["--output", "data.csv"], "data.csv|file"),
    (["--output", "data.csv/out"], "data.csv"),
    (["--output", "checkpoint"], "checkpoint|--overwrite"),
    (["--output", "."], "output"),
]]
BAD_CHECKPOINTS = [(name, damage, [*PREDICT, "a film"], 2, said) for name, damage, said in [
    ("no config.json", remove("config.json"), "config.json"),
    ("a broken config.json", truncate("config.json"), "config.json"),
    ("a foreign config.json", config(model_type="bert"), "config.json|model_type|bert"),
    ("a huge vocab_size", config(vocab_size=10**12), "config.json|vocab_size"),
    ("another vocab_size", config(vocab_size=4), "vocab_size"),
    ("another hidden_size", config(hidden_size=9), "model.safetensors|shape"),
    ("an unknown pooling", config(pooling="sum"), "config.json|pooling|sum"),
    ("no weights", remove("model.safetensors"), "model.safetensors"),
    ("broken weights", truncate("model.safetensors"), "model.safetensors"),
    ("weights of another kind", put(b"PK\3\4" * 99, W), "model.safetensors"),
    ("a missing weight", weights(lambda t: t.pop("linear.bias")), "model.safetensors|linear.bias"),
    ("a foreign weight", weights(lambda t: t.update(new=t["linear.bias"] + 1)), "'new'"),
    ("weights that are nan", weights(lambda t: t["linear.bias"].fill_(NAN)), "linear.bias"),
    ("no tokenizer.json", remove("tokenizer.json"), "tokenizer.json"),
    ("a broken tokenizer.json", truncate("tokenizer.json"), "tokenizer.json"),
    ("a foreign tokenizer.json", put('{"model": {"type": "BPE"}}', T), "tokenizer.json|WordLevel"),
    ("ids beyond the embedding", words(lambda v: v.update(film=10**6)), "tokenizer.json|vocab"),
    ("more words than vectors", words(lambda v: v.update(new=len(v))), "vocab_size"),
]]
OTHERS = [
    ("no output", nothing, TRAIN[:2], 2, "--output"),
    ("no such command", nothing, ["fly"], 2, "fly"),
    ("a text with a dash", nothing, [*PREDICT, "-awful film"], 2, "'--'"),
    ("a text with two dashes", nothing, [*PREDICT, "--five stars"], 2, "'--'"),
    ("no label to show", nothing, [*PREDICT, "a", "--top-k", "0"], 2, "--top-k"),
    ("no such model", nothing, ["predict", "a", "--model", "./nowhere"], 2, "nowhere"),
    ("no checkpoint there", put("", "e/x"), ["predict", "a", "--model", "e"], 2, "config.json"),
    ("a file as model", nothing, ["predict", "a", "--model", "data.csv"], 2, "data.csv"),
    ("the root as model", nothing, ["predict", "a", "--model", "/"], 2, "config.json"),
    ("a model without a name", nothing, ["predict", "a", "--model", ""], 2, "name"),
    ("a revision of a file", nothing, [*TRAIN, "--revision", "v1"], 2, "--revision|data.csv"),
    ("a configuration of a file", nothing, [*TRAIN, "--config", "en"], 2, "--config|data.csv"),
    *[(f"{name} of the sample", nothing, ["evaluate", "sample", name, "x"], 2, f"{name}|sample")
      for name in ("--config", "--revision")],
    *[(f"{name} with a text", nothing, ["inspect", "a film", name, "x"], 2, f"{name}|TEXT")
      for name in ("--text-column", "--label-column", "--config", "--revision")],
    ("no such split", nothing, [*EVALUATE, "--split", "valid"], 2, "'valid'|train"),
    ("nothing to evaluate", rows("a film,", ",pos"), EVALUATE, 2, "row"),
    ("more classes in test", rows("a,pos", "b,neg", "c,odd"), EVALUATE, 2, "'odd'|'neg', 'pos'"),
    ("soft labels to evaluate", rows("a film,0.25", "the film,0.75"), EVALUATE, 2, "Soft"),
]
# fmt: on
BAD_INPUT = [*BAD_DATA, *OTHER_DATA, *BAD_OPTIONS, *BAD_CHECKPOINTS, *OTHERS]


@pytest.mark.parametrize(
    ("damage", "command", "status", "said"), [pytest.param(*c[1:], id=c[0]) for c in BAD_INPUT]
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    here, run, monkeypatch, damage, command, status, said
):
    if damage == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        damage(here)
    before = snapshot(here)
    result = run(*command)
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    sentence = sentence_of(result)
    for word in said.split("|"):
        assert word in sentence
    assert snapshot(here) == before


FEW = [f"a {w} film {i},{y}" for i in range(30) for w, y in (("good", "pos"), ("bad", "neg"))]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (rows(*FEW, ",pos", ",neg", ",pos"), "3 of 63 rows without a text"),
        (rows(*FEW, "unsaid,", "untold,"), "2 of 62 rows without a label"),
        (rows(*(f'"{" ".join(str(i))}",{i % 2}' for i in range(200))), ""),
        (rows(*(f"good{i},1.0\nbad{i},0.0\ngood,1.0\nbad,0.0" for i in range(60))), ""),
        (rows(*FEW, f"{'long ' * 20_000},pos"), ""),
    ],
    ids=["null texts", "null labels", "texts of digits", "texts of one word", "a long text"],
)
def test_odd_data_is_trained_on_all_the_same(here, run, damage, said):
    damage(here)
    result = run(*TRAIN)
    assert result.exit_code == 0, result.stderr
    assert said in result.stderr
    assert result.stdout.startswith("out\t")
    assert SentimentPipeline.from_pretrained("out")("a film")


def test_training_on_a_full_disk_is_one_sentence_and_leaves_the_old_checkpoint(here, run):
    old = snapshot(here / "checkpoint")
    with full_disk(2_000):
        results = [run(*TRAIN)]
    with full_disk(200_000):
        results += [run(*TRAIN), run(*TRAIN, "--output", "checkpoint", "--overwrite")]
    assert [result.exit_code for result in results] == [1, 1, 1]
    assert old.items() <= snapshot(here / "checkpoint").items()
    assert run(*TRAIN).exit_code == 0, "the same command, once there is room again"
    assert all(map(sentence_of, results))


def test_saving_an_evaluation_on_a_full_disk_leaves_all_as_it_was(here, run):
    run(*EVALUATE)
    old = snapshot(here / "checkpoint")
    with full_disk(8_000):
        result = run(*EVALUATE, "--save")
    assert (result.exit_code, result.stdout) == (1, "")
    assert snapshot(here / "checkpoint") == old
    assert sentence_of(result)


def test_a_data_set_in_another_encoding_is_one_line(here, run_process):
    (here / "data.csv").write_bytes(b"text,label\n" + b"a f\xe9lm,1\n" * 9)
    done = run_process(*TRAIN, "--quiet", cwd=here)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert str(here) not in done.stderr
