"""csv files: separators, quotes, headers, and rows that do not fit."""

import csv
import json

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from written_files import rows_of

from sentiment_hf import load_reviews


@pytest.mark.parametrize(
    ("lines", "line", "fields"),
    [
        (["text,label", "good,pos,", "bad,neg,"], 2, 3),
        (["text,label", "good,pos", "bad, and dull,neg"], 3, 3),
        (["text,label,id", "good,pos,1", '"bad\nand dull",neg', "fine,pos,2"], 3, 2),
        (["text", "good, and warm"], 2, 2),
        (["label,text,source", "pos,good,web,", "neg,bad,web,"], 2, 4),
    ],
)
def test_a_csv_row_that_does_not_fit_the_header_is_refused_with_its_line(
    run, write, tmp_path, lines, line, fields
):
    path = write("own.csv", *lines)
    folder = write("folder/train.csv", *lines).parent
    for command in (
        ["train", path, "--output", tmp_path / "out"],
        ["annotate", path, "--output", tmp_path / "out"],
        ["annotate", folder, "--output", tmp_path / "out"],
        ["evaluate", path],
    ):
        result = run(*command)
        assert result.exit_code == 2, result.output
        assert f"line {line}: the row has {fields} fields" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("lines", "advice"),
    [
        (["a film,pos", "good;pos"], "it fits with semicolons instead of commas"),
        (["a film,pos", "# a comment"], "take out a line that is no row, such as a comment"),
        (["a film,pos", "\x1a"], "take out a line that is no row"),
        (["a film,pos", "good, warm,pos"], "quote a text that holds commas"),
    ],
)
def test_the_advice_is_about_the_row_that_does_not_fit(run, write, lines, advice):
    result = run("evaluate", write("own.csv", "text,label", *lines))
    assert result.exit_code == 2
    assert "own.csv, line 3: the row has" in result.stderr
    assert advice in result.stderr
    assert result.stderr.count("quote a text") == advice.count("quote a text")


def test_a_text_with_a_comma_in_a_single_column_is_to_be_quoted(run, write):
    result = run("evaluate", write("own.csv", "text", "a film", "good, warm"))
    assert "line 3: the row has 2 fields" in result.stderr
    assert "quote a text that holds commas" in result.stderr


def test_empty_lines_and_lines_within_quotes_are_no_fault_of_a_csv_file(write):
    poem = "Rose, oh rose,\nred, very red,\nthorn, thorn,\nend"
    rows = [(poem, "pos"), ('a "good", film', "pos"), ("bad", "neg"), ("", "neg")]
    table = [f'"{text.replace(chr(34), chr(34) * 2)}",{label}' for text, label in rows]
    path = write("own.csv", "text,label", "", *table, "", "  ", encoding="utf-8-sig")
    found = rows_of(load_reviews(path))
    assert found[:3] == rows[:3]
    assert len(found) == 4


HEADERS = [("Text", " label "), ("REVIEW ", "Sentiment"), (" Sentence", "TARGET")]


@pytest.mark.parametrize("header", HEADERS)
def test_case_and_blanks_of_column_names_make_no_difference(
    run, checkpoint, write, tmp_path, header
):
    rows = [("good", "pos"), ("bad", "neg")]
    table = [dict(zip(header, row, strict=True)) for row in rows]
    Dataset.from_list(table).to_parquet(tmp_path / "own.parquet")
    sources = [
        write("own.csv", ",".join(header), *map(",".join, rows)),
        write("bars.csv", "|".join(header), *map("|".join, rows)),
        write("own.jsonl", *map(json.dumps, table)),
        tmp_path / "own.parquet",
        Dataset.from_list(table),
    ]
    for source in sources:
        assert rows_of(load_reviews(source)) == rows
    result = run("annotate", sources[0], "--output", tmp_path / "out", "--model", checkpoint)
    assert f"column {header[0]!r} of own.csv" in result.stderr


@pytest.mark.parametrize(("separator", "name"), [(";", "csv"), ("\t", "csv"), ("|", "csv")])
def test_another_separator_is_seen_where_the_header_splits_into_known_names(
    run, write, separator, name
):
    lines = [["text", "label"], ["good, warm", "pos"], ["bad, cold", "neg"]]
    path = write(f"own.{name}", *map(separator.join, lines))
    assert rows_of(load_reviews(path)) == [("good, warm", "pos"), ("bad, cold", "neg")]


def test_a_tsv_file_is_separated_by_tabs_whatever_its_header(write):
    path = write("own.tsv", "body\tmood", "good, warm\tpos", "bad, cold\tneg")
    reviews = load_reviews(path, text_column="body", label_column="mood")
    assert rows_of(reviews) == [("good, warm", "pos"), ("bad, cold", "neg")]


