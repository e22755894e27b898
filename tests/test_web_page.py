"""The exported page in a real browser: its answers are Python's, and nothing leaves the host."""

import functools
import json
import os
import re
import subprocess
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import browser
import numpy as np
import pytest
import torch
from browser import PHONE, contrasts
from test_tokenization import NASTY

from sentiment_hf import LSTMConfig, SentimentPipeline, evaluate, train_tokenizer
from sentiment_hf.checkpoint.pretrained import LSTMForSequenceClassification
from sentiment_hf.data.loading import SAMPLE_FOLDER
from sentiment_hf.data.tokenization import readable
from sentiment_hf.export.onnx_folder import export_onnx
from sentiment_hf.export.transformers_folder import export_transformers
from sentiment_hf.export.web_folder import export_web
from sentiment_hf.reading.trajectory import between

pytestmark = pytest.mark.slow

NODE_MODULES = Path(__file__).parent.parent / "node_modules"
MARKS = re.compile("[\u0300-\u036f]")
LABELS = ["anger", "<b>joy</b>", "fear"]
ROWS = [
    json.loads(line)
    for split in ("test", "train")
    for line in (SAMPLE_FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
]
TEXTS = [
    *(row["text"] for row in ROWS),
    *NASTY,
    "",
    " \n",
    "a good film " * 667,
    "I loved it 👍🏽🎉 but 👩‍🚀 did not ❤️",
    "ΟΔΟΣ ΟΔΟΣ. Σ",
    "ﾊﾞﾊﾟ \u1100\u1161\u11a8 e\u0301\u0323 q\u0307\u0323 İI ﬁ½ ㎏ cafe\u0301s",
    "<BR>a<Br>b<bR > c<br\n/>d",
    "\ud83d half an emoji",
]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def host():
    """Serves a folder as any static host does: `host(folder)` gives its address."""
    servers = []

    def serve(folder: Path) -> str:
        handler = functools.partial(Quiet, directory=folder)
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports a checkpoint as a page: `exported(model)`."""
    if not NODE_MODULES.is_dir():
        pytest.skip("there are no libraries of the page here: npm ci --ignore-scripts")

    def export(model: Path | None) -> Path:
        folder = tmp_path_factory.mktemp("exported") / "site"
        return export_web(model, folder, libraries=NODE_MODULES)

    return export


@pytest.fixture(scope="module")
def address(exported, host) -> str:
    return host(exported(None))


@pytest.fixture(scope="module")
def reference() -> SentimentPipeline:
    return SentimentPipeline.from_pretrained()


@pytest.fixture(scope="module")
def emotions(tmp_path_factory) -> Path:
    """A checkpoint of three labels, untrained but decided."""
    tokenizer = train_tokenizer([row["text"] for row in ROWS[:50]], 500)
    torch.manual_seed(0)
    config = LSTMConfig(
        tokenizer.get_vocab_size(), embedding_dim=8, hidden_size=8, max_length=30,
        id2label=dict(enumerate(LABELS)), temperature=0.05,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("emotions") / "emotions"
    network = LSTMForSequenceClassification(config).eval()
    SentimentPipeline(network, tokenizer).save_pretrained(folder)
    return folder


class Visit(browser.Visit):
    def __init__(self, chromium, address: str, path: str = "index.html", **options) -> None:
        super().__init__(chromium, address, path, **options)

    def answer(self) -> tuple[str, float]:
        verdict = self.page.wait_for_selector("[data-verdict][data-label][data-score]")
        return verdict.get_attribute("data-label"), float(verdict.get_attribute("data-score"))

    def wait_for_trajectory(self) -> None:
        self.page.wait_for_selector("#place:not(:disabled)")

    def open_link(self, text: str) -> None:
        """Follows a link to another text; the answer to the one before is gone then."""
        self.page.evaluate("delete document.querySelector('[data-verdict]').dataset.label")
        self.page.evaluate("hash => location.hash = hash", f"#text={quote(text)}")


@pytest.fixture
def visit(chromium, address):
    """Opens the page; at the end nothing may have failed or gone outside."""
    visits = []

    def open_page(path: str = "index.html", where: str = address, **options) -> Visit:
        visits.append(Visit(chromium, where, path, **options))
        return visits[-1]

    yield open_page
    for one in visits:
        one.end()


def link(text: str) -> str:
    return f"index.html#text={quote(text)}"


def expect(visit: Visit, answer: dict) -> None:
    label, score = visit.answer()
    assert label == answer["label"]
    assert score == pytest.approx(answer["score"], abs=1e-4)


READ_ALL = """async (texts) => {
  const { Reader } = await import("./reader.js");
  const reader = await Reader.load();
  const found = [];
  for (const text of texts) {
    const { ids, places, shown } = reader.words(text);
    const words = places.map(([start, end]) => shown.slice(start, end));
    const [scores] = await reader.scores([ids]);
    found.push({ ids, words, scores, shown });
  }
  return found;
}"""


class TestAnswers:
    @pytest.fixture(scope="class")
    def found(self, chromium, address):
        here = Visit(chromium, address)
        return here.page.evaluate(READ_ALL, list(map(readable, TEXTS)))

    def test_scores_are_pythons(self, found, reference):
        expected = np.asarray(reference.probabilities(TEXTS))
        assert len(TEXTS) >= 300
        np.testing.assert_allclose([one["scores"] for one in found], expected, rtol=0, atol=1e-4)

    def test_ids_and_words_are_pythons(self, found, reference):
        tokenizer = reference.tokenizer
        for text, one in zip(map(readable, TEXTS), found):
            encoding = tokenizer.encode(text, add_special_tokens=False)
            assert one["ids"] == encoding.ids, text[:80]
            if one["shown"] == text:
                words = [between(text, encoding.offsets, i, i + 1) for i in range(len(encoding))]
                # Python's places leave out the marks of a letter that are signs of their own.
                bare = [MARKS.sub("", word) for word in one["words"]]
                assert bare == [MARKS.sub("", word) for word in words], text[:80]
            else:
                assert "\u1100" in text
                normalized = tokenizer.normalizer.normalize_str(text)
                assert one["shown"] == normalized
                words = tokenizer.pre_tokenizer.pre_tokenize_str(normalized)
                assert one["words"] == [word for word, _ in words]

    @pytest.mark.parametrize("text", [ROWS[0]["text"], "ok ½ 👍 <br />" * 80, "", "one"])
    def test_the_answer_after_each_word_is_pythons(self, visit, reference, text):
        here = visit(link(text))
        expect(here, reference(text)[0])
        here.wait_for_trajectory()
        points = reference.trajectory(text)
        shown = here.page.locator("#words span[data-point]")
        if not text:
            assert shown.count() == 0
            return
        words = [word.replace("<br />", "\n") for word in shown.all_text_contents()]
        assert words == [point.word.replace("<br />", "\n") for point in points]
        titles = here.page.eval_on_selector_all("#words span", "all => all.map(one => one.title)")
        found = [float(title) for title in titles]
        np.testing.assert_allclose(found, [point.probability for point in points], atol=6e-4)
        corners = here.page.get_attribute("#curve .chosen", "points").split()
        heights = [1 - float(corner.split(",")[1]) / 100 for corner in corners]
        expected = [point.probability for point in points] * (2 if len(points) == 1 else 1)
        np.testing.assert_allclose(heights, expected, atol=1e-4)


def test_three_labels_and_a_cut_are_pythons(chromium, exported, host, visit, emotions):
    pipe = SentimentPipeline.from_pretrained(emotions)
    where = host(exported(emotions))
    here = visit(link("fear"), where)
    here.answer()
    for row in ROWS[:10]:
        here.open_link(row["text"])
        answers = pipe(row["text"], top_k=None)
        expect(here, answers[0])
        labels = here.page.locator("#labels bdi").all_text_contents()
        assert labels == [answer["label"] for answer in answers]
    here.wait_for_trajectory()
    assert here.page.locator("#labels b").count() == 0
    assert "the network reads 30 of them" in here.page.locator("#notes").inner_text()
    assert here.page.locator("#curve polyline").count() == 1 + len(LABELS)
    chosen = here.page.get_attribute("#curve .chosen", "points")
    here.page.locator("#labels input").first.focus()
    here.page.keyboard.press("ArrowDown")
    assert here.page.locator("#top").inner_text() == answers[1]["label"]
    assert here.page.locator("#bottom").inner_text() == f"not {answers[1]['label']}"
    assert here.page.get_attribute("#curve .chosen", "points") != chosen


class TestAccuracyOfOtherTools:
    """What `evaluate` says of the sample corpus, others find too."""

    @pytest.fixture(scope="class")
    def expected(self) -> float:
        return round(evaluate("sample")["accuracy"], 4)

    @pytest.fixture(scope="class")
    def rows(self):
        return ROWS[:100]

    def accuracy(self, rows, labels) -> float:
        right = [row["label"] == label for row, label in zip(rows, labels, strict=True)]
        return round(sum(right) / len(rows), 4)

    def test_the_registered_pipeline_of_transformers(self, expected, rows, tmp_path):
        import transformers

        import sentiment_hf.transformers  # noqa: F401

        SentimentPipeline.from_pretrained().save_pretrained(tmp_path / "reference")
        pipe = transformers.pipeline("text-classification", model=str(tmp_path / "reference"))
        answers = pipe([row["text"] for row in rows])
        assert self.accuracy(rows, [one["label"] for one in answers]) == expected

    def test_transformers_alone_on_the_export(self, expected, rows, tmp_path):
        folder = export_transformers(None, tmp_path / "exported")
        code = (
            "import json, sys; from transformers import pipeline\n"
            "pipe = pipeline('text-classification', model='.', trust_remote_code=True)\n"
            "print(json.dumps([one['label'] for one in pipe(json.load(sys.stdin))]))"
        )
        finished = subprocess.run(
            [sys.executable, "-c", code], input=json.dumps([row["text"] for row in rows]),
            capture_output=True, text=True, cwd=folder, check=True, timeout=600,
            env={**os.environ, "HF_HOME": str(tmp_path / "home")},
        )  # fmt: skip
        assert self.accuracy(rows, json.loads(finished.stdout.splitlines()[-1])) == expected

    def test_onnxruntime_alone(self, expected, rows, tmp_path):
        import onnxruntime
        import tokenizers

        folder = export_onnx(None, tmp_path / "exported")
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        session = onnxruntime.InferenceSession(folder / "onnx/model.onnx")
        names = json.loads((folder / "config.json").read_text())["id2label"]
        labels = []
        for row in rows:
            ids = np.array([tokenizer.encode(row["text"]).ids], dtype=np.int64)
            inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            labels.append(names[str(session.run(["logits"], inputs)[0].argmax())])
        assert self.accuracy(rows, labels) == expected

    def test_the_page(self, expected, rows, visit):
        here = visit(link(rows[0]["text"]))
        labels = []
        for row in rows:
            here.open_link(row["text"])
            labels.append(here.answer()[0])
            assert here.page.input_value("#text") == row["text"]
        assert self.accuracy(rows, labels) == expected


REVIEWS = ["A good film, warm and clever.", "A bad film, cold and dull."]


class TestPage:
    def test_it_opens_with_an_example_and_reads_what_is_typed(self, visit, reference):
        here = visit()
        here.answer()
        assert here.page.input_value("#text")
        for text in REVIEWS:
            here.page.fill("#text", text)
            here.page.get_by_role("button", name="Read it").click()
            here.page.locator("#words", has_text=text[:6]).wait_for()
            expect(here, reference(text)[0])
            assert here.page.url.endswith("#" + here.page.get_attribute("#link", "href")[1:])
        here.page.locator("#examples button").nth(1).click()
        expect(here, reference(here.page.input_value("#text"))[0])
        again = visit(here.page.url.removeprefix(here.address))
        expect(again, reference(here.page.input_value("#text"))[0])

    def test_the_keyboard_is_enough(self, visit, reference):
        here = visit(link(REVIEWS[0]))
        here.answer()
        keyboard = here.page.keyboard
        here.tab_to("TEXTAREA#text")
        keyboard.press("Control+A")
        keyboard.type(REVIEWS[1])
        keyboard.press("Control+Enter")
        here.page.locator("#words", has_text="A bad").wait_for()
        expect(here, reference(REVIEWS[1])[0])
        keyboard.press("Tab")
        assert here.focused() == "BUTTON#read"
        here.wait_for_trajectory()
        here.tab_to("INPUT#place")
        assert (
            f"after “.”: pos {100 * reference(REVIEWS[1], top_k=None)[-1]['score']:.1f} %"
            in (here.page.locator("#point").inner_text())
            or here.answer()[0] == "pos"
        )
        keyboard.press("Home")
        assert here.page.locator("#point").inner_text().startswith("after “A”")
        keyboard.press("ArrowRight")
        assert here.page.locator("#point").inner_text().startswith("after “bad”")
        assert here.page.locator("#words .here").all_text_contents() == ["bad"]
        assert here.page.get_attribute("#verdict", "aria-live") == "polite"

    def test_html_in_a_text_is_text(self, visit):
        text = "<script>document.title = 1</script> <img src=x onerror=document.title=2> &amp; " * 5
        here = visit(link(text))
        here.wait_for_trajectory()
        assert here.page.locator("section :is(img, script)").count() == 0
        assert "&amp;" in here.page.locator("#words").inner_text()
        assert here.page.title().startswith("Reading")

    def test_nothing_is_cut_off_on_a_phone(self, visit):
        here = visit(link("a good film"), viewport=PHONE)
        for text, marker in {
            "x" * 3000: "none of these words",
            "good film " * 1000: "The text has 2,000 words: the network reads 800 of them",
            "فيلم 👍 film": "does not know 2 of the 3 words",
            "": "There is nothing to read",
        }.items():
            here.open_link(text)
            here.page.locator("#notes", has_text=marker).wait_for()
            width = here.page.evaluate("document.documentElement.scrollWidth")
            assert width <= PHONE["width"], text[:20]

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("size", [PHONE, {"width": 1000, "height": 800}], ids=["phone", "desk"])
    def test_every_text_stands_out_from_the_page(self, visit, tmp_path, scheme, size):
        here = visit(link("An unheardof film " + REVIEWS[0]), color_scheme=scheme, viewport=size)
        here.wait_for_trajectory()
        here.page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
        paper = here.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 23, 42)"}[scheme]
        ratios = contrasts(here.page, "body, body *")
        assert len(ratios) > 20
        assert {text: ratio for text, ratio in ratios.items() if ratio < 4.5} == {}

    @pytest.mark.parametrize(
        "script", ["WebAssembly.validate = () => false", "delete globalThis.WebAssembly"]
    )
    def test_a_browser_without_simd_gets_a_message(self, visit, script):
        here = visit(script=script)
        here.page.locator("#status", has_text="WebAssembly with SIMD").wait_for()
        assert here.page.locator("#read").is_disabled()

    def test_a_page_that_was_opened_from_a_file_says_what_it_takes(self, chromium, exported):
        page = chromium.new_page()
        page.goto((exported(None) / "index.html").as_uri())
        page.locator("#status", has_text="python -m http.server").wait_for()

    @pytest.mark.parametrize("name", ["onnx/model.onnx", "libraries/ort-wasm-simd-threaded.wasm"])
    def test_a_file_that_is_missing_is_named_or_said(self, chromium, exported, host, name):
        folder = exported(None)
        (folder / name).unlink()
        here = Visit(chromium, host(folder))
        here.page.locator("#status", has_text="could not be loaded").wait_for()
        assert here.outside == []

    def test_another_checkpoints_graph_is_not_run(self, chromium, exported, host, emotions):
        folder = exported(None)
        (folder / "onnx/model.onnx").write_bytes(
            (exported(emotions) / "onnx/model.onnx").read_bytes()
        )
        here = Visit(chromium, host(folder))
        here.page.locator("#status", has_text="its checksum is not the one").wait_for()
        assert here.page.locator("#read").is_disabled()

    def test_the_page_lets_nothing_out(self, chromium, address):
        here = Visit(chromium, address, link("a good film"))
        here.answer()
        here.page.evaluate("fetch('http://example.org/').catch(() => null)")
        here.page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'),"
            " {textContent: 'document.title = 1'}))"
        )
        assert here.outside == []
        assert here.page.title().startswith("Reading")
        assert "Content Security Policy" in " ".join(here.errors)

    def test_two_hundred_words_take_no_longer_than_a_few_times_torch(self, visit, reference):
        text = " ".join((ROWS[0]["text"] + ROWS[1]["text"]).split()[:180])
        here = visit(link(text))
        here.wait_for_trajectory()
        here.open_link(text + " again")  # The first texts are computed by unoptimised code.
        here.wait_for_trajectory()
        seconds = []
        for measured in (
            lambda: reference.trajectory(text),
            lambda: (here.open_link(text), here.answer(), here.wait_for_trajectory()),
        ):
            started = time.perf_counter()
            measured()
            seconds.append(time.perf_counter() - started)
        assert seconds[1] < 8 * seconds[0] + 1
