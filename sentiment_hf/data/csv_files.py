"""Csv files: the separator, and whether each row has the fields that the header names.

`datasets` and pandas take a row that is too long for one with an index, which moves every column,
and some thirty spellings, such as "None" and "n/a", for a missing value.
"""

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

import fsspec

from sentiment_hf.data.columns import LABEL_NAMES, TEXT_NAMES, plain_name
from sentiment_hf.errors import SentimentError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
CELLS = {"keep_default_na": False, "na_values": [""]}
# A column of few short values holds something like labels.
LONGEST_LABEL, MOST_LABELS = 40, 50
DECIMAL = re.compile(r"\d,\d")


def csv_options(paths: Iterable[str | Path], separator: str = ",") -> dict[str, Any]:
    """How `datasets` has to read csv files, so that their cells are what stands in them.

    Args:
        separator: the one to expect.

    Raises:
        SentimentError: the rows of a file do not fit its header, or its separator is not clear.
    """
    found = {}
    for path in map(Path, paths):
        if path.is_file():
            stat = path.stat()
            found[_checked(path, separator, stat.st_size, stat.st_mtime_ns)] = path.name
    if len(found) > 1:
        raise SentimentError(f"The files {', '.join(found.values())} have different separators.")
    return {"sep": next(iter(found), separator), **CELLS}


@lru_cache(maxsize=64)
def _checked(path: Path, expected: str, *version: int) -> str:
    """The separator of a file whose rows fit its header."""
    with _open(path) as file:
        separator = _separator(path, file.readline(), expected)
    with _open(path) as file:
        _check_rows(path, file, separator)
    return separator


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with fsspec.open(
            str(path), "rt", compression="infer", encoding="utf-8-sig", newline=""
        ) as file:
            yield file
    finally:
        csv.field_size_limit(limit)


def _fields(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


def _separator(path: Path, header: str, expected: str) -> str:
    if len(_fields(header, expected)) > 1:
        return expected
    others = [one for one in SEPARATORS if one != expected and one in header]
    known = [one for one in others if set(TEXT_NAMES) & set(map(plain_name, _fields(header, one)))]
    if len(known) == 1:
        return known[0]
    if others:
        raise SentimentError(
            f"The header of {path.name} is the one field {header.strip()!r:.80}: its separator"
            f" must be a comma, or a tab in a file that ends in .tsv; save it with commas."
        )
    return expected


def _check_rows(path: Path, file: Iterable[str], separator: str) -> None:
    header: list[str] = []
    # The values of each column; None where they are too long or too many for labels.
    values: list[set[str] | None] = []
    suspects: list[tuple[int, list[str]]] = []
    for number, lines, row in _rows(file, separator):
        if not header:
            header, values = row, [set() for _ in row]
            continue
        if not any(cell.strip() for cell in row) and len(row) < 2:
            continue  # An empty line, which pandas passes over.
        if len(row) != len(header):
            if len(lines) > 1 and not _is_well_formed(lines, separator):
                raise _open_quote(path, number)
            raise SentimentError(
                f"{path.name}, line {number}: the row has {len(row)} fields, but the header has"
                f" {len(header)} ({', '.join(header):.80}); quote a text that holds"
                f" {SEPARATORS.get(separator, repr(separator))}."
            )
        for column, cell in enumerate(row):
            known = values[column]
            if known is not None and cell.strip() and "\n" not in cell:
                known.add(cell)
                if len(cell) > LONGEST_LABEL or len(known) > MOST_LABELS:
                    values[column] = None
        if len(lines) > 1 and len(header) > 1:
            fits = [line.count(separator) == len(header) - 1 for line in lines]
            if all(fits) or sum(fits[1:-1]) > 1:
                suspects.append((number, lines))
    place, labels = _labels(header, values)
    for number, lines in suspects:
        cells = [line.rstrip("\r\n").split(separator) for line in lines]
        rows = [len(row) == len(header) and row[place].strip('"') in labels for row in cells]
        # A single line of prose may end in a number with a decimal comma.
        clear = not any(DECIMAL.search(line) for line in lines) or separator != ","
        if sum(rows[1:-1]) > 1 or (all(rows) and (clear or not _is_well_formed(lines, separator))):
            raise _open_quote(path, number)


def _rows(file: Iterable[str], separator: str) -> Iterator[tuple[int, list[str], list[str]]]:
    """The number of each row's first line, its lines, and its fields."""
    lines: list[str] = []

    def noted() -> Iterator[str]:
        for line in file:
            lines.append(line)
            yield line

    number = 1
    for row in csv.reader(noted(), delimiter=separator):
        yield number, list(lines), row
        number += len(lines)
        lines.clear()


def _is_well_formed(lines: Sequence[str], separator: str) -> bool:
    """Whether each quote is closed where the field ends."""
    try:
        return bool(list(csv.reader(lines, delimiter=separator, strict=True)))
    except csv.Error:
        return False


def _labels(header: Sequence[str], values: Sequence[set[str] | None]) -> tuple[int, set[str]]:
    """The place of the labels, by its name or as that of the fewest values, and the labels."""
    few = [(column, known) for column, known in enumerate(values) if known]
    named = [one for one in few if plain_name(header[one[0]]) in LABEL_NAMES]
    return min(named or few, key=lambda one: len(one[1]), default=(0, set()))


def _open_quote(path: Path, line: int) -> SentimentError:
    return SentimentError(
        f"{path.name}, line {line}: a quote that is not closed swallows the rows after it; close"
        " it, or double it where it belongs to the text. Texts that really hold such lines are"
        " read from jsonl and parquet files."
    )