@pytest.mark.parametrize("header", ["body;mood", "body|mood", "sep=;"])
def test_a_separator_that_is_not_clear_is_refused_with_what_to_do(run, write, tmp_path, header):
    path = write("own.csv", header, "good;pos", "bad;neg")
    for command in ("train", "annotate"):
        result = run(command, path, "--output", tmp_path / "out")
        assert result.exit_code == 2
        assert repr(header) in result.stderr
        assert "save it with commas" in result.stderr


ROWS = [f"film {word},{('neg', 'pos')[i % 2]}" for i, word in enumerate("abcdefghij")]
CODED = ["pos,film of 3", "neg,film of 5", "pos,film of 7"]
SWALLOWED = {
    "many": ['"an open quote,pos', *ROWS, '"end",neg'],
    "one": ['"an open quote,pos', 'a screen of 6",neg'],
    "two": ['"an open quote,pos', "a film,neg", 'a screen of 6",neg'],
    "one, to the next quoted text": ['"an open quote,pos', '"a film",neg'],
    "two, of numbers, to the next quoted text": ['"part 1,0', "part 2,1", '"part 3",0'],
    "to the next quoted text with a comma": ['"an open quote,pos', '"a film, good",neg'],
    "to the end": ['"an open quote,pos', "a film,neg", "a play,pos"],
    "in a label": ['a film,"pos', "a play,neg", 'a show,pos"'],
}


@pytest.mark.parametrize("lines", SWALLOWED.values(), ids=SWALLOWED)
@pytest.mark.parametrize("line_end", ["", "\r"])
def test_a_quote_that_swallows_rows_is_noticed(run, write, lines, line_end):
    table = ["text,label", *ROWS[:3], "old 1,0", "old 2,1", *lines, *ROWS[3:]]
    if lines is SWALLOWED["to the end"]:
        table = table[: -len(ROWS[3:])]
    result = run("evaluate", write("own.csv", *(line + line_end for line in table)))
    assert result.exit_code == 2
    assert "own.csv, line 7: a quote that is not closed" in result.stderr


def test_a_quote_that_swallows_rows_is_noticed_wherever_the_labels_stand(run, write):
    for header in ("label,text", "stars,body", "Label ,text"):
        path = write("own.csv", header, *CODED, 'pos,"an open quote', 'neg,a screen of 6"', *CODED)
        result = run("annotate", path, "--output", path.parent / "out")
        assert result.exit_code == 2
        assert "own.csv, line 5: a quote that is not closed" in result.stderr


PLAIN = [f"film {word}" for word in "abcdef"]
SWALLOWED_TEXTS = {
    "many": ['"an open quote', *PLAIN[:3], 'a screen of 6"'],
    "one, to the next quoted text": ['"an open quote', "a film", '"a film, good"'],
    "to the end": ['"an open quote', "a film"],
}


