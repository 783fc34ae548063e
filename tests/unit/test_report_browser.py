"""The page in a real browser: no error in its console, and what is to be dragged and pressed works."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_report_html import fill, results

from cirn_dist.report.html import write_report

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in _NAMES if (path := shutil.which(name))), "")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")

# Drag a slider, press a class and press it again; what is then on the page is written where the test reads it.
USE = """
<script>
window.onload = async () => {
  const wait = () => new Promise(done => setTimeout(done, 300));
  const told = [], slider = document.querySelector(".slider"), hand = slider.querySelector("input");
  hand.value = 20; hand.dispatchEvent(new Event("input"));
  told.push(getComputedStyle(slider.querySelector(".over")).clipPath);
  const key = document.querySelector(".filter button"), section = key.closest("section");
  const images = [...section.querySelectorAll("img.labels:not(.errors)")], before = images.map(one => one.src);
  key.click(); await wait();
  told.push(images.every((one, i) => one.src !== before[i]), key.getAttribute("aria-pressed"));
  key.click(); await wait();
  told.push(images.every((one, i) => one.src === before[i]), key.getAttribute("aria-pressed"));
  told.push([...document.querySelectorAll("nav a")].every(one => document.querySelector(one.hash)));
  told.push(document.documentElement.scrollWidth <= innerWidth);
  document.title = "told " + told.join(" | ");
};
</script>
"""


@pytest.mark.parametrize("width", [1200, 500])  # a window is never narrower than 500 there
def test_the_page_works_without_an_error(width: int, tmp_path: Path) -> None:
    report = write_report(fill(tmp_path / "run", results()))
    used = report.with_name("used.html")
    used.write_text(report.read_text(encoding="utf-8").replace("</body>", USE + "</body>"), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", "--virtual-time-budget=4000",
         f"file://{used}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    (told,) = re.findall(r"<title>told (.*?)</title>", done.stdout)
    assert told == "inset(0px 80% 0px 0px) | true | true | true | false | true | true"
