"""Signals to end: held back until a step is whole, and left alone where they were ignored."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from sentiment_hf.training import loop


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_to_end_is_held_back_until_the_step_is_whole(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with loop._interrupted_between_steps() as is_interrupted:
        assert not is_interrupted()
        signal.raise_signal(number)
        assert is_interrupted()
    assert signal.getsignal(number) == before


def test_a_terminal_that_closes_during_a_save_does_not_cut_it_off():
    with loop._interrupted_between_steps() as is_interrupted:
        for name in ("SIGTERM", "SIGHUP", "SIGTERM"):
            signal.raise_signal(getattr(signal, name))
        assert is_interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_a_signal_that_was_ignored_stays_ignored(name):
    before = signal.signal(getattr(signal, name), signal.SIG_IGN)
    try:
        with loop._interrupted_between_steps() as is_interrupted:
            signal.raise_signal(getattr(signal, name))
            assert not is_interrupted()
    finally:
        signal.signal(getattr(signal, name), before)


# A command that gets some signals when it asks the network for the n-th time.
SIGNALLED = """
import os, sys
from sentiment_hf import SentimentPipeline
numbers, left = eval(sys.argv.pop(1)), [eval(sys.argv.pop(1))]
probabilities = SentimentPipeline.probabilities
def ended(*arguments, **options):
    left[0] -= 1
    if left[0]:
        return probabilities(*arguments, **options)
    try:
        os.kill(os.getpid(), numbers[0])
    finally:
        for number in numbers[1:]:
            os.kill(os.getpid(), number)
    return probabilities(*arguments, **options)
SentimentPipeline.probabilities = ended
from sentiment_hf.cli import main
main()
"""
TERM, HANGUP = int(signal.SIGTERM), int(signal.SIGHUP)


def signalled(numbers, count, *arguments, ignored=False):
    def ignore():
        for number in numbers if ignored else []:
            signal.signal(number, signal.SIG_IGN)

    command = [sys.executable, "-c", SIGNALLED, numbers, count, *arguments]
    return subprocess.run(
        [*map(str, command)], preexec_fn=ignore, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("numbers", [[TERM], [HANGUP, HANGUP, TERM]], ids=["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("command", ["predict", "evaluate", "annotate"])
def test_a_command_that_is_told_to_end_ends_as_by_ctrl_c(checkpoint, tmp_path, command, numbers):
    own, out = tmp_path / "own.csv", tmp_path / "out"
    own.write_text("text,label\n" + "a good film,pos\na bad film,neg\n" * 20)
    arguments = {
        "predict": ["a film"],
        "evaluate": [own],
        "annotate": [own, "--rows-per-shard", 10, "--output", out],
    }[command]
    arguments = [command, *arguments, "--model", checkpoint, "--backend", "torch"]
    done = signalled(numbers, 2 if command == "annotate" else 1, *arguments)
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in done.stderr
    shards = [len([*out.glob("data/*.parquet")])]
    done = signalled(numbers, 1, *arguments, ignored=True)
    assert done.returncode == 0, done.stderr
    if command == "annotate":
        assert "Resuming: shards that are written already: 1." in done.stderr
        assert [*shards, len([*out.glob("data/*.parquet")])] == [1, 4]


def test_a_terminal_that_is_closed_changes_no_status():
    command = [sys.executable, "-m", "sentiment_hf.cli", "evaluate", "sample", "--max-samples", "5"]
    for options, status in ((["--model", "/no/such"], 2), ([], 0)):
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            [*command, *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        os.close(theirs)
        os.close(ours)
        assert process.wait(120) == status


# A process that ends as by Ctrl-C forks one that would catch a KeyboardInterrupt and go on.
FORKS = """
import os, signal, time
from sentiment_hf.signals import end_as_by_ctrl_c
end_as_by_ctrl_c()
try:
    signal.raise_signal(signal.SIGTERM)
except KeyboardInterrupt:
    print("interrupted", flush=True)
reader, writer = os.pipe()
if not (child := os.fork()):
    os.write(writer, b"ready")
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass
os.read(reader, 5)
os.kill(child, signal.SIGTERM)
print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


# One whose forked processes are told to end before they have begun.
TOO_EARLY = """
import os, signal, time
from sentiment_hf.signals import end_as_by_ctrl_c
end_as_by_ctrl_c()
ends = set()
for _ in range(50):
    if not (child := os.fork()):
        time.sleep(20)
        os._exit(0)
    os.kill(child, signal.SIGTERM)
    ends.add(os.WTERMSIG(os.waitpid(child, 0)[1]))
print(*ends)
"""


# One that is told to end while it forks.
MEANWHILE = """
import os, signal, time
told = []
os.register_at_fork(before=lambda: told and os.kill(os.getpid(), told.pop()))
from sentiment_hf.signals import end_as_by_ctrl_c
end_as_by_ctrl_c()
for number in (signal.SIGTERM, signal.SIGINT):
    told.append(number)
    try:
        if not (child := os.fork()):
            os._exit(0)
        os.waitpid(child, 0)
        time.sleep(20)
        print("lost")
    except KeyboardInterrupt:
        print("interrupted")
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


@pytest.mark.skipif(
    not hasattr(signal, "sigtimedwait"),
    reason="needs sigtimedwait, as Linux has it; macOS and Windows do not fork for a pool",
)
@pytest.mark.parametrize(
    ("program", "printed"),
    [
        (FORKS, ["interrupted", str(TERM)]),
        (TOO_EARLY, [str(TERM)]),
        (MEANWHILE, ["interrupted", "interrupted", "set()"]),
    ],
    ids=["at work", "at its beginning", "what it was forked from"],
)
def test_a_forked_process_ends_at_once(program, printed):
    """Else a pool waits for ever at its end, as in `map(num_proc=2)`."""
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.communicate(timeout=60)[0].split() == printed
        assert process.returncode == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_training_in_a_thread_is_left_to_its_program():
    found = []

    def enter():
        with loop._interrupted_between_steps() as is_interrupted:
            found.append(is_interrupted())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [False]