@pytest.mark.parametrize("lines", SWALLOWED_TEXTS.values(), ids=SWALLOWED_TEXTS)
@pytest.mark.parametrize("line_end", ["", "\r"])
def test_a_quote_that_swallows_texts_of_a_single_column_is_noticed(
    run, write, tmp_path, lines, line_end
):
    table = ["text", *PLAIN, *lines, *(() if len(lines) == 2 else PLAIN)]
    path = write("own.csv", *(line + line_end for line in table))
    result = run("annotate", path, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "own.csv, line 8: a quote that is not closed" in result.stderr


QUOTED = [
    ["It begins well,\nwith rain\nand roses\nand ends badly", "a film"],
    ["Good\n\nThe second paragraph\n\nThe third", "a film"],
    ['He said\n"good"\nand\nleft', "a film"],
    ["Good\nbut long", "a film"],
    ["Plot\n4\nActing\n3", "a film", "Plot\n3\nActing, 4\nIn all\n4"],
]


@pytest.mark.parametrize("texts", QUOTED)
def test_texts_of_several_lines_in_a_single_column_are_read(tmp_path, texts):
    with open(tmp_path / "own.csv", "w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])
    assert load_reviews(tmp_path / "own.csv")["train"]["text"][:] == texts


@pytest.mark.parametrize("name", ["own.csv", "own.tsv", "own/train.csv"])
def test_quotes_with_a_backslash_before_them_are_read(write, name):
    texts = ['He said "bad", to me', '"Good"', "a film", "a \\ b", 'a screen of 6"']
    table = [(text.replace("\\", "\\\\").replace('"', '\\"'), "pos") for text in texts]
    separator = "\t" if name.endswith("tsv") else ","
    lines = [f'"{text}"{separator}{label}' for text, label in [("text", "label"), *table]]
    path = write(name, *lines)
    reviews = load_reviews(path.parent if "/" in name else path)
    assert rows_of(reviews) == [(text, "pos") for text in texts]


@pytest.mark.parametrize("name", ["own.tsv", "own.csv", "own/train.tsv"])
def test_texts_between_tabs_need_no_quotes_around_them(write, name):
    texts = ['"a good film', 'the "best" of all', '"well" it is', "a film", 'a screen of 6"']
    path = write(name, "index\tsentence\tlabel", *(f"{i}\t{t}\tpos" for i, t in enumerate(texts)))
    reviews = load_reviews(path.parent if "/" in name else path)
    assert rows_of(reviews) == [(text, "pos") for text in texts]


@pytest.mark.parametrize(
    "lines",
    [
        ['"an open quote\tpos', '"He said ""no"""\tneg'],  # Somebody has doubled quotes.
        ['"an open quote\tpos', 'a film\t"neg"'],  # Not of texts alone.
        ['"an open quote\tpos', "and\tits\tend"],
        ['"an open quote', 'goes on"s\tpos'],
        [*(f'"film {i}"\tpos' for i in range(5)), '"film" x\tneg'],  # Most have quotes around them.
        [*(f'"film {i}"\tpos' for i in range(5)), '"the \\\\"best"\tneg', '"a" b\tneg'],
    ],
)
def test_texts_between_tabs_that_have_quotes_around_them_keep_their_rules(run, write, lines):
    result = run("evaluate", write("own.tsv", "text\tlabel", "a film\tneg", *lines))
    assert result.exit_code == 2
    assert "own.tsv, line " in result.stderr


@pytest.mark.parametrize(
    ("line", "lines", "advice"),
    [
        (3, ['"He said \\"bad\\" to me",neg', "C:\\new,pos"], """as with `sed 's/\\\\"/""/g'`"""),
        (3, ['"well" it is,pos'], "double those within it"),
        (4, ['"Good film",pos', 'bad,"neg"s'], "double those within it"),
    ],
)
def test_quotes_that_would_be_garbled_are_refused_with_their_line(run, write, line, lines, advice):
    result = run("evaluate", write("own.csv", "text,label", "a film,pos", *lines))
    assert result.exit_code == 2
    assert f"own.csv, line {line}: " in result.stderr
    assert advice in result.stderr


def test_a_backslash_where_no_quote_is_escaped_stays(write):
    path = write("own.csv", "text,label", "C:\\new,pos", '"a \\ b",neg', 'the \\"best\\",pos')
    texts = [text for text, _ in rows_of(load_reviews(path))]
    assert texts == ["C:\\new", "a \\ b", 'the \\"best\\"']


LONG_TEXTS = [
    "It begins well, with rain\nand ends, alas, badly",
    "A poem,\nof roses,\nof thorns,\nof rain",
    "Good, bad\nor ugly, pos",
    'He said "good, pos"\nand left',
    "The first paragraph, with commas.\n\nThe second, too.\n\nThe third.",
    "Acting 4,5\nPlot 3,4\n",
    "neg\npos",
    "\nIt begins late, pos\n",
    "pos, neg\npos, neg",
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("labels", [("neg", "pos"), ("4", "5")])
def test_texts_of_several_lines_and_paragraphs_are_read(tmp_path, labels, line_end):
    texts = [text.replace("\n", line_end) for text in LONG_TEXTS]
    rows = [(text, labels[i % 2]) for i, text in enumerate(texts * 4)]
    for order in (1, -1):
        with open(tmp_path / "own.csv", "w", newline="") as file:
            table = csv.writer(file, lineterminator=line_end)
            table.writerows([("text", "label")[::order], *(row[::order] for row in rows)])
        assert rows_of(load_reviews(tmp_path / "own.csv")) == rows


CELLS = st.text(
    st.sampled_from('ab ,;|\t"\n\r\u00e9\u2028\ufeff\U0001f600'), max_size=12
) | st.sampled_from(
    ["null", "NA", "None", "n/a", "nan", "-1", "1,5", "#", "pos", "a,pos", '"', '""']
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    table=st.lists(st.tuples(CELLS, st.sampled_from(["pos", "neg", "None", "a, b"])), min_size=1),
    line_end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_pythons_csv_module_writes_comes_back(tmp_path_factory, table, line_end, quoting):
    path = tmp_path_factory.mktemp("csv") / "own.csv"
    if any("\r" in text for text, _ in table):
        quoting = csv.QUOTE_ALL  # Otherwise some versions of Python leave it bare, as a line end.
    with open(path, "w", newline="", encoding="utf-8") as file:
        written = csv.writer(file, lineterminator=line_end, quoting=quoting)
        table = [*table, ("a film", "pos")]  # A column without any text would be none of texts.
        written.writerows([("text", "label"), *table])
    assert rows_of(load_reviews(path)) == [(text or None, label) for text, label in table]
