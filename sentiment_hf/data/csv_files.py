"""Csv files: the separator, the types of the columns, and whether the rows fit the header.

`datasets` and pandas take a row that is too long for one with an index, which moves every column,
some thirty spellings, such as "None" and "n/a", for a missing value, and "01" for the number 1;
they guess types from the first rows alone.
"""

import csv
import io
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

import pandas as pd
from datasets import Features, Value

from sentiment_hf.data.columns import LABEL_NAMES, TEXT_NAMES, plain_name
from sentiment_hf.data.text_files import check_text, file_version, open_file
from sentiment_hf.errors import SentimentError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
CELLS = {"keep_default_na": False, "na_values": [""]}
# A column of few short values holds something like labels.
LONGEST_LABEL, MOST_LABELS = 40, 50
# What `csv` says of a quote that nothing closes.
OPEN = "unexpected end of data"
# In a single column, where no separator tells: so many lines of one text are more than a few.
MANY_LINES = 4
DECIMAL = re.compile(r"\d,\d")
# Spellings that say no more than their value: "01" and "+1" do.
WHOLE = re.compile(r" *(-?[1-9][0-9]{0,18}|0) *")
NUMBER = re.compile(r" *-?((0|[1-9][0-9]*)?\.[0-9]+([eE][+-][0-9]+)?|[1-9][eE][+-][0-9]+) *")

_LIMIT = threading.Lock()


class _Layout(NamedTuple):
    separator: str
    escape: str | None = None
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL


def csv_options(paths: Iterable[str | Path], separator: str = ",") -> dict[str, Any]:
    """How `datasets` has to read csv files, so that their cells are what stands in them.

    Args:
        separator: the one to expect.

    Raises:
        SentimentError: the rows of a file do not fit its header, or its separator is not clear.
    """
    layouts, columns = {}, []
    for path in map(Path, paths):
        if path.is_file():
            layout, kinds = _checked(path, separator, *file_version(path))
            layouts[layout] = path.name
            columns.append(kinds)
    if len(layouts) > 1:
        raise SentimentError(
            f"The files {', '.join(layouts.values())} have different separators, or other rules for"
            " quotes within a text; read them one at a time."
        )
    layout = next(iter(layouts), _Layout(separator))
    options = {"sep": layout.separator, "features": _features(columns), **CELLS}
    if layout.escape:
        options["escapechar"] = layout.escape
    if layout.quoting:
        options["quoting"] = layout.quoting
    if columns and all(len(kinds) == 1 for kinds in columns):
        # An empty line of a single column is an empty cell.
        options["skip_blank_lines"] = False
    return options


def _features(files: Sequence[Mapping[str, Set[str]]]) -> Features | None:
    """The types of columns over all files; None where their headers differ."""
    if not files or any(file.keys() != files[0].keys() for file in files):
        return None
    kinds = {name: set().union(*(file[name] for file in files)) for name in files[0]}
    return Features({name: Value(_type(found)) for name, found in kinds.items()})


def _type(kinds: Set[str]) -> str:
    """The type that holds all cells of a column, from what `_kind` calls them."""
    if kinds in ({"int64"}, {"large"}, {"int64", "large"}):
        return "int64"
    if kinds & {"int64", "float64"} and kinds <= {"int64", "float64", "empty"}:
        return "float64"
    return "string"


def _kind(cell: str) -> str:
    if not cell:
        return "empty"
    if WHOLE.fullmatch(cell) and abs(int(cell)) < 2**63:
        # Beside an empty cell pandas reads floats, which do not hold all numbers beyond.
        return "int64" if abs(int(cell)) <= 2**53 else "large"
    return "float64" if NUMBER.fullmatch(cell) else "string"


@lru_cache(maxsize=64)
def _checked(path: Path, expected: str, *version: int) -> tuple[_Layout, dict[str, set[str]]]:
    """The layout and the columns of a file whose rows fit its header."""
    check_text(path)
    with _open(path) as file:
        plain = _Layout(_separator(path, file.readline(), expected))
    try:
        return _columns_of(path, plain)
    except SentimentError:
        others = [(plain._replace(escape="\\"), _escapes_quotes)]
        if plain.separator == "\t":
            others.append((plain._replace(quoting=csv.QUOTE_NONE), _holds_quotes_as_they_are))
        for layout, is_likely in others:
            with _open(path) as file:
                if not is_likely(file):
                    continue
            with suppress(SentimentError):
                return _columns_of(path, layout)
        raise


