"""Pushing: what is replaced, and what is refused before a commit."""

from pathlib import Path, PureWindowsPath

import hub_checkpoints
import pytest
from hub_checkpoints import REPO, answers, loaded
from huggingface_hub import ModelCard

from sentiment_hf import LSTMForSequenceClassification, SentimentError, SentimentPipeline
from sentiment_hf.checkpoint.folder import published
from sentiment_hf.checkpoint.upload import push_folder

bare = hub_checkpoints.bare
measured = hub_checkpoints.measured


def test_files_are_named_with_slashes_wherever_they_are_pushed_from(hub, measured, monkeypatch):
    class WindowsPath(type(Path())):
        def relative_to(self, *other):
            return PureWindowsPath(super().relative_to(*other))

    def published_there(folder: Path, names: tuple[str, ...]) -> list[Path]:
        return [WindowsPath(path) for path in published(folder, names)]

    monkeypatch.setattr("sentiment_hf.checkpoint.upload.published", published_there)
    push_folder(measured, REPO)
    assert "figures/reliability.png" in hub.files(REPO)
    assert not [name for name in hub.files(REPO) if "\\" in name]


class TestWhatAnOlderPushLeft:
    def test_records_and_figures_of_other_weights_do_not_stay(self, hub, measured, bare):
        push_folder(measured, REPO)
        hub.commit(REPO, {"notes.txt": b"mine", "docs/eval_results.json": b"mine"})
        push_folder(bare, REPO)
        assert set(hub.files(REPO)) == {
            ".gitattributes", "notes.txt", "docs/eval_results.json", "README.md", "config.json",
            "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        }  # fmt: skip
        card = ModelCard(hub.files(REPO)["README.md"].decode())
        assert card.data.eval_results is None
        assert card.data.metrics is None
        assert "## Evaluation" not in card.text

    def test_a_network_alone_takes_the_old_tokenizer_away(self, hub, measured, make_pipeline):
        push_folder(measured, REPO)
        make_pipeline().network.push_to_hub(REPO)
        assert "tokenizer.json" not in hub.files(REPO)
        assert LSTMForSequenceClassification.from_pretrained(REPO)
        with pytest.raises(SentimentError, match=r"no tokenizer\.json"):
            SentimentPipeline.from_pretrained(REPO)

    def test_the_code_on_the_card_of_a_network_alone_runs(self, hub, make_pipeline, capsys):
        make_pipeline().network.push_to_hub(REPO)
        card = hub.files(REPO)["README.md"].decode()
        exec(card.split("```python\n")[1].split("```")[0], {})
        assert "LSTM(5, 4" in capsys.readouterr().out

    def test_another_message_names_the_commit(self, hub, bare):
        push_folder(bare, REPO, commit_message="The second try")
        sent = [r.body.decode() for r in hub.calls("/commit/main") if r.method == "POST"]
        assert "The second try" in sent[0]


class TestBeforeACommit:
    @pytest.mark.parametrize("record", ["training.json", "eval_results.json"])
    @pytest.mark.parametrize("content", ["{", "[]", "{}", '{"data": 5, "n": "x"}'])
    def test_a_damaged_record_is_refused_before_the_hub_is_asked(
        self, hub, measured, record, content
    ):
        (measured / record).write_text(content)
        if content == "{}":  # Nothing is said, so nothing is wrong.
            return
        with pytest.raises(SentimentError, match=r"training\.json|eval_results\.json"):
            push_folder(measured, REPO)
        assert not hub.requests

    @pytest.mark.parametrize("token", ["", "hf_\nabc", "hf_ä", "hf abc"])
    @pytest.mark.parametrize("where", ["argument", "environment"])
    def test_a_token_that_is_none_is_named_as_such(self, hub, bare, monkeypatch, token, where):
        options = {}
        if where == "argument":
            options["token"] = token
        else:
            monkeypatch.setenv("HF_TOKEN", token.replace("\n", " x"))
        for act in (
            lambda: push_folder(bare, REPO, **options),
            lambda: SentimentPipeline.from_pretrained("ann/nothing", **options),
        ):
            if where == "environment" and not token:
                continue  # As if it were not set.
            with pytest.raises(SentimentError, match=r"(?i)token") as caught:
                act()
            assert not token or token not in str(caught.value)
        assert not hub.requests or not token

    def test_a_tag_of_another_commit_is_refused_before_anything_is_pushed(
        self, hub, measured, bare
    ):
        push_folder(measured, REPO, tag="v1")
        head = hub.head(REPO)
        with pytest.raises(SentimentError, match=r"'v1'.*another commit"):
            push_folder(bare, REPO, tag="v1")
        assert hub.head(REPO) == hub.head(REPO, "v1") == head

    @pytest.mark.parametrize("fault", ["lost", "reset", "500"])
    @pytest.mark.parametrize("stage", ["/tag/", "/commit/", "/refs", "resolve/.*/README.md"])
    def test_a_push_with_a_tag_is_repeated_safely(self, hub, measured, bare, stage, fault):
        push_folder(measured, REPO)
        hub.fail(stage, int(fault) if fault.isdigit() else fault)
        try:
            push_folder(bare, REPO, tag="v1")
        except SentimentError as error:
            assert error.exit_status == 1
        hub.heal()
        push_folder(bare, REPO, tag="v1")
        assert hub.head(REPO, "v1") == hub.head(REPO)
        assert loaded(revision="v1").equal(answers(SentimentPipeline.from_pretrained(bare)))

    @pytest.mark.parametrize("fault", ["lost", "reset", "500"])
    @pytest.mark.parametrize("stage", ["/branch/", "/commit/"])
    def test_a_push_to_a_branch_is_repeated_safely(self, hub, measured, bare, stage, fault):
        push_folder(measured, REPO)
        main = hub.head(REPO)
        hub.fail(stage, int(fault) if fault.isdigit() else fault)
        try:
            push_folder(bare, REPO, branch="next")
        except SentimentError as error:
            assert error.exit_status == 1
        hub.heal()
        push_folder(bare, REPO, branch="next")
        assert hub.head(REPO) == main
        assert loaded(revision="next").equal(answers(SentimentPipeline.from_pretrained(bare)))

    def test_a_public_repository_does_not_become_private_in_silence(self, hub, measured, bare):
        push_folder(measured, REPO)
        head = hub.head(REPO)
        with pytest.raises(SentimentError, match="public"):
            push_folder(bare, REPO, private=True)
        assert hub.head(REPO) == head
        push_folder(measured, "ann/secret", private=True)
        push_folder(bare, "ann/secret", private=True)
        assert hub.repo("ann/secret").private

    def test_a_pull_request_to_somebody_else_makes_nothing_there(self, hub, measured, bare):
        hub.add_user("bob", "hf_bob")
        push_folder(measured, REPO)
        refs = set(hub.repo(REPO).refs)
        address = push_folder(bare, REPO, create_pr=True, token="hf_bob")
        assert address.endswith(f"{REPO}/discussions/1")
        assert set(hub.repo(REPO).refs) - refs == {"refs/pr/1"}
        assert not hub.calls("POST /api/repos/create") or len(hub.calls("repos/create")) == 1
        assert loaded(revision="refs/pr/1").equal(answers(SentimentPipeline.from_pretrained(bare)))

    def test_an_id_that_is_a_data_set_gets_a_model_of_its_own(self, hub, bare):
        hub.create(REPO, repo_type="dataset")
        push_folder(bare, REPO)
        assert "model.safetensors" in hub.files(REPO)
        assert set(hub.files(REPO, repo_type="dataset")) == {".gitattributes"}

    def test_a_name_without_a_user_is_the_users_own(self, hub, bare):
        assert push_folder(bare, "small") == f"{hub.endpoint}/{REPO}"
        assert f'"{REPO}"' in hub.files(REPO)["README.md"].decode()

    @pytest.mark.parametrize("name", ["a/b/c", "--", "ann/na me", ""])
    def test_a_name_that_is_none_is_refused_without_a_call(self, hub, bare, name):
        with pytest.raises(SentimentError):
            push_folder(bare, name)
        assert not hub.requests

    def test_train_checks_the_address_before_it_trains(self, hub, run, tmp_path, monkeypatch):
        out = tmp_path / "out"
        named = run("train", "sample", "--output", out, "--push-to", "a/b/c")
        monkeypatch.delenv("HF_TOKEN")
        tokenless = run("train", "sample", "--output", out, "--push-to", REPO)
        for result, word in ((named, "name"), (tokenless, "token")):
            assert result.exit_code == 2
            assert word in result.stderr
        assert not out.exists()

    def test_the_command_takes_branch_pull_request_and_replace_card(self, hub, run, measured, bare):
        assert run("push", measured, REPO).exit_code == 0
        hub.commit(REPO, {"README.md": b"---\nlicense: mit\n---\nMine."})
        assert run("push", bare, REPO, "--branch", "a/b").exit_code == 0
        assert loaded(revision="a/b").equal(answers(SentimentPipeline.from_pretrained(bare)))
        assert "/discussions/" in run("push", bare, REPO, "--create-pr").stdout
        assert hub.files(REPO)["README.md"].endswith(b"Mine.")
        assert run("push", bare, REPO, "--replace-card").exit_code == 0
        assert not hub.files(REPO)["README.md"].endswith(b"Mine.")
