"""Csv files: the separator, and whether each row has the fields that the header names.

`datasets` and pandas take a row that is too long for one with an index, which moves every column,
and some thirty spellings, such as "None" and "n/a", for a missing value.
"""

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

import fsspec

from sentiment_hf.data.columns import TEXT_NAMES, plain_name
from sentiment_hf.errors import SentimentError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
CELLS = {"keep_default_na": False, "na_values": [""]}
# A column of few short values holds something like labels.
LONGEST_LABEL, MOST_LABELS = 40, 50


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
        _check_rows(path, csv.reader(file, delimiter=separator), separator)
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


def _check_rows(path: Path, rows: Any, separator: str) -> None:
    header: list[str] = next(rows, [])
    # The short values of each column; None where there are too many for labels.
    values: list[set[str] | None] = [set() for _ in header]
    swallowed: list[tuple[int, list[list[str]]]] = []
    last = rows.line_num
    for row in rows:
        line, last = last + 1, rows.line_num
        if not any(cell.strip() for cell in row) and len(row) < 2:
            continue  # An empty line, which pandas passes over.
        if len(row) != len(header):
            raise SentimentError(
                f"{path.name}, line {line}: the row has {len(row)} fields, but the header has"
                f" {len(header)} ({', '.join(header):.80}); quote a text that holds"
                f" {SEPARATORS.get(separator, repr(separator))}."
            )
        for number, cell in enumerate(row):
            known = values[number]
            if known is not None and len(cell) <= LONGEST_LABEL:
                known.add(cell)
                if len(known) > MOST_LABELS:
                    values[number] = None
        if last - line > 2 and len(header) > 1:
            swallowed.append((line, _rows_within(row, separator, len(header))))
    for line, inner in swallowed:
        if sum(_is_row(cells, values) for cells in inner) > 1:
            raise SentimentError(
                f"{path.name}, line {line}: a quote that is not closed swallows the rows after it;"
                " close it, or double it where it belongs to the text."
            )


def _rows_within(row: Sequence[str], separator: str, length: int) -> list[list[str]]:
    """The lines within a field that have as many fields as a row."""
    lines = [line for cell in row for line in cell.splitlines()[1:-1]]
    return [cells for line in lines if len(cells := _fields(line, separator)) == length]


def _is_row(cells: Sequence[str], values: Sequence[set[str] | None]) -> bool:
    return any(
        known is not None and cell in known for cell, known in zip(cells, values, strict=True)
    )