def _columns_of(path: Path, layout: _Layout) -> tuple[_Layout, dict[str, set[str]]]:
    with _open(path) as file:
        return layout, _check_rows(path, file, layout)


def _escapes_quotes(file: Iterable[str]) -> bool:
    """Whether backslashes stand before quotes, and before nothing but these and backslashes."""
    found = False
    for line in file:
        found = found or '\\"' in line
        if "\\" in re.sub(r'\\["\\]', "", line):
            return False
    return found


def _holds_quotes_as_they_are(file: Iterable[str]) -> bool:
    """Whether texts stand between tabs without quotes around them, as in SST-2's files of GLUE.

    Then nobody has doubled a quote or put a backslash before it, only one column, not its name, has
    any, and few of its texts have them around the whole.
    """
    columns, whole, others = set(), 0, 0
    for number, line in enumerate(file):
        cells = line.rstrip("\r\n").split("\t")
        for place, cell in enumerate(cells):
            if '"' in cell:
                columns.add(place)
                is_whole = len(cell) > 1 and cell[0] == cell[-1] == '"'
                whole, others = whole + is_whole, others + (not is_whole)
        is_header = not number
        if '""' in line or '\\"' in line or (is_header and (columns or len(cells) < 2)):
            return False
    return len(columns) == 1 and whole <= others


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    # The limit is one for all threads: another one would give it back too early, or keep ours.
    with _LIMIT:
        limit = csv.field_size_limit(sys.maxsize)
        try:
            with open_file(path, "rt", encoding="utf-8-sig", newline="") as file:
                yield file
        finally:
            csv.field_size_limit(limit)


def _fields(lines: Iterable[str], separator: str) -> list[str]:
    return next(csv.reader(lines, delimiter=separator), [])


def _separator(path: Path, header: str, expected: str) -> str:
    # A line of Excel's own, which it reads and nobody else does.
    is_note = header.startswith("sep=")
    if len(_fields([header], expected)) > 1 and not is_note:
        return expected
    others = [one for one in SEPARATORS if one != expected and one in header]
    known = [s for s in others if set(TEXT_NAMES) & set(map(plain_name, _fields([header], s)))]
    if len(known) == 1:
        return known[0]
    if others or is_note:
        raise SentimentError(
            f"The header of {path.name} is the one field {header.strip()!r:.80}: the names of the"
            " columns must stand there, and the separator must be a comma, or a tab in a file that"
            " ends in .tsv; save it with commas."
        )
    return expected


def _check_rows(path: Path, file: Iterable[str], layout: _Layout) -> dict[str, set[str]]:
    """The names of the columns and the kinds of their cells."""
    separator = layout.separator
    header: list[str] = []
    # The values of each column; None where they are too long or too many for labels.
    values: list[set[str] | None] = []
    kinds: list[set[str]] = []
    suspects: list[tuple[int, list[str]]] = []
    of_many_lines = 0
    for number, lines, row in _rows(path, file, layout):
        if not any(cell.strip() for cell in row) and len(row) < 2 and len(header) != 1:
            continue  # An empty line, which pandas passes over.
        if not header:
            if number > 1 and len(row) == 1:
                raise SentimentError(
                    f"The first line of {path.name} is empty; take it out, so that the name of the"
                    " column stands there."
                )
            header = row
            values, kinds = [set() for _ in row], [set() for _ in row]
            continue
        if len(row) != len(header):
            advice = _advice(lines, row, header, separator)
            raise SentimentError(
                f"{path.name}, line {number}: the row has {len(row)} fields, but the header has"
                f" {len(header)} ({', '.join(header):.80}); {advice}."
            )
        for column, cell in enumerate(row):
            if "string" not in kinds[column]:
                kinds[column].add(_kind(cell))
            known = values[column]
            if known is not None and cell.strip() and "\n" not in cell:
                known.add(cell)
                if len(cell) > LONGEST_LABEL or len(known) > MOST_LABELS:
                    values[column] = None
        if len(lines) > 1:
            of_many_lines += 1
            fits = [line.count(separator) == len(header) - 1 for line in lines]
            if all(fits) or sum(fits[1:-1]) > 1:
                suspects.append((number, lines))
    if len(header) > 1:
        _check_texts_of_many_lines(path, header, values, suspects, separator)
    elif of_many_lines == sum(_could_be_rows(lines, separator) for _, lines in suspects) > 0:
        raise _open_quote(path, suspects[0][0])
    return dict(zip(_names(path, header), kinds, strict=True))


