"""Files as people have them: spelled, cut off, encoded and named in odd ways."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
import unicodedata

import pytest
import zstandard
from datasets import Dataset, Features, Value
from test_real_inputs import rows_of

from sentiment_hf import SentimentError, load_reviews
from sentiment_hf.data.columns import match_labels
from sentiment_hf.data.loading import open_dataset

# A csv file says what stands in it


def labels_of(reviews, split="train"):
    return [label for _, label in rows_of(reviews, split)]


SPELLED = {
    "zeros in front": (["01", "1", "001"], ["01", "1", "001"]),
    "signs": (["+1", "-1", "0"], ["+1", "-1", "0"]),
    "whole numbers": (["10", "9", "-1"], ["10", "9", "-1"]),
    "numbers and words": (["1", "2", "x"], ["1", "2", "x"]),
    "long numbers and a gap": (["1234567890123456789", ""], ["1234567890123456789", None]),
    "longer numbers": (["12345678901234567890123", "1"], ["12345678901234567890123", "1"]),
    "floats": (["1.0", "2.0", "1.0"], ["1", "2", "1"]),
    "blanks before numbers": ([" 1", "0", "1"], ["1", "0", "1"]),
    "truth": (["True", "False", "True"], ["True", "False", "True"]),
}


@pytest.mark.parametrize("kind", ["own.csv", "own.tsv", "own.csv.gz", "own/train.csv"])
@pytest.mark.parametrize(("cells", "labels"), SPELLED.values(), ids=SPELLED)
def test_labels_in_a_csv_file_keep_their_spelling(write, kind, cells, labels):
    lines = ["text,label", *(f"film {cell},{cell}" for cell in cells)]
    lines = [line.replace(",", "\t" if "tsv" in kind else ",") for line in lines]
    path = write(kind, *lines)
    if kind.endswith("gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    reviews = load_reviews(path.parent if "/" in kind else path)
    assert labels_of(reviews) == labels
    assert reviews["train"]["text"][:] == [f"film {cell}" for cell in cells]


def test_whole_numbers_are_in_the_order_of_numbers(write):
    path = write("own.csv", "text,label", "a,10", "b,9", "c,-1")
    assert load_reviews(path)["train"].features["label"].names == ["-1", "9", "10"]


def test_zeros_and_ones_beside_fractions_are_soft_labels(write):
    path = write("own.csv", "text,label", *(f"film,{label}" for label in ("0", "1", "0.25", ".5")))
    assert load_reviews(path)["train"]["label"][:] == [0, 1, 0.25, 0.5]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ["own.csv", "own.tsv", "own/train.csv"])
def test_a_column_of_numbers_may_go_on_with_words(write, name, streaming):
    separator = "\t" if name.endswith("tsv") else ","
    rows = [(str(number), str(number % 2)) for number in range(20_001)] + [("words", "x")]
    path = write(name, *(separator.join(row) for row in [("text", "label"), *rows]))
    opened = open_dataset(str(path.parent if "/" in name else path), streaming=streaming)
    assert [tuple(row.values()) for row in opened["train"]] == rows


def test_columns_have_one_type_in_all_files_of_a_folder(write):
    write("own/train.csv", "text,label,id", "a,1,7", "b,0,8")
    path = write("own/test.csv", "label,text,id", "01,a,9", "x,b,")
    reviews = load_reviews(path.parent)
    assert labels_of(reviews) == ["1", "0"]
    assert labels_of(reviews, "test") == ["01", "x"]
    assert open_dataset(str(path.parent))["test"]["id"][:] == [9, None]


def test_the_card_of_a_folder_says_of_which_type_its_columns_are(write):
    features = "{dtype: {class_label: {names: {'0': neg, '1': pos}}}, name: label}"
    card = (
        f"---\ndataset_info:\n  features:\n  - {{name: text, dtype: string}}\n  - {features}\n---"
    )
    write("own/README.md", card)
    path = write("own/train.csv", "text,label", "a,1", "b,0")
    assert labels_of(load_reviews(path.parent)) == ["pos", "neg"]


@pytest.mark.parametrize("header", ["text,text,label", "text,label,label", "id,id,text"])
def test_a_name_that_two_columns_have_is_refused(write, header):
    path = write("own.csv", header, "1,2,3")
    with pytest.raises(SentimentError, match=r"own\.csv has several columns.*rename them"):
        load_reviews(path)


@pytest.mark.parametrize("header", [",text,label,", ",text,label,Unnamed: 0", " ,text,label,  "])
def test_columns_without_a_name_are_no_fault(write, header):
    path = write("own.csv", header, "0,a,pos,7", "1,b,neg,8")
    assert labels_of(load_reviews(path)) == ["pos", "neg"]
    assert [list(row.values()) for row in open_dataset(str(path))["train"]] == [
        [0, "a", "pos", 7],
        [1, "b", "neg", 8],
    ]


@pytest.mark.parametrize("content", [b"\n", b"\xef\xbb\xbf", b" \n\n", gzip.compress(b"", mtime=0)])
def test_a_csv_file_of_nothing_but_blanks_is_empty(write, content):
    path = write("own.csv.gz" if content[:1] == b"\x1f" else "own.csv")
    path.write_bytes(content)
    with pytest.raises(SentimentError, match="is empty"):
        load_reviews(path)


def test_bytes_are_no_labels(tmp_path):
    Dataset.from_dict({"text": ["a"], "label": [b"pos"]}).to_parquet(tmp_path / "own.parquet")
    with pytest.raises(SentimentError, match="'label' holds binary, not labels"):
        load_reviews(tmp_path / "own.parquet")


@pytest.mark.parametrize("first", ["sep=,", "sep=;"])
def test_a_line_for_excel_is_not_taken_for_the_names(write, first):
    with pytest.raises(SentimentError, match=rf"'{first}': the names of the columns must stand"):
        load_reviews(write("own.csv", first, "text,label", "a,pos"))


@pytest.mark.parametrize(
    "lines",
    [
        ["1,a film", "0,a bad film"],
        ["a film,5", "a bad film,1"],
        ["a film that is good,1", "a bad film,0"],
        ["pos,good", "neg,bad"],
        ["it is a good film"],
    ],
)
def test_a_first_row_that_was_taken_for_names_is_shown(run, write, tmp_path, lines):
    path = write("own.csv", *lines, lines[-1])
    for command in ("train", "annotate"):
        result = run(command, path, "--output", tmp_path / "out")
        assert result.exit_code == 2
        assert lines[0].replace(",", ", ") in result.stderr
        assert "put a line of names before it, such as text,label" in result.stderr
        assert "--text-column" in result.stderr


def test_a_long_name_of_a_column_can_be_named(write):
    path = write("own.csv", "What did you think of it?,label", "good,pos", "bad,neg")
    reviews = load_reviews(path, text_column="What did you think of it?")
    assert labels_of(reviews) == ["pos", "neg"]


@pytest.mark.parametrize("last", ['"a film,pos', 'a film,"pos', '"a film'])
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_quote_that_is_open_in_the_last_line_is_named(tmp_path, last, end):
    (tmp_path / "own.csv").write_text(f"text,label\ngood,pos\nbad,neg\n{last}{end}")
    with pytest.raises(SentimentError, match=r"own\.csv, line 4: a quote that is not closed"):
        load_reviews(tmp_path / "own.csv")


# Whole files

ROWS = [(f"film number {number}", ("neg", "pos")[number % 2]) for number in range(500)]
CONTENT = {
    "csv": "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS),
    "jsonl": "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS),
}
PACK = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.compress,
}


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("kind", CONTENT)
def test_a_file_that_was_cut_off_is_never_read_as_fewer_rows(write, kind, packed):
    content = PACK[packed](CONTENT[kind].encode())
    path = write(f"own/train.{kind}.{packed}")
    for size in (1, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        for source in (path, path.parent):
            with pytest.raises(SentimentError, match="a compressed file is empty, cut off"):
                load_reviews(source)
    path.write_bytes(content)
    assert rows_of(load_reviews(path)) == ROWS


@pytest.mark.parametrize("kind", CONTENT)
def test_a_zst_file_that_ends_between_two_rows_is_cut_off_too(write, kind):
    packer = zstandard.ZstdCompressor().compressobj()
    content = packer.compress(CONTENT[kind].encode())
    content += packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    path = write(f"own.{kind}.zst")
    path.write_bytes(content)
    with pytest.raises(SentimentError, match="cut off"):
        load_reviews(path)


def test_a_zst_file_of_several_frames_is_read_to_its_end(write):
    path = write("own.csv.zst")
    lines = CONTENT["csv"].splitlines(keepends=True)
    halves = "".join(lines[:200]), "".join(lines[200:])
    path.write_bytes(b"".join(zstandard.compress(half.encode()) for half in halves))
    assert rows_of(load_reviews(path)) == ROWS


# Paths

NAMES = ["a::b", "zip::a", "a [1]", "a*", "a?b", "a b", "a%20b", "a#b", "{a,b}", "a\\b", "d::e [1]"]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_any_name_that_a_file_or_folder_can_have_is_taken_literally(write, name, streaming):
    csv = ["text,label", "right,pos"]
    jsonl = ['{"text": "right", "label": "pos"}']
    paths = [
        write(f"{name}.csv", *csv),
        write(f"{name}.jsonl", *jsonl),
        write(f"{name}/train.csv", *csv),
        write(f"{name}/train.csv", *csv).parent,
    ]
    for path in paths:
        opened = open_dataset(str(path), streaming=streaming)
        assert list(opened["train"]) == [{"text": "right", "label": "pos"}]


@pytest.mark.parametrize("name", ["plain", "a [1]", "a::b"])
@pytest.mark.parametrize("rows", ["rows.csv", "train.jsonl"])
def test_what_else_lies_in_a_folder_is_not_read_whatever_its_name(write, name, rows):
    lines = ["text,label", "a,pos"] if "csv" in rows else ['{"text": "a", "label": "pos"}']
    write(f"{name}/README.md", "A card, without, rows")
    write(f"{name}/LICENSE", "caf\u00e9", encoding="latin-1")
    path = write(f"{name}/{rows}", *lines)
    assert rows_of(load_reviews(path.parent)) == [("a", "pos")]


def test_a_saved_data_set_may_have_any_name(tmp_path):
    rows = Dataset.from_dict({"text": ["a"], "label": ["pos"]})
    rows.save_to_disk(tmp_path / "plain")
    (tmp_path / "plain").rename(tmp_path / "a::b")
    assert rows_of(load_reviews(tmp_path / "a::b")) == [("a", "pos")]


def test_a_path_with_colons_is_the_same_data_set_each_time(write):
    path = write("a::b.csv", "text,label", "a,pos")
    prints = {load_reviews(path)["train"]._fingerprint for _ in range(2)}
    assert len(prints) == 1


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_there_but_no_file_is_not_said_to_be_missing(run, tmp_path, kind):
    path = tmp_path / "own.csv"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    result = run("evaluate", path)
    assert result.exit_code == 2
    assert "is no file or folder" in result.stderr


# Folders


@pytest.mark.parametrize(
    ("names", "odd"),
    [
        (["TRAIN.csv", "Test.csv"], "TRAIN.csv"),
        (["reviews_Train.csv", "reviews_TEST.csv"], "reviews_TEST.csv"),
        (["Train/a.csv", "Test/b.csv"], "Test/b.csv"),
        (["train.csv", "train.csv.bak"], "train.csv.bak"),
        (["train_test.csv"], "train_test.csv"),
    ],
)
def test_a_file_that_would_be_read_as_another_split_is_named(write, tmp_path, names, odd):
    for name in names:
        write(f"own/{name}", "text,label", "a,pos")
    with pytest.raises(SentimentError, match=rf"/own, {odd} would be read where it does not"):
        load_reviews(tmp_path / "own")


@pytest.mark.parametrize("names", [["Train.csv"], ["Latest.csv", "Testament.csv"], ["A.csv"]])
def test_names_in_capitals_that_tell_no_other_split_are_read(write, tmp_path, names):
    for name in names:
        write(f"own/{name}", "text,label", "a,pos")
    assert len(load_reviews(tmp_path / "own")["train"]) == len(names)


@pytest.mark.parametrize("rows", [1, 20_000])
def test_files_of_which_the_columns_differ_are_told_so(write, rows):
    write("own/train_1.csv", "text,label", "a,pos")
    path = write("own/train_2.csv", "text,label,id", *["b,neg,1"] * rows)
    with pytest.raises(SentimentError, match="own have different columns"):
        load_reviews(path.parent)


# Json

PAD = " " * 10_000


def test_the_types_of_a_json_file_are_found_beyond_its_first_rows(write):
    rows = [{"text": f"a{PAD}", "label": 0}] * 1_200 + [{"text": "b", "label": 0.5, "more": 1}]
    labels = load_reviews(write("own.jsonl", *map(json.dumps, rows)))["train"]["label"]
    assert (labels[0], labels[1_200]) == (0, 0.5)
    rows = [{"text": f"a{PAD}", "label": 1}] * 1_200 + [{"text": "b", "label": "01"}]
    with pytest.raises(SentimentError, match="'label' holds values of several types"):
        load_reviews(write("mixed.jsonl", *map(json.dumps, rows)))


@pytest.mark.parametrize("content", ["null", '[null, {"text": "a"}]', ' \n null\n{"text": "a"}'])
def test_a_json_file_that_begins_with_null_does_not_end_the_process(run_process, write, content):
    done = run_process("evaluate", write("own.json", content))
    assert done.returncode == 2
    assert "The first row of the file" in done.stderr


# Encodings


NAMED = {"latin-1": "LATIN1", "utf-32": "UTF-32"}


@pytest.mark.parametrize("name", ["own.csv", "own.tsv", "own.jsonl", "own.json", "own.csv.gz"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32"])
def test_a_file_in_another_encoding_is_refused_with_how_to_convert_it(
    run, write, tmp_path, name, encoding
):
    row = {"text": "caf\u00e9", "label": "pos"}
    content = {
        "csv": "text,label\na,pos\ncaf\u00e9,pos\n",
        "tsv": "text\tlabel\na\tpos\ncaf\u00e9\tpos\n",
        "jsonl": f"{json.dumps(row)}\n{json.dumps(row, ensure_ascii=False)}\n",
        "json": json.dumps([row], ensure_ascii=False),
    }[name.removesuffix(".gz").split(".")[1]]
    data = content.encode(encoding)
    path = write(f"folder/{name}")
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    for source in (path, path.parent):
        result = run("annotate", source, "--output", tmp_path / "out")
        assert result.exit_code == 2
        assert name in result.stderr
        assert "not in UTF-8" in result.stderr
        assert f"iconv -f {NAMED.get(encoding, 'UTF-16')}" in result.stderr
    if encoding == "latin-1":
        assert f"line {content.count(chr(10)) or 1}" in result.stderr


def test_a_byte_order_mark_is_no_word_of_a_text(tmp_path):
    for label in ("neg", "pos"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "0.txt").write_text("a\r\nfilm", encoding="utf-8-sig", newline="")
    assert load_reviews(tmp_path)["train"]["text"][:] == ["a\nfilm"] * 2


LINES = "a good film\ncaf\u00e9, bad\nwarm"


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le", "utf-32-be"])
def test_standard_input_in_utf_32_is_decoded(run, checkpoint, encoding):
    result = run("predict", "--model", checkpoint, "--json", stdin=LINES.encode(encoding))
    answers = [json.loads(line)["text"] for line in result.stdout.splitlines()]
    assert answers == LINES.split("\n")


@pytest.mark.parametrize("before", [0, 200_000])
def test_a_file_as_standard_input_is_refused_before_a_line_is_answered(run, checkpoint, before):
    content = b"a film\n" * before + LINES.encode("latin-1")
    result = run("predict", "--model", checkpoint, stdin=content)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"Line {before + 2} of standard input is not in UTF-8" in result.stderr
    assert "iconv" in result.stderr


@pytest.mark.parametrize("content", [LINES.encode("latin-1"), LINES.encode() + b"\xc3"])
def test_a_pipe_that_is_not_in_utf_8_is_refused(checkpoint, content):
    command = [sys.executable, "-m", "sentiment_hf.cli", "predict", "--model", checkpoint]
    done = subprocess.run(command, input=content, capture_output=True, check=False, timeout=240)
    assert done.returncode == 2
    assert b"standard input is not in UTF-8" in done.stderr
    assert b"caf" not in done.stdout or content.endswith(b"\xc3")


# Labels


def test_labels_match_whatever_way_their_letters_are_encoded():
    names = [unicodedata.normalize(form, "n\u00e9gatif") for form in ("NFC", "NFD")]
    assert names[0] != names[1]
    assert match_labels([names[1], "pos"], ["pos", names[0]]) == [1, 0]


BAD_LABELS = {
    "not one printable line": "a\x1bb",
    "longer than 200 characters": "a" * 201,
    "empty": "",
}


@pytest.mark.parametrize(("fault", "label"), BAD_LABELS.items(), ids=BAD_LABELS)
def test_a_label_that_no_checkpoint_can_hold_is_shown_where_it_stands(run, tmp_path, fault, label):
    labels = ["neg", "pos"] * 20 + [label]
    columns = {"text": [f"film {i}" for i in range(41)], "mood": labels}
    Dataset.from_dict(columns).to_parquet(tmp_path / "own.parquet")
    command = ["train", tmp_path / "own.parquet", "--label-column", "mood"]
    result = run(*command, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "row 41 of the column 'mood' of own.parquet" in result.stderr
    assert f"is {fault}; give it another name with --label-map" in result.stderr
    assert "id2label" not in result.stderr
    sample = run(*command, "--output", tmp_path / "out", "--max-samples", 41)
    assert "in the column 'mood'" in sample.stderr
    mapped = run(*command, "--output", tmp_path / "out", "--label-map", "pos=a\x1bb")
    assert "in --label-map is not one printable line" in mapped.stderr


def test_too_many_labels_are_a_sentence_about_their_column(run, write, tmp_path):
    lines = [f"film {number},label {number % 1_001}" for number in range(2_002)]
    result = run("train", write("own.csv", "text,label", *lines), "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "The column 'label' of own.csv has 1,001 different labels" in result.stderr


def test_rows_that_the_map_drops_are_counted_apart_from_those_without_a_label(run, write, tmp_path):
    lines = [f"film number {number},{number % 3}" for number in range(60)] + ["unsaid,"]
    path = write("own.csv", "text,label", *lines)
    sizes = ["--epochs", 1, "--vocab-size", 50, "--batch-size", 50, "--label-map", "1="]
    result = run("train", path, "--output", tmp_path / "out", *sizes)
    assert result.exit_code == 0, result.stderr
    data = json.loads((tmp_path / "out" / "training.json").read_text())["data"]
    assert data["left_out"] == {"without a label": 1, "of a label that the map drops": 20}
    assert "1 without a label, 20 of a label that the map drops." in result.stderr
    card = (tmp_path / "out" / "README.md").read_text()
    assert "rows of a label that the map drops | 20" in card


def test_a_label_that_differs_by_a_blank_is_named_as_it_has_to_be_typed(run, write, tmp_path):
    lines = [f"film number {number},{('neg', 'pos', 'pos ')[number % 3]}" for number in range(60)]
    path = write("own.csv", "text,label", *lines)
    command = ["train", path, "--epochs", 1, "--vocab-size", 50, "--output"]
    assert r"--label-map 'pos\ =pos'." in run(*command, tmp_path / "out").stderr
    result = run(*command, tmp_path / "mapped", "--label-map", r"pos\ =pos")
    assert "'neg' (18), 'pos' (36)" in result.stderr


def test_a_csv_column_that_is_empty_throughout_is_rows_without_a_text(run, write, tmp_path):
    path = write("own.csv", "text,label", ",pos", ",neg")
    assert load_reviews(path)["train"].features["text"] == Value("string")
    assert isinstance(load_reviews(path)["train"].features, Features)
    result = run("train", path, "--output", tmp_path / "out")
    assert "No row of the data set own.csv has both a text and a label" in result.stderr
