"""Loading from the Hub: what the real client does against a Hub on loopback."""

import hashlib
import os
import subprocess
import sys
import threading
import time
import tracemalloc

import hub_checkpoints
import numpy as np
import pytest
import torch
from conftest import ANN
from hub_checkpoints import REPO, calls, same_answers
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors.torch import save_file

from sentiment_hf import LSTMForSequenceClassification, SentimentError, SentimentPipeline
from sentiment_hf.checkpoint.download import has_checksum
from sentiment_hf.checkpoint.upload import push_folder

shared = hub_checkpoints.shared


class TestLoading:
    def test_what_was_pushed_comes_back_the_same(self, hub, shared):
        assert same_answers(SentimentPipeline.from_pretrained(REPO), shared)
        network = LSTMForSequenceClassification.from_pretrained(REPO)
        state = shared.network.state_dict()
        assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())

    @pytest.mark.parametrize("home", ["/proc/nohome", "/dev/null/x"])
    def test_a_home_that_cannot_be_written_is_said_to_be_that(
        self, hub, shared, run, monkeypatch, home
    ):
        monkeypatch.setattr("huggingface_hub.constants.HF_HOME", home)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", f"{home}/hub")
        for without in ([], ["HF_TOKEN"]):
            for name in without:  # The client looks for one that is kept in its home.
                monkeypatch.delenv(name)
                monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", f"{home}/token")
            result = run("predict", "--model", REPO, "good")
            assert result.exit_code == 1
            assert f"{home}, cannot be written" in result.stderr
            assert "HF_HOME" in result.stderr

    def test_a_tag_and_an_older_commit_give_the_older_checkpoint(
        self, hub, checkpoint, make_pipeline, tmp_path
    ):
        push_folder(checkpoint, REPO, tag="v1")
        first = hub.head(REPO)
        make_pipeline(seed=1).save_pretrained(tmp_path / "second")
        push_folder(tmp_path / "second", REPO)
        old, new = make_pipeline(), make_pipeline(seed=1)
        for revision in ("v1", first):
            assert same_answers(SentimentPipeline.from_pretrained(REPO, revision=revision), old)
            assert same_answers(SentimentPipeline.from_pretrained(f"{REPO}@{revision}"), old)
        assert same_answers(SentimentPipeline.from_pretrained(REPO), new)

    def test_one_load_resolves_one_commit_and_asks_for_the_configuration_once(self, hub, shared):
        hub.requests.clear()
        SentimentPipeline.from_pretrained(REPO)
        _, listing = calls(hub, "GET /api/models/")
        assert listing.path.endswith(f"/tree/{hub.head(REPO)}")
        files = calls(hub, f"/{REPO}/resolve/")
        assert {request.path.split("/resolve/")[1].split("/")[0] for request in files} == {
            hub.head(REPO)
        }
        assert len([r for r in files if r.method == "HEAD" and "config.json" in r.path]) == 1
        hub.requests.clear()
        SentimentPipeline.from_pretrained(REPO)
        assert len(hub.requests) == 1, "what is in the cache is only compared with its checksum"

    def test_a_large_file_is_compared_with_its_checksum_in_pieces(self, tmp_path):
        content = bytes(50_000_000)
        (tmp_path / "large").write_bytes(content)
        checksum = hashlib.sha256(content).hexdigest()
        del content
        tracemalloc.start()
        with (tmp_path / "large").open("rb") as file:
            assert has_checksum(file, checksum)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
        tracemalloc.stop()

    def test_a_push_in_the_middle_of_a_load_does_not_mix_two_commits(
        self, hub, shared, make_pipeline, tmp_path
    ):
        hub.fail(f"HEAD /{REPO}/resolve/.*/config.json", "slow", seconds=1)
        loaded = []
        thread = threading.Thread(
            target=lambda: loaded.append(SentimentPipeline.from_pretrained(REPO))
        )
        thread.start()
        while not calls(hub, f"HEAD /{REPO}/resolve"):
            time.sleep(0.01)
        make_pipeline(seed=1, hidden_size=6).save_pretrained(tmp_path / "second")
        files = {p.name: p.read_bytes() for p in (tmp_path / "second").iterdir() if p.is_file()}
        hub.commit(REPO, files)
        thread.join()
        assert same_answers(loaded[0], shared)

    def test_a_warm_cache_works_offline_without_a_call(self, hub, shared, monkeypatch):
        SentimentPipeline.from_pretrained(REPO)
        hub.requests.clear()
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert same_answers(SentimentPipeline.from_pretrained(REPO), shared)
        assert not hub.requests

    def test_local_files_only_makes_no_call(self, hub, shared):
        SentimentPipeline.from_pretrained(REPO)
        hub.requests.clear()
        assert same_answers(SentimentPipeline.from_pretrained(REPO, local_files_only=True), shared)
        assert not hub.requests

    def test_a_cold_cache_offline_is_one_sentence(self, hub, shared, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(SentimentError, match="cache") as caught:
            SentimentPipeline.from_pretrained(REPO)
        assert caught.value.exit_status == 1

    def test_a_hub_out_of_reach_is_reported_within_ten_seconds(self, hub, shared):
        start = time.monotonic()
        with hub.down(), pytest.raises(SentimentError, match="cannot be reached") as caught:
            SentimentPipeline.from_pretrained(REPO)
        assert time.monotonic() - start < 10
        assert caught.value.exit_status == 1

    def test_a_damaged_download_is_noticed_and_fetched_again(self, hub, shared, caplog):
        hub.fail("GET /cdn/.*model.safetensors", "corrupt")
        assert same_answers(SentimentPipeline.from_pretrained(REPO), shared)
        assert "fetching it again" in caplog.text

    def test_a_download_that_stays_damaged_leaves_nothing_behind(self, hub, shared):
        hub.fail("GET /cdn/.*model.safetensors", "corrupt", times=2)
        with pytest.raises(SentimentError, match="checksum"):
            SentimentPipeline.from_pretrained(REPO)
        assert same_answers(SentimentPipeline.from_pretrained(REPO), shared)

    def test_a_poisoned_cache_entry_is_noticed_and_fetched_again(self, hub, shared, tmp_path):
        SentimentPipeline.from_pretrained(REPO)
        blobs = [path for path in (tmp_path / "hub-cache").rglob("blobs/*") if path.is_file()]
        assert len(blobs) >= 3
        for blob in blobs:
            content = bytearray(blob.read_bytes())
            content[len(content) // 2] ^= 1
            blob.write_bytes(content)
        assert same_answers(SentimentPipeline.from_pretrained(REPO), shared)

    def test_a_poisoned_cache_entry_offline_is_refused(self, hub, shared, tmp_path):
        SentimentPipeline.from_pretrained(REPO)
        for blob in (tmp_path / "hub-cache").rglob("blobs/*"):
            blob.write_bytes(blob.read_bytes()[:-1])
        with pytest.raises(SentimentError, match="damaged"):
            SentimentPipeline.from_pretrained(REPO, local_files_only=True)

    @pytest.mark.parametrize("fault", ["503", "429", "reset", "cut", "torn", "expired"])
    @pytest.mark.parametrize(
        "stage",
        [
            "GET /api/models/",
            f"GET /api/models/{REPO}/tree/",
            f"HEAD /{REPO}/resolve/.*/config.json",
            f"GET /{REPO}/resolve/.*/config.json",
            f"HEAD /{REPO}/resolve/.*/model.safetensors",
            "GET /cdn/.*model.safetensors",
            f"GET /{REPO}/resolve/.*/tokenizer.json",
        ],
    )
    def test_a_load_that_is_cut_anywhere_is_right_or_one_sentence(self, hub, shared, stage, fault):
        hub.fail(stage, int(fault) if fault.isdigit() else fault, times=2)
        try:
            assert same_answers(SentimentPipeline.from_pretrained(REPO), shared)
        except SentimentError as error:
            assert "\n" not in str(error)
            assert error.exit_status in (1, 2)
        hub.heal()
        assert same_answers(SentimentPipeline.from_pretrained(REPO), shared)


class TestRefusals:
    @pytest.fixture
    def private(self, hub, checkpoint):
        push_folder(checkpoint, "ann/private", private=True)
        assert hub.repo("ann/private").private

    def test_a_private_repository_without_a_token_is_one_sentence(self, private):
        with pytest.raises(SentimentError, match="private and needs a valid token"):
            SentimentPipeline.from_pretrained("ann/private", token=False)

    def test_a_private_repository_opens_with_its_token(self, private, monkeypatch):
        monkeypatch.delenv("HF_TOKEN")
        assert SentimentPipeline.from_pretrained("ann/private", token=ANN)

    def test_a_wrong_token_is_one_sentence(self, private):
        with pytest.raises(SentimentError, match="token"):
            SentimentPipeline.from_pretrained("ann/private", token="hf_wrong")

    def test_a_missing_repository(self, hub):
        with pytest.raises(SentimentError, match="does not exist") as caught:
            SentimentPipeline.from_pretrained("ann/nothing")
        assert caught.value.exit_status == 2

    def test_a_missing_revision(self, shared):
        with pytest.raises(SentimentError, match="'v9' has no such revision"):
            SentimentPipeline.from_pretrained(REPO, revision="v9")

    def test_a_gated_repository(self, hub, shared):
        hub.repo(REPO).gated = "manual"
        hub.add_user("bob", "hf_bob")
        with pytest.raises(SentimentError, match="gated"):
            SentimentPipeline.from_pretrained(REPO, token="hf_bob")

    def test_a_data_set_is_no_model(self, hub):
        hub.create("ann/reviews", repo_type="dataset")
        with pytest.raises(SentimentError, match="does not exist"):
            SentimentPipeline.from_pretrained("ann/reviews")

    @pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
    def test_a_repository_without_a_file_names_it(self, hub, shared, missing):
        hub.commit(REPO, {missing: None})
        with pytest.raises(SentimentError, match=f"has no {missing}"):
            SentimentPipeline.from_pretrained(REPO)

    def test_a_pickle_is_refused_and_never_fetched(self, hub, shared):
        hub.commit(REPO, {"model.safetensors": None, "pytorch_model.bin": b"\x80\x04."})
        with pytest.raises(SentimentError, match=r"pytorch_model.bin is a pickle"):
            SentimentPipeline.from_pretrained(REPO)
        assert not hub.calls("pytorch_model.bin")

    def test_a_repository_with_paths_that_climb_writes_nothing_outside(self, hub, shared, tmp_path):
        hub.commit(REPO, {"../../escaped": b"x", "figures/../../escaped": b"x"})
        SentimentPipeline.from_pretrained(REPO)
        assert not list(tmp_path.rglob("escaped"))

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("config.json", b"{"),
            ("config.json", b'{"model_type": "bert"}'),
            ("config.json", b"[" * 100_000),
            ("tokenizer.json", b"{}"),
            ("tokenizer.json", b'{"model": {"type": "BPE"}}'),
            ("model.safetensors", b""),
            ("model.safetensors", b"<html>"),
        ],
    )
    def test_a_damaged_file_of_a_stranger_is_one_sentence(self, hub, shared, name, content):
        hub.commit(REPO, {name: content})
        with pytest.raises(SentimentError, match=name):
            SentimentPipeline.from_pretrained(REPO)

    def test_weights_that_are_not_finite_are_refused(self, hub, shared, tmp_path):
        state = shared.network.state_dict()
        state["linear.bias"] = torch.tensor([np.nan])
        save_file(state, tmp_path / "nan")
        hub.commit(REPO, {"model.safetensors": (tmp_path / "nan").read_bytes()})
        with pytest.raises(SentimentError, match="not finite"):
            SentimentPipeline.from_pretrained(REPO)