def _advice(lines: Sequence[str], row: Sequence[str], header: Sequence[str], separator: str) -> str:
    """What to do about a row that does not fit the header."""
    own = SEPARATORS.get(separator, repr(separator))
    for other, name in SEPARATORS.items():
        if len(_fields(lines, other)) == len(header) > 1:
            return f"it fits with {name} instead of {own}: save the whole file with one separator"
    if len(row) > len(header):
        return f"quote a text that holds {own}"
    return "take out a line that is no row, such as a comment, else write the missing fields"


def _check_texts_of_many_lines(
    path: Path,
    header: Sequence[str],
    values: Sequence[set[str] | None],
    suspects: Iterable[tuple[int, list[str]]],
    separator: str,
) -> None:
    """Refuses a text whose lines look like rows, with labels that other rows have."""
    # The column of the labels is called so, or has the fewest values.
    few = [(column, known) for column, known in enumerate(values) if known]
    named = [one for one in few if plain_name(header[one[0]]) in LABEL_NAMES]
    place, labels = min(named or few, key=lambda one: len(one[1]), default=(0, set()))
    for number, lines in suspects:
        cells = [line.rstrip("\r\n").split(separator) for line in lines]
        rows = [len(row) == len(header) and row[place].strip('"') in labels for row in cells]
        # A single line of prose may end in a number with a decimal comma.
        clear = not any(DECIMAL.search(line) for line in lines) or separator != ","
        if sum(rows[1:-1]) > 1 or (all(rows) and clear):
            raise _open_quote(path, number)


def _could_be_rows(lines: Sequence[str], separator: str) -> bool:
    """Whether the lines of a text in a single column could as well be so many rows."""
    bare = all(line.strip() and separator not in line for line in lines)
    return len(lines) >= MANY_LINES and bare and sum(line.count('"') for line in lines) == 2


def _names(path: Path, header: Sequence[str]) -> list[str]:
    """The names of the columns, as pandas calls those that have none."""
    if not header:
        raise SentimentError(f"The file {path} is empty.")
    twice = [name for name in header if name and header.count(name) > 1]
    if twice:
        raise SentimentError(
            f"{path.name} has several columns that are called {twice[0]!r:.80}; rename them."
        )
    line = io.StringIO()
    csv.writer(line).writerow(header)
    return list(pd.read_csv(io.StringIO(line.getvalue()), nrows=0).columns)


def _rows(
    path: Path, file: Iterable[str], layout: _Layout
) -> Iterator[tuple[int, list[str], list[str]]]:
    """The number of each row's first line, its lines, and its fields."""
    lines: list[str] = []

    def noted() -> Iterator[str]:
        for line in file:
            lines.append(line)
            yield line

    number = 1
    try:
        for row in csv.reader(
            noted(), delimiter=layout.separator, escapechar=layout.escape,
            quoting=layout.quoting, strict=True,
        ):  # fmt: skip
            yield number, list(lines), row or [""]
            number += len(lines)
            lines.clear()
    except csv.Error as error:
        raise _quote_fault(path, number, lines, str(error)) from error


def _quote_fault(path: Path, number: int, lines: Sequence[str], fault: str) -> SentimentError:
    if any('\\"' in line for line in lines):
        return SentimentError(
            f"{path.name}, line {number}: quotes within a text have a backslash before them; double"
            """ them instead, as with `sed 's/\\\\"/""/g'`."""
        )
    if OPEN in fault or len(lines) > 1:
        return _open_quote(path, number)
    return SentimentError(
        f"{path.name}, line {number}: a text that begins with a quote goes on after the next one;"
        ' put quotes around the text and double those within it, as in `"""Good"" it is"`.'
    )


def _open_quote(path: Path, line: int) -> SentimentError:
    return SentimentError(
        f"{path.name}, line {line}: a quote that is not closed swallows the rows after it; close"
        " it, or double it where it belongs to the text. Texts that really hold such lines are"
        " read from jsonl and parquet files."
    )
