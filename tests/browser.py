"""A real browser for the tests: Debian's Chromium, without a window."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 360, "height": 740}
WAIT = 120_000  # Milliseconds: the machine may be busy with other things.
CONTRASTS = """(selector) => {
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (rgb) => rgb.slice(0, 3).map((part) => part / 255)
  .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
const over = (top, below) => {
  const share = top.length > 3 ? top[3] : 1;
  return below.map((part, i) => share * top[i] + (1 - share) * part);
};
const own = (element) => numbers(getComputedStyle(element).backgroundColor);
const ground = (element) => element
  ? over(own(element), ground(element.parentElement)) : [255, 255, 255];
const found = {};
for (const element of document.querySelectorAll(selector)) {
  const says = [...element.childNodes].some((node) => node.nodeType === 3
    && node.data.trim());
  if (!says || !element.checkVisibility()) continue;
  const pair = [numbers(getComputedStyle(element).color), ground(element)].map(light);
  found[element.tagName + " " + element.textContent.slice(0, 30)] =
    (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
}
return found;
}"""


@contextmanager
def chromium_started() -> Iterator:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


def contrasts(page, selector: str) -> dict[str, float]:
    """The contrast of each text to its ground, by the Web Content Accessibility Guidelines."""
    return page.evaluate(CONTRASTS, selector)


class Visit:
    """A page that is open, and what went wrong or outside meanwhile.

    Args:
        script: runs before those of the page.
        options: of the browser's context, as `viewport`.
    """

    def __init__(self, chromium, address: str, path: str = "", script: str = "", **options) -> None:
        self.outside: list[str] = []
        self.errors: list[str] = []
        self.address = address
        context = chromium.new_context(**options)
        context.set_default_timeout(WAIT)
        context.route("**/*", self._only_ours)
        context.add_init_script(script)
        self.page = context.new_page()
        self.page.on("websocket", lambda socket: self.outside.append(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._listen)
        self.page.goto(address + path)

    def _only_ours(self, route) -> None:
        url = route.request.url
        if url.startswith((self.address, "data:", "blob:")):
            route.continue_()
        else:
            self.outside.append(url)
            route.abort()

    def _listen(self, message) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def focused(self) -> str:
        """The element that has the focus, as `TEXTAREA#id`."""
        return self.page.evaluate(
            "[document.activeElement.tagName, document.activeElement.id].join('#')"
        )

    def tab_to(self, element: str) -> None:
        for _ in range(20):
            if self.focused() == element:
                return
            self.page.keyboard.press("Tab")
        pytest.fail(f"Tab does not lead to {element}")

    def end(self) -> None:
        """Closes the page; nothing may have failed or gone outside."""
        assert self.outside == []
        assert self.errors == []
        self.page.context.close()
