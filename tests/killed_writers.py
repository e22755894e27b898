"""Writers in processes of their own that are killed at a step."""

import signal
import subprocess
import sys
from pathlib import Path

# Ends itself with SIGKILL right before its n-th step on the disk, so each moment is tried.
PROCESS = """
import os, signal, sys
from pathlib import Path
from sentiment_hf.checkpoint.files import write_json
from sentiment_hf.checkpoint.staging import locked, staged_folder

left = int(sys.argv[1])
STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "os.link"}
STEPS |= {"shutil.rmtree", "os.chmod"}

def die_in_time(event, arguments):
    global left
    if event in STEPS and working:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

working = False
sys.addaudithook(die_in_time)
target = Path(sys.argv[2])
working = True
"""


def run_killed_at(step: int, program: str, target: Path) -> bool:
    """Whether the process got to its end before that step."""
    command = [sys.executable, "-c", PROCESS + program, str(step), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode == 0
