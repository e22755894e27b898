"""Words: what a text is split into, which ids they get, and that both never change."""

import hashlib
import os
import subprocess
import sys

import pytest
from tokenizers import Tokenizer

from sentiment_hf import LSTMConfig, SentimentPipeline, load_reviews, train_tokenizer
from sentiment_hf.checkpoint.pretrained import LSTMForSequenceClassification
from sentiment_hf.data.tokenization import encode_texts, tokenize_split

PAD, UNK = 0, 1


def words(text):
    """The words of a text, by a tokenizer that has learnt them all."""
    return train_tokenizer([text, text]).encode(text).tokens


def spelled(tokenizer, text):
    names = {i: word for word, i in tokenizer.get_vocab().items()}
    return [names[i] for i in encode_texts(tokenizer, [text])[0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A Good FILM", "a good film"),
        ("good<br /><br />bad<br>fine<br/>end", "good bad fine end"),
        ("Good, bad; (fine)!", "good , bad ; ( fine ) !"),
        ("What?? No!!! Well....", "what ?? no !!! well ...."),
        ("don't Isn't CAN'T", "do n't is n't ca n't"),
        ("don\u2019t won\u2018t", "do n't wo n't"),
        ("didn\u00b4t", "did n't"),
        ("it's I'm they're we've he'd she'll", "it 's i 'm they 're we 've he 'd she 'll"),
        ("'quoted' o'clock", "' quoted ' o ' clock"),
        ("\u201cwow\u201d \u2018so\u2019", "\" wow \" ' so '"),
        ("10/10, 7.5/10 and 3/4", "10/10 , 7.5/10 and 3/4"),
        ("$1,000 in the 80s, 2nd 3D 99%", "$ 1,000 in the 80s , 2nd 3d 99 %"),
        ("well-made", "well - made"),
        ("\uff26\uff35\uff2c\uff2c \ufb01lm", "full film"),
        ("e\u0301te\u0301 \u00e9t\u00e9", "\u00e9t\u00e9 \u00e9t\u00e9"),
        ("wait\u2026 wait...", "wait ... wait ..."),
        ("good\u00a0film\tand\r\nbad", "good film and bad"),
        ("so good\U0001f600\U0001f44d", "so good \U0001f600 \U0001f44d"),
        ("סרט טוב, מאוד", "סרט טוב , מאוד"),
        ("فيلم جيد!", "فيلم جيد !"),
        ("[PAD] [UNK] <unk>", "[ pad ] [ unk ] < unk >"),
    ],
)
def test_a_text_is_normalised_and_split_into_these_words(text, expected):
    assert words(text) == expected.split()


def test_padding_is_0_unknown_is_1_and_words_follow_by_frequency():
    tokenizer = train_tokenizer(["b b b a a c c once"])
    assert tokenizer.get_vocab() == {"[PAD]": PAD, "[UNK]": UNK, "b": 2, "a": 3, "c": 4}
    assert encode_texts(tokenizer, ["c strange b"]) == [[4, UNK, 2]]


def test_the_vocabulary_has_at_most_so_many_words_with_padding_and_unknown_counted():
    corpus = [" ".join(f"w{number} " * (9 if number < 8 else 2) for number in range(31_000))]
    assert train_tokenizer(corpus).get_vocab_size() == 30_000
    small = train_tokenizer(corpus, 10)
    assert set(small.get_vocab()) == {"[PAD]", "[UNK]", *(f"w{number}" for number in range(8))}


CORPUS = [
    f"word{i % 700} word{i * 7 % 500} good, don't. [PAD] \u00e9 {i % 30}/10" for i in range(999)
]
HASH = """
import hashlib, sys
from sentiment_hf.data.tokenization import train_tokenizer
text = train_tokenizer(open(sys.argv[1], encoding="utf-8").read().splitlines(), 400).to_str()
print(hashlib.sha256(text.encode()).hexdigest())
"""


@pytest.mark.parametrize("threads", ["true", "false"])
def test_the_same_texts_give_the_same_file_in_every_process(tmp_path, threads):
    first, second = (train_tokenizer(iter(CORPUS), 400).to_str() for _ in range(2))
    assert first == second
    (tmp_path / "corpus.txt").write_text("\n".join(CORPUS), encoding="utf-8")
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": threads, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", HASH, str(tmp_path / "corpus.txt")]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == hashlib.sha256(first.encode()).hexdigest()


NASTY = [
    "A good film.",
    "[PAD]",
    "[UNK] is [PAD][PAD] and [ PAD ] [pad]",
    "<unk> <s> </s> [CLS] [SEP] [MASK] <|endoftext|> ##ing \u2581good",
    "don't can\u2019t won't it's 'tis rock'n'roll n't",
    "10/10 7.5/10 1,000 2nd 80s 3D 1/2/3 \u00bd",
    "good<br /><br />bad <br >fine< br />",
    "  two  spaces \t\r\n\x0b\x0c and \u00a0\u2003 others \u200b\ufeff",
    "what ?! ... \u2026 !!! , . ' \" ( ) [ ] -- \u2014 # @ $ % & * _ under_score",
    "e\u0301 \u00e9 \u0130stanbul \u00df \ufb01 \uff26 \u1e9e \u03a3\u03c2 A\u030a",
    "\U0001f600 \U0001f44d\U0001f3fd \U0001f469\u200d\U0001f680 \u2764\ufe0f",
    "סרט طيب \u202eabc\u202c \u0915\u094d\u0937 \u6c49\u5b57 \u3042 \u0e01\u0e34",
    "\x00 \x01 \x7f \ufffd \U0010ffff \ue000",
    "unseen words only zzz qqq",
    "a" * 5_000,
    "[PAD] good " * 500,
]