def test_tokens_appear_nowhere(hub, trained, tmp_path, run):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    outputs = [run("push", folder, REPO), run("push", folder, "someone/else")]
    outputs.append(run("predict", "--model", REPO, "A film."))
    assert [finished.exit_code for finished in outputs] == [0, 1, 0]
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    written += list(hub.files(REPO).values())
    written += [finished.output.encode() for finished in outputs]
    assert not any(ANN.encode() in content for content in written)


@pytest.mark.slow
def test_train_push_load_and_predict_in_separate_processes(hub, tmp_path):
    def command(*arguments: str, home: str = "one", token: str | None = ANN):
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
            **hub.environment(tmp_path / home, token),
        }
        return subprocess.run(
            [sys.executable, "-m", "sentiment_hf.cli", *arguments],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip

    options = ("--epochs", "2", "--quiet")
    first = command("train", "sample", "--output", "m", *options, "--push-to", "ann/m")
    assert first.returncode == 0, first.stderr
    assert command("push", "m", "ann/m", "--tag", "v1").returncode == 0
    commit = hub.head("ann/m")
    local = command("predict", "--model", "m", "A good film.", "A bad film.")
    assert command("train", "sample", "--output", "m", *options, "--seed", "1", "--overwrite",
                   "--push-to", "ann/m").returncode == 0  # fmt: skip
    newer = command("predict", "--model", "m", "A good film.", "A bad film.")
    texts = ("A good film.", "A bad film.")
    assert command("predict", "--model", "ann/m", *texts, home="two").stdout == newer.stdout
    for number, revision in enumerate(("v1", commit)):
        older = command("predict", "--model", f"ann/m@{revision}", *texts, home=f"three {number}")
        assert older.stdout == local.stdout
    assert command("push", "m", "ann/secret", "--private").returncode == 0
    refused = command("predict", "--model", "ann/secret", "A film.", home="four", token=None)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    script = (
        "from sentiment_hf import load_reviews; load_reviews('sample').push_to_hub('ann/reviews')"
    )
    subprocess.run(
        [sys.executable, "-c", script], check=True, timeout=240, capture_output=True,
        env={**os.environ, **hub.environment(tmp_path / "one", ANN)},
    )  # fmt: skip
    trained = command("train", "ann/reviews", "--output", "d", *options, home="five")
    assert trained.returncode == 0, trained.stderr


def test_the_cause_of_a_message_is_there_for_who_looks_into_it(hub):
    with pytest.raises(SentimentError) as caught:
        SentimentPipeline.from_pretrained("ann/nothing")
    assert isinstance(caught.value.__cause__, RepositoryNotFoundError)
