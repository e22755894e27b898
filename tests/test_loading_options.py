"""Options of a load, a Hub that never answers, and what an error does not show."""

import os
import subprocess
import sys
import threading
import time

import hub_checkpoints
import pytest
from conftest import ANN
from hub_checkpoints import REPO, loaded

from sentiment_hf import LSTMForSequenceClassification, SentimentError, SentimentPipeline
from sentiment_hf.checkpoint.upload import push_folder

bare = hub_checkpoints.bare
measured = hub_checkpoints.measured


class TestLoadingOptions:
    @pytest.fixture(autouse=True)
    def shared(self, hub, checkpoint):
        push_folder(checkpoint, REPO, tag="v1")
        return SentimentPipeline.from_pretrained(checkpoint)

    def test_cache_dir_holds_what_was_fetched(self, tmp_path):
        loaded(cache_dir=tmp_path / "mine")
        assert list((tmp_path / "mine").rglob("model.safetensors"))
        assert not (tmp_path / "hub-cache").exists()
        loaded(cache_dir=str(tmp_path / "mine"), local_files_only=True)

    def test_force_download_fetches_again(self, hub):
        loaded()
        hub.requests.clear()
        loaded()
        assert not hub.calls("GET /cdn/.*model.safetensors")
        loaded(force_download=True)
        assert len(hub.calls("GET /cdn/.*model.safetensors")) == 1

    def test_force_download_and_local_files_only_exclude_each_other(self):
        with pytest.raises(SentimentError, match="force_download"):
            loaded(force_download=True, local_files_only=True)

    def test_a_commit_a_tag_and_a_branch_are_found_again_offline(self, hub, bare):
        first = hub.head(REPO)
        push_folder(bare, REPO, branch="feature/x")
        expected = {name: loaded(revision=name) for name in ("v1", first, "feature/x")}
        hub.requests.clear()
        for name, answer in expected.items():
            assert loaded(revision=name, local_files_only=True).equal(answer)
        assert not hub.requests
        assert not expected["v1"].equal(expected["feature/x"])

    def test_two_revisions_at_once_and_none_at_all_are_refused(self):
        for name, options in ((f"{REPO}@v1", {"revision": "main"}), (f"{REPO}@", {})):
            with pytest.raises(SentimentError, match="revision"):
                SentimentPipeline.from_pretrained(name, **options)
        SentimentPipeline.from_pretrained(f"{REPO}@v1", revision="v1")

    def test_loads_at_once_share_a_cache(self):
        found, errors = [], []

        def load() -> None:
            try:
                found.append(loaded())
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert all(answer.equal(found[0]) for answer in found)

    def test_a_cache_that_is_only_to_be_read_serves(self, hub, tmp_path, monkeypatch):
        expected = loaded()

        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied")

        reference = next((tmp_path / "hub-cache").rglob("refs/main"))
        reference.write_text("0" * 40)
        monkeypatch.setattr("sentiment_hf.checkpoint.download.os.replace", refuse)
        assert loaded().equal(expected)

    def test_a_cache_without_links_serves_offline(self, tmp_path):
        expected = loaded()
        for path in (tmp_path / "hub-cache").rglob("snapshots/*/*"):
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)
        assert loaded(local_files_only=True).equal(expected)

    def test_an_incomplete_cache_offline_says_what_is_missing(self, tmp_path):
        LSTMForSequenceClassification.from_pretrained(REPO)  # Fetches no tokenizer.
        with pytest.raises(SentimentError, match=r"tokenizer.json of .* is missing") as caught:
            loaded(local_files_only=True)
        assert caught.value.exit_status == 1

    @pytest.mark.parametrize("name", ["weights.pt", "model.pth", "model.pkl", "pytorch_model.bin"])
    def test_no_pickle_is_fetched_whatever_its_name(self, hub, name):
        hub.commit(REPO, {"model.safetensors": None, name: b"\x80\x04."})
        with pytest.raises(SentimentError, match="pickle"):
            loaded()
        assert not hub.calls(name)


class TestASilentHub:
    @pytest.fixture
    def silent(self, hub, bare, monkeypatch):
        push_folder(bare, REPO)
        monkeypatch.setattr("sentiment_hf.checkpoint.download.HUB_TIMEOUT_SECONDS", 0.5)
        monkeypatch.setattr("sentiment_hf.checkpoint.upload.HUB_TIMEOUT_SECONDS", 0.5)
        hub.fail(".", "slow", times=99, seconds=20)
        return bare

    def test_a_load_and_a_push_end_with_a_sentence(self, silent):
        for act in (loaded, lambda: push_folder(silent, REPO)):
            start = time.monotonic()
            with pytest.raises(SentimentError, match="cannot be reached") as caught:
                act()
            assert caught.value.exit_status == 1
            assert time.monotonic() - start < 5


def test_a_signed_address_does_not_appear_in_an_error(hub, bare):
    push_folder(bare, REPO)
    hub.fail("GET /cdn/.*", 403, times=9)
    with pytest.raises(SentimentError) as caught:
        loaded()
    assert "filename=" not in str(caught.value)
    assert "?" not in str(caught.value)


def test_a_token_given_as_an_argument_appears_nowhere(hub, measured, tmp_path, caplog, capsys):
    hub.add_user("eve", "hf_eve_secret")
    caplog.set_level("DEBUG")
    push_folder(measured, "eve/small", token="hf_eve_secret")
    pipe = SentimentPipeline.from_pretrained("eve/small", token="hf_eve_secret")
    pipe.save_pretrained(tmp_path / "again")
    with pytest.raises(SentimentError) as caught:
        push_folder(measured, REPO, token="hf_eve_secret")
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    written += list(hub.files("eve/small").values())
    shown = capsys.readouterr()
    written += [text.encode() for text in (caplog.text, shown.out, shown.err, str(caught.value))]
    assert not any(b"hf_eve_secret" in content for content in written)


def test_offline_as_a_variable_of_a_process(hub, bare, tmp_path):
    """HF_HUB_OFFLINE is read when the client is imported, so this needs a process."""
    push_folder(bare, REPO)

    def predict(**variables):
        environment = {**os.environ, **hub.environment(tmp_path / "home", ANN), **variables}
        command = [sys.executable, "-m", "sentiment_hf.cli", "predict", "--model", REPO, "good"]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    cold = predict(HF_HUB_OFFLINE="1")
    assert (cold.returncode, cold.stdout) == (1, "")
    assert "cache" in cold.stderr
    assert cold.stderr.count("\n") == 1
    online = predict()
    assert (online.returncode, online.stderr) == (0, "")
    hub.requests.clear()
    assert predict(HF_HUB_OFFLINE="1").stdout == online.stdout
    assert not hub.requests
