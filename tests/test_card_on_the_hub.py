"""The card on the Hub: what a person changed is kept, what was rendered is renewed."""

import json

import hub_checkpoints
import pytest
from hub_checkpoints import REPO, answers, loaded, same_answers
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from sentiment_hf import SentimentError, SentimentPipeline
from sentiment_hf.checkpoint.card import update_metadata
from sentiment_hf.checkpoint.upload import push_folder

bare = hub_checkpoints.bare
measured = hub_checkpoints.measured
shared = hub_checkpoints.shared


class TestCardOnTheHub:
    def card(self, hub) -> ModelCard:
        return ModelCard(hub.files(REPO)["README.md"].decode())

    def edit(self, hub) -> None:
        card = self.card(hub)
        card.data.license = "mit"
        card.data.tags = [*card.data.tags, "by-hand"]
        text = str(card).replace("# small", "# The small one\n\nA person wrote this.")
        hub.commit(REPO, {"README.md": text.encode()})

    def test_a_card_that_a_person_edited_is_kept_and_its_metadata_merged(
        self, hub, shared, trained
    ):
        self.edit(hub)
        push_folder(trained, REPO)
        card = self.card(hub)
        assert "A person wrote this." in card.text
        assert card.data.license == "mit"
        assert {"by-hand", "lstm"} <= set(card.data.tags)
        assert same_answers(
            SentimentPipeline.from_pretrained(REPO), SentimentPipeline.from_pretrained(trained)
        )

    def test_replace_card_replaces_it(self, hub, shared, trained):
        self.edit(hub)
        push_folder(trained, REPO, replace_card=True)
        assert "A person wrote this." not in self.card(hub).text

    def test_a_card_that_nobody_edited_is_brought_up_to_date(self, hub, shared, trained):
        assert "## Training" not in self.card(hub).text
        push_folder(trained, REPO)
        assert "## Training" in self.card(hub).text
        assert f'from_pretrained("{REPO}")' in self.card(hub).text


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
