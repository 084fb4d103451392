"""Pages in a headless Chromium: what it makes of them, and how they look."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here (Debian's package chromium)")
DARK = "--blink-settings=preferredColorScheme=0"
PHONE = 390  # pixels


def chromium(profile: Path, *arguments: object, wait: int = 2500) -> tuple[str, list[str]]:
    """Call it with a profile of its own and no network; stdout, and what the page said on its console.

    wait: milliseconds of the page's own time, which passes as fast as it can.
    """
    done = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
            *("--enable-logging=stderr", f"--user-data-dir={profile}", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *(f"--virtual-time-budget={wait}", *map(str, arguments)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def dom(page: Path, profile: Path, *options: str, wait: int = 2500) -> tuple[str, list[str]]:
    """The page's markup after a while, and what it said on its console."""
    return chromium(profile, *options, "--dump-dom", page.as_uri(), wait=wait)


def on_a_phone(page: Path, tmp_path: Path) -> tuple[int, int]:
    """How wide the page is, and the phone's window; a window of Chromium itself is never as narrow."""
    frame = tmp_path / "phone.html"
    inside = page.read_text().replace("&", "&amp;").replace('"', "&quot;")
    frame.write_text(
        f'<iframe style="width:{PHONE}px;height:844px;border:0" srcdoc="{inside}"></iframe><script>'
        "const f = document.querySelector('iframe'); f.onload = () => setTimeout(() => { const d ="
        " f.contentDocument.documentElement; document.title = `widths ${d.scrollWidth} ${d.clientWidth}`; }, 500);"
        "</script>"
    )
    text, _ = dom(frame, tmp_path / "phone-profile")
    found = re.search(r"<title>widths (\d+) (\d+)", text)
    assert found, text[-500:]
    return int(found[1]), int(found[2])


def looks(page: Path, tmp_path: Path, *options: str) -> np.ndarray:
    """A picture of the top of the page, (rows, columns, 3) from 0 to 1."""
    shot = tmp_path / "shot.png"
    chromium(tmp_path / "shot-profile", *options, "--window-size=800,600", f"--screenshot={shot}", page.as_uri())
    return np.asarray(imread(shot))[..., :3]
