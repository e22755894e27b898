"""Pushes and loads at the edges: what is replaced, kept, or refused before a commit."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path, PureWindowsPath

import pytest
import torch
from conftest import ANN
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from sentiment_hf import LSTMForSequenceClassification, SentimentError, SentimentPipeline, evaluate
from sentiment_hf.checkpoint.card import update_metadata
from sentiment_hf.checkpoint.folder import published
from sentiment_hf.checkpoint.upload import push_folder

TEXTS = ["a good film", "not a bad film, warm and cold", ""]
REPO = "ann/small"


def answers(pipe: SentimentPipeline) -> torch.Tensor:
    return pipe.logits(TEXTS)


def loaded(**options) -> torch.Tensor:
    return answers(SentimentPipeline.from_pretrained(REPO, **options))


@pytest.fixture
def measured(trained, tmp_path) -> Path:
    """A checkpoint folder with training record, evaluation, figures and card."""
    folder = tmp_path / "measured"
    shutil.copytree(trained, folder)
    evaluate("sample", folder, save=True)
    return folder


@pytest.fixture
def bare(make_pipeline, tmp_path) -> Path:
    """A checkpoint folder of other weights without records."""
    make_pipeline(seed=5).save_pretrained(tmp_path / "bare")
    return tmp_path / "bare"


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


class TestTheCardOnTheHub:
    """What a person changed is kept, what was rendered is renewed."""

    @pytest.fixture
    def edited(self, hub, measured):
        """Pushes, lets a person change the card as bytes, pushes other weights, gives the card."""

        def push_edit_push(change, folder, **options) -> bytes:
            push_folder(measured, REPO)
            card = hub.files(REPO)["README.md"]
            hub.commit(REPO, {"README.md": change(card)})
            push_folder(folder, REPO, **options)
            return hub.files(REPO)["README.md"]

        return push_edit_push

    def test_a_persons_own_results_are_kept_and_ours_are_renewed(self, edited, bare, measured):
        own = EvalResult(
            task_type="text-classification", dataset_type="rotten_tomatoes",
            dataset_name="Rotten Tomatoes", metric_type="accuracy", metric_value=0.71,
        )  # fmt: skip

        def add(card: bytes) -> bytes:
            found = ModelCard(card.decode())
            found.data.eval_results.append(own)
            return str(found).encode()

        card = ModelCard(edited(add, bare).decode())
        assert [result.dataset_type for result in card.data.eval_results] == ["rotten_tomatoes"]
        push_folder(measured, REPO)
        results = ModelCard.load(REPO).data.eval_results
        assert {result.dataset_type for result in results} == {"sample", "rotten_tomatoes"}

    @pytest.mark.parametrize(
        ("line", "kept"),
        [
            ("datasets: imdb", "imdb"),
            ("datasets:\n- imdb\n- {odd: 1}", ["imdb", {"odd": 1}]),
        ],
    )
    def test_data_sets_may_be_written_as_one_name_or_oddly(self, edited, bare, line, kept):
        def add(card: bytes) -> bytes:
            return card.replace(b"library_name:", f"{line}\nlibrary_name:".encode(), 1)

        assert ModelCard(edited(add, bare).decode()).data.datasets == kept

    def test_a_licence_and_tags_that_a_person_chose_stay(self, edited, measured):
        def change(card: bytes) -> bytes:
            found = ModelCard(card.decode())
            found.data.license = "mit"
            found.data.tags = ["by-hand", "lstm"]
            return str(found).encode()

        card = ModelCard(edited(change, measured).decode())
        assert card.data.license == "mit"
        assert card.data.tags == ["by-hand", "lstm"], "what a person took away stays away"

    def test_the_ends_of_lines_stay_those_of_the_person(self, edited, bare):
        def change(card: bytes) -> bytes:
            return card.replace(b"# small", b"# Mine").replace(b"\n", b"\r\n")

        card = edited(change, bare)
        assert b"\r\n" in card
        assert b"\n" not in card.replace(b"\r\n", b"")
        assert b"# Mine" in card

    @pytest.mark.parametrize(
        "broken",
        [
            b"---\ntags: [\n---\n# x",
            b"---\n- a\n- b\n---\n# x",
            b"---\nlicense: mit\n---\n# caf\xe9",
            b"---\nmodel-index: 5\n---\n# x",
        ],
        ids=["bad YAML", "a list", "latin-1", "no model-index"],
    )
    def test_a_card_that_cannot_be_read_is_a_sentence_that_names_the_way_out(
        self, hub, edited, bare, broken
    ):
        with pytest.raises(SentimentError, match="replace_card"):
            edited(lambda card: broken, bare)
        assert hub.files(REPO)["README.md"] == broken
        push_folder(bare, REPO, replace_card=True)
        assert b"word-level LSTM" in hub.files(REPO)["README.md"]

    def test_a_card_that_arrives_damaged_is_not_merged(self, hub, measured, bare):
        push_folder(measured, REPO)
        head = hub.head(REPO)
        hub.fail(f"GET /{REPO}/resolve/.*README.md", "corrupt", times=2)
        with pytest.raises(SentimentError, match="checksum"):
            push_folder(bare, REPO)
        assert hub.head(REPO) == head
        push_folder(bare, REPO)
        assert answers(SentimentPipeline.from_pretrained(bare)).equal(loaded())

    def test_a_damaged_record_on_the_hub_is_replaced(self, hub, measured):
        push_folder(measured, REPO)
        hub.commit(REPO, {"eval_results.json": b"{", "training.json": b"[]"})
        push_folder(measured, REPO)
        assert json.loads(hub.files(REPO)["eval_results.json"])["n"] == 100

    def test_metadata_of_a_person_stay_and_those_of_an_older_push_are_renewed(self):
        """Without a Hub, key by key: what a person wrote differs from what was rendered."""

        def card_data(results: dict | None = None, **fields) -> ModelCardData:
            found = [
                EvalResult(
                    task_type="text-classification",
                    dataset_type=name,
                    dataset_name=name,
                    metric_type="accuracy",
                    metric_value=value,
                )
                for name, value in (results or {}).items()
            ]
            return ModelCardData(eval_results=found or None, model_name="m", **fields)

        previous = card_data({"old": 1}, license="a", language="en", tags=["x"], datasets=["d"])
        data = card_data({"old": 5, "own": 2}, license="b", tags=["y"], datasets=["d"], arxiv="1")
        new = card_data({"new": 3}, license="a", language="en", tags=["x"], datasets=["e"])
        update_metadata(data, previous, new)
        assert data.license == "b"
        assert data.language is None, "what a person took away stays away"
        assert data.tags == ["y"]
        assert data.datasets == ["e"]
        assert data["arxiv"] == "1"
        assert [(r.dataset_type, r.metric_value) for r in data.eval_results] == [
            ("new", 3),
            ("own", 2),
        ]
        update_metadata(data, new, card_data())
        assert [result.dataset_type for result in data.eval_results] == ["own"]


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
        with pytest.raises(SentimentError, match=r"not wholly in the local cache: tok") as caught:
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