@pytest.fixture(scope="module", params=[None, 5])
def saved(request, tmp_path_factory):
    """A tokenizer that knows a good part of the nasty texts, and the checkpoint it is saved in."""
    tokenizer = train_tokenizer([*NASTY[:-3], *NASTY[:-3]])
    config = LSTMConfig(
        tokenizer.get_vocab_size(), embedding_dim=2, hidden_size=2, max_length=request.param
    )
    folder = tmp_path_factory.mktemp("saved")
    SentimentPipeline(LSTMForSequenceClassification(config), tokenizer).save_pretrained(folder)
    return tokenizer, folder


def test_a_literal_pad_or_unk_is_ordinary_text_in_corpus_and_text(saved):
    trained, folder = saved
    hostile = train_tokenizer(["[PAD] [PAD] [UNK] [UNK] [PAD] good good"] * 9)
    reloaded = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for tokenizer in (hostile, trained, reloaded):
        vocabulary = tokenizer.get_vocab()
        assert (vocabulary["[PAD]"], vocabulary["[UNK]"]) == (PAD, UNK)
        expected = ["[", "pad", "]", "[", "unk", "]", "good"]
        assert spelled(tokenizer, "[PAD][UNK] good") == expected


def test_a_reloaded_tokenizer_gives_the_same_ids(saved):
    tokenizer, folder = saved
    reloaded = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert reloaded.to_str() == tokenizer.to_str()
    assert encode_texts(reloaded, NASTY) == encode_texts(tokenizer, NASTY)
    loaded = SentimentPipeline.from_pretrained(folder).tokenizer
    assert encode_texts(loaded, NASTY) == encode_texts(tokenizer, NASTY)


def test_autotokenizer_gives_the_same_ids(saved):
    from transformers import AutoTokenizer

    tokenizer, folder = saved
    expected = encode_texts(tokenizer, NASTY)
    auto = AutoTokenizer.from_pretrained(folder)
    assert (auto.pad_token_id, auto.unk_token_id) == (PAD, UNK)
    assert len(auto) == tokenizer.get_vocab_size()
    assert auto(NASTY)["input_ids"] == expected
    assert [auto(text)["input_ids"] for text in NASTY] == expected
    padded = auto(NASTY[:13], padding=True, return_tensors="pt")
    lengths = padded["attention_mask"].sum(1).tolist()
    assert lengths == [len(ids) for ids in expected[:13]]
    for row, ids in zip(padded["input_ids"].tolist(), expected):
        assert row == ids + [PAD] * (len(row) - len(ids))


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "<br />", "\u2003"])
def test_an_empty_text_is_read_as_one_unknown_word(text):
    tokenizer = train_tokenizer(["a good film"] * 2)
    assert encode_texts(tokenizer, ["good", text, "film"])[1] == [UNK]


@pytest.mark.parametrize(("piece", "count"), [("a", 1), ("good film. ", 3 * (10_000_000 // 11))])
def test_a_text_of_ten_megabytes_is_read_whole(piece, count):
    tokenizer = train_tokenizer(["a good film."] * 2)
    ids = encode_texts(tokenizer, ["film", piece * (10_000_000 // len(piece)), "good"])
    assert [len(row) for row in ids] == [1, count, 1]


TOKENIZE = """
import sys
from sentiment_hf import load_reviews, train_tokenizer
from sentiment_hf.data.splits import labelled_rows, split_validation
from sentiment_hf.data.tokenization import tokenize_split
rows, _ = split_validation(labelled_rows(load_reviews(sys.argv[1], max_samples=150)["train"]))
tokenized = tokenize_split(rows, train_tokenizer(rows["text"]))
print(tokenized._fingerprint, len(tokenized))
"""


def test_a_second_run_in_a_new_process_reads_the_tokens_from_the_cache(easy_csv, tmp_path):
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", TOKENIZE, str(easy_csv)]
    seen = []
    for _ in range(2):
        answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        caches = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.arrow")}
        seen.append((answer.stdout, caches))
    assert seen[0] == seen[1]
    assert len(seen[0][1]) >= 3


def test_another_tokenizer_or_other_rows_are_not_read_from_the_cache():
    rows = load_reviews("sample")["test"]
    tokenizers = [train_tokenizer(rows["text"], size) for size in (50, 60)]
    first, other = (tokenize_split(rows, tokenizer) for tokenizer in tokenizers)
    assert first["input_ids"][:] == encode_texts(tokenizers[0], rows["text"][:])
    assert other["input_ids"][:] == encode_texts(tokenizers[1], rows["text"][:])

    few = tokenize_split(rows.select([3, 1]), tokenizers[0])
    assert few["input_ids"][:] == [first["input_ids"][3], first["input_ids"][1]]


def test_ids_that_are_there_are_taken_if_the_words_are_the_same(caplog):
    rows = load_reviews("sample")["test"]
    own, other = (train_tokenizer(rows["text"], size) for size in (50, 60))
    tokenized = rows.add_column("input_ids", encode_texts(own, rows["text"][:]))
    # Known by a mark that reading the text would not give; the checked rows are others.
    marked = tokenized.map(lambda row, i: {"input_ids": [7] if i == 1 else row["input_ids"]},
                           with_indices=True)  # fmt: skip
    taken = tokenize_split(marked, own)
    assert taken.column_names == ["label", "input_ids"]
    assert taken["input_ids"][:3] == [tokenized["input_ids"][0], [7], tokenized["input_ids"][2]]
    with caplog.at_level("INFO"):
        read = tokenize_split(marked, other)
    assert "another tokenizer's" in caplog.text
    assert read["input_ids"][:] == encode_texts(other, rows["text"][:])
