"""A folder of three files that is replaced as a checkpoint is."""

from contextlib import contextmanager
from pathlib import Path

from sentiment_hf.checkpoint.staging import locked, staged_folder

OLD = {"a": "old", "b": "old", "sub/c": "old"}
NEW = {"a": "new", "sub/c": "new", "sub/d": "new"}


def fill(folder: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def own(folder: Path) -> list[Path]:
    return [path for path in folder.glob("[a-z]*") if path.is_file()] + list(folder.glob("sub/*"))


@contextmanager
def replaced_folder(folder: Path):
    with locked(folder), staged_folder(folder, own) as new:
        yield new


def content(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in files}
