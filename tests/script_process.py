"""Scripts in processes of their own."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parent.parent / "scripts"


def run_script(name, *arguments, cwd):
    return subprocess.run(
        [sys.executable, SCRIPTS / name, *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
