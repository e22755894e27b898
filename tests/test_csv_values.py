"""A csv file says what stands in it: spelling, numbers, names of columns, first and last lines."""

import csv
import gzip
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from datasets import Dataset, Features, Value
from written_files import rows_of

from sentiment_hf import SentimentError, load_reviews
from sentiment_hf.data.csv_files import _checked, csv_options
from sentiment_hf.data.loading import open_dataset


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
    "truth in capitals": (["TRUE", "FALSE", ""], ["TRUE", "FALSE", None]),
    "truth in all spellings": (["True", "TRUE", "true"], ["True", "TRUE", "true"]),
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


def test_a_csv_column_that_is_empty_throughout_is_rows_without_a_text(run, write, tmp_path):
    path = write("own.csv", "text,label", ",pos", ",neg")
    assert load_reviews(path)["train"].features["text"] == Value("string")
    assert isinstance(load_reviews(path)["train"].features, Features)
    result = run("train", path, "--output", tmp_path / "out")
    assert "No row of the data set own.csv has both a text and a label" in result.stderr


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ["own.csv", "own.tsv", "own/train.csv"])
def test_an_empty_line_of_a_single_column_is_a_row(write, name, streaming):
    path = write(name, "text", "a film", "", " ", '""', "b film", "")
    opened = open_dataset(str(path.parent if "/" in name else path), streaming=streaming)
    assert [row["text"] for row in opened["train"]] == ["a film", None, " ", None, "b film", None]


def test_a_single_column_of_numbers_may_have_empty_lines(write):
    opened = open_dataset(str(write("own.csv", "id", "7", "", "8")))
    assert opened["train"]["id"][:] == [7, None, 8]


def test_an_empty_line_before_the_name_of_a_single_column_is_refused(write):
    with pytest.raises(SentimentError, match=r"The first line of own\.csv is empty"):
        load_reviews(write("own.csv", "", "text", "a film"))


def test_truth_in_capitals_can_be_named_in_a_label_map(write):
    path = write("own.csv", "text,label", "a,TRUE", "b,FALSE")
    assert labels_of(load_reviews(path, label_map={"TRUE": "pos", "FALSE": "neg"})) == [
        "pos",
        "neg",
    ]


def test_threads_read_long_cells_and_leave_the_limit_of_csv_as_it_was(write):
    long = "a good film " * 20_000
    paths = [write(f"{number}.csv", "text,label", f"{long},pos") for number in range(8)]
    limit = csv.field_size_limit()
    for _ in range(3):
        _checked.cache_clear()
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda path: csv_options([path])["sep"], paths))
        assert found == [","] * 8
        assert csv.field_size_limit() == limit


def test_a_file_that_takes_the_size_and_time_of_another_is_checked_anew(write):
    for line, kind in (("7,1", "int64"), ("x,1", "string")):
        path = write("own.csv", "text,label", line)
        os.utime(path, (1e9, 1e9))
        assert csv_options([path])["features"]["text"] == Value(kind)
