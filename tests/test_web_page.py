"""The exported page in a real browser: its answers are Python's, and nothing leaves the host."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import web_page
from browser import PHONE, contrasts
from test_tokenization import NASTY
from web_page import ROWS, Visit, link

from sentiment_hf import LSTMConfig, SentimentPipeline, train_tokenizer
from sentiment_hf.checkpoint.pretrained import LSTMForSequenceClassification
from sentiment_hf.data.tokenization import readable
from sentiment_hf.reading.trajectory import between

address = web_page.address
exported = web_page.exported
host = web_page.host
visit = web_page.visit

pytestmark = pytest.mark.slow
MARKS = re.compile("[\u0300-\u036f]")
LABELS = ["anger", "<b>joy</b>", "fear"]
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
