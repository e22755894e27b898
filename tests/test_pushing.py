"""Pushing: one commit on a known parent, with the files of a checkpoint and nothing else."""

import threading
import time

import hub_checkpoints
import pytest
import torch
from hub_checkpoints import REPO, calls, same_answers

from sentiment_hf import LSTMForSequenceClassification, SentimentError, SentimentPipeline, train
from sentiment_hf.checkpoint.upload import push_folder

shared = hub_checkpoints.shared


class TestPushing:
    def test_only_the_files_of_a_checkpoint_are_pushed(self, hub, trained, tmp_path):
        import shutil

        folder = tmp_path / "full"
        shutil.copytree(trained, folder)
        (folder / ".env").write_text("SECRET=1")
        (folder / "training_state").mkdir()
        (folder / "training_state" / "state.json").write_text("{}")
        (folder / "notes.txt").write_text("mine")
        (folder / "eval_results.json").symlink_to("/etc/hostname")
        push_folder(folder, REPO)
        assert set(hub.files(REPO)) - {".gitattributes"} == {
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "README.md",
            "training.json",
            "figures/training_curve.png",
        }

    @pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
    def test_a_linked_part_of_the_checkpoint_is_refused(self, hub, checkpoint, tmp_path, name):
        (checkpoint / name).rename(tmp_path / "elsewhere")
        (checkpoint / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(SentimentError, match="is a link"):
            push_folder(checkpoint, REPO)
        assert not hub.requests

    def test_a_folder_that_is_written_meanwhile_is_not_shared(
        self, hub, checkpoint, make_pipeline, monkeypatch
    ):
        from sentiment_hf.checkpoint import upload

        real = upload._open

        def written_meanwhile(*arguments):
            make_pipeline(seed=5).save_pretrained(checkpoint)
            return real(*arguments)

        monkeypatch.setattr(upload, "_open", written_meanwhile)
        with pytest.raises(SentimentError, match="was written meanwhile"):
            push_folder(checkpoint, REPO)
        assert "model.safetensors" not in hub.files(REPO)

    def test_a_linked_folder_of_figures_is_not_followed(self, hub, checkpoint, tmp_path):
        (tmp_path / "private").mkdir()
        (tmp_path / "private" / "secret.png").write_bytes(b"mine")
        (checkpoint / "figures").symlink_to(tmp_path / "private")
        push_folder(checkpoint, REPO)
        assert not [name for name in hub.files(REPO) if "secret" in name]

    def test_a_push_is_one_commit_and_says_its_address(self, hub, checkpoint, run):
        before = hub.create(REPO) or hub.head(REPO)
        finished = run("push", checkpoint, REPO)
        assert finished.exit_code == 0, finished.stderr
        assert finished.stdout == f"{hub.endpoint}/{REPO}\n"
        assert len(calls(hub, f"POST /api/models/{REPO}/commit")) == 1
        assert hub.head(REPO) != before

    def test_a_second_push_of_the_same_makes_no_commit(self, hub, checkpoint):
        push_folder(checkpoint, REPO)
        head = hub.head(REPO)
        push_folder(checkpoint, REPO)
        assert hub.head(REPO) == head

    def test_branch_tag_and_pull_request(self, hub, checkpoint, make_pipeline, tmp_path):
        push_folder(checkpoint, REPO, tag="v1")
        main = hub.head(REPO)
        make_pipeline(seed=1).save_pretrained(tmp_path / "b")
        push_folder(tmp_path / "b", REPO, branch="try")
        assert hub.head(REPO) == main
        assert hub.head(REPO, "try") != main
        make_pipeline(seed=2).save_pretrained(tmp_path / "c")
        address = push_folder(tmp_path / "c", REPO, create_pr=True)
        assert "discussions" in address
        assert hub.head(REPO) == main

    @pytest.mark.parametrize("fault", ["500", "reset", "lost", "expired"])
    @pytest.mark.parametrize(
        "stage",
        [
            "POST /api/repos/create",
            "GET /api/models/",
            "preupload",
            "objects/batch",
            "PUT /cdn",
            "verify",
            f"POST /api/models/{REPO}/commit",
        ],
    )
    def test_a_push_that_fails_half_way_is_repeated_safely(
        self, hub, checkpoint, make_pipeline, stage, fault
    ):
        hub.fail(stage, int(fault) if fault.isdigit() else fault, times=2)
        try:
            push_folder(checkpoint, REPO)
        except SentimentError as error:
            assert error.exit_status in (1, 2)
            assert "\n" not in str(error)
        hub.heal()
        push_folder(checkpoint, REPO)
        assert same_answers(SentimentPipeline.from_pretrained(REPO), make_pipeline())

    def test_a_concurrent_push_is_noticed_and_not_overwritten(
        self, hub, shared, make_pipeline, tmp_path
    ):
        make_pipeline(seed=1).save_pretrained(tmp_path / "mine")
        hub.fail("preupload", "slow", seconds=1)
        errors = []

        def push() -> None:
            try:
                push_folder(tmp_path / "mine", REPO)
            except SentimentError as error:
                errors.append(error)

        hub.requests.clear()
        thread = threading.Thread(target=push)
        thread.start()
        while not calls(hub, "preupload"):
            time.sleep(0.01)
        hub.commit(REPO, {"theirs.txt": b"theirs"})
        thread.join()
        assert "meanwhile" in str(errors[0])
        assert hub.files(REPO)["theirs.txt"] == b"theirs"
        assert same_answers(SentimentPipeline.from_pretrained(REPO), shared)

    @pytest.mark.parametrize("token", ["hf_wrong", "hf_readonly"])
    def test_a_wrong_or_read_only_token_is_one_sentence(self, hub, checkpoint, token):
        hub.add_user("reader", "hf_readonly", role="read")
        with pytest.raises(SentimentError, match="token") as caught:
            push_folder(checkpoint, "ann/other", token=token)
        assert token not in str(caught.value)

    def test_no_token_is_one_sentence(self, hub, checkpoint, monkeypatch):
        monkeypatch.delenv("HF_TOKEN")
        with pytest.raises(SentimentError, match="token"):
            push_folder(checkpoint, REPO)

    def test_a_damaged_folder_is_not_shared(self, hub, checkpoint):
        (checkpoint / "model.safetensors").write_bytes(b"broken")
        with pytest.raises(SentimentError, match=r"model\.safetensors"):
            push_folder(checkpoint, REPO)
        assert not hub.requests

    def test_the_objects_push_themselves(self, hub, make_pipeline):
        pipe = make_pipeline()
        pipe.push_to_hub(REPO)
        assert same_answers(SentimentPipeline.from_pretrained(REPO), pipe)
        pipe.network.push_to_hub("ann/network")
        assert "tokenizer.json" not in hub.files("ann/network")
        assert LSTMForSequenceClassification.from_pretrained("ann/network")

    def test_what_train_returns_pushes_itself(self, hub, easy_csv, tmp_path):
        pipe = train(easy_csv, tmp_path / "out", epochs=1, vocab_size=30, show_progress=False)
        pipe.network.push_to_hub("ann/network")
        loaded = LSTMForSequenceClassification.from_pretrained("ann/network")
        assert type(loaded) is type(pipe.network)
        ids = torch.tensor([[2, 3, 4]])
        assert torch.equal(loaded(ids), pipe.network(ids))
