"""The web page in a real browser."""

import socket

import browser
import pytest
from browser import PHONE, contrasts

from sentiment_hf.app import build_app, serve

pytestmark = pytest.mark.slow


@pytest.fixture
def pipe(make_pipeline):
    """Untrained, but decided: the two reviews below get different verdicts."""
    return make_pipeline(temperature=0.01)


@pytest.fixture
def address(pipe):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = build_app(pipe)
    yield serve(app, port=port)
    app.close(verbose=False)


class Visit(browser.Visit):
    def __init__(self, chromium, address: str, **options) -> None:
        super().__init__(chromium, address, **options)
        self.page.wait_for_selector("#reading svg")

    def expect_verdict(self, answer: dict) -> None:
        from playwright.sync_api import expect

        verdict = self.page.locator("#verdict")
        expect(verdict.locator("h2")).to_have_text(answer["label"])
        expect(verdict.locator("dd").first).to_have_text(f"{100 * answer['score']:.0f}%")

    def is_wider_than_the_window(self) -> bool:
        return self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")


@pytest.fixture
def visit(chromium, address):
    """Opens the page; at the end nothing may have failed or gone outside."""
    visits = []

    def open_page(**options) -> Visit:
        visits.append(Visit(chromium, address, **options))
        return visits[-1]

    yield open_page
    for one in visits:
        one.end()


REVIEWS = ["a good film , good and warm", "a bad film , bad and cold"]


def test_a_typed_review_changes_the_verdict(visit, pipe):
    first, second = pipe(REVIEWS)
    assert first["label"] != second["label"]
    here = visit()
    for review, answer in zip(REVIEWS, (first, second)):
        here.page.get_by_role("textbox").fill(review)
        here.page.get_by_role("button", name="Read it").click()
        here.expect_verdict(answer)
    assert here.page.locator("#verdict").get_attribute("aria-live") == "polite"


def test_an_example_is_read_when_it_is_picked(visit, pipe):
    here = visit()
    example = here.page.locator("button.gallery-item").nth(1)
    example.click()
    here.page.wait_for_function(
        "start => document.querySelector('textarea').value.startsWith(start)",
        arg=example.inner_text()[:20],
    )
    here.expect_verdict(pipe(here.page.get_by_role("textbox").input_value())[0])


def test_the_keyboard_is_enough(visit, pipe):
    first, second = pipe(REVIEWS)
    here = visit()
    keyboard = here.page.keyboard
    here.tab_to("TEXTAREA#")
    keyboard.press("Control+A")
    keyboard.type(REVIEWS[0])
    keyboard.press("Tab")
    assert here.focused() == "BUTTON#read"
    keyboard.press("Enter")
    here.expect_verdict(first)
    keyboard.press("Shift+Tab")
    keyboard.press("Control+A")
    keyboard.type(REVIEWS[1])
    keyboard.press("Control+Enter")
    here.expect_verdict(second)
    assert not here.page.get_by_role("table").is_visible()
    here.tab_to("SUMMARY#")
    keyboard.press("Enter")
    assert here.page.get_by_role("table").is_visible()


def test_html_in_a_review_is_text(visit, pipe):
    # Long enough that the page shows many words in one piece.
    review = (
        "<script>document.title = 1</script> <img src=x onerror=document.title=2>"
        " ${document.title=3} {{ document.title }} "
    ) * 40
    here = visit()
    title = here.page.title()
    here.page.get_by_role("textbox").fill(review)
    here.page.get_by_role("button", name="Read it").click()
    here.expect_verdict(pipe(review)[0])
    here.page.locator(".reading", has_text="{document.title=3}").wait_for()
    assert here.page.locator("#reading :is(img, script)").count() == 0
    assert here.page.title() == title


def test_nothing_is_cut_off_on_a_phone(visit):
    shown = {
        "a good film": "a good film",
        "x" * 3000: "x" * 3000,
        "good " * 5000: "The text has 5,000 words",
        "فيلم 👍 film": "فيلم 👍 film",
        "": "There is nothing to read yet",
    }
    here = visit(viewport=PHONE)
    for review, marker in shown.items():
        here.page.get_by_role("textbox").fill(review)
        here.page.get_by_role("button", name="Read it").click()
        here.page.locator(".reading", has_text=marker).wait_for()
        if review:
            here.page.locator("summary").click()
        assert not here.is_wider_than_the_window(), review[:20]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, {"width": 1280, "height": 800}], ids=["phone", "desk"])
def test_every_text_stands_out_from_the_page(visit, tmp_path, scheme, size):
    """At least 4.5 to 1, the Web Content Accessibility Guidelines' ratio; pictures for a look."""
    here = visit(color_scheme=scheme, viewport=size)
    here.page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
    ratios = contrasts(here.page, ".gradio-container *")
    assert len(ratios) > 20
    assert {text: ratio for text, ratio in ratios.items() if ratio < 4.5} == {}


def test_the_guard_sees_what_goes_outside(chromium, address):
    here = Visit(chromium, address)
    here.page.evaluate("fetch('http://example.org/').catch(() => null)")
    assert here.outside == ["http://example.org/"]
