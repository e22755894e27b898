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
