"""Retake the README's picture of the demo page: `python -m tests.screenshot`. Needs the program chromium."""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from flaskapp.api.demo.samples import SAMPLES
from tests.benchmarks.process import ROOT, serving

TARGET = ROOT / "docs" / "demo.png"
SIZE = {"width": 1200, "height": 1050}  # pixels
COLOURS = 256  # a palette needs a third of the bytes


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command, log = "gunicorn --workers 1 --bind 127.0.0.1:{port} wsgi:app", Path(folder) / "log"
        with serving(command, Path(sys.executable).parent, log, {"FLASKAPP_CAPTIONER_MODEL": "embedded"}) as server:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            picture = take(browser.new_page(viewport=SIZE), server.url + "/demo")
            browser.close()
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(TARGET, optimize=True)


def take(page: Page, url: str) -> bytes:
    """Return a PNG of the page with a captioned sample, two more captions and the resized image."""
    page.goto(url)
    expect(page.locator("#num_beams")).not_to_have_value("", timeout=30_000)  # the model is loaded
    page.locator("#num_return_sequences").fill("3")
    page.get_by_role("button", name=SAMPLES[-1].scene.caption).press("Enter")
    expect(page.locator("#status")).to_have_text("1 image captioned.", timeout=30_000)
    page.locator("[data-part=resize]").click()
    page.locator(".tiny").wait_for()
    page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
    return page.screenshot()


if __name__ == "__main__":
    main()
