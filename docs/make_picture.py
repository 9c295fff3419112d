"""Make the picture of a report for the README: `python docs/make_picture.py` trains on digits and saves a screenshot.

It needs a chromium on the path. The budget is CPU time, so that a busy machine trains as long as an idle one.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import understudy as us

PICTURE = Path(__file__).parent / "images" / "report.png"
SIZE_PX = (1280, 640)  # wide enough for one row of tiles; high enough for the advice
CHROMIUM = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")


def main() -> None:
    """Train, write the report, and save its first screen as PNG."""
    with tempfile.TemporaryDirectory() as folder:
        us.train("digits", num_labels=40, method="softmatch", budget="60cpu-s", folder=Path(folder) / "digits")
        page = (Path(folder) / "digits" / "report.html").as_uri()
        window = f"--window-size={SIZE_PX[0]},{SIZE_PX[1]}"
        subprocess.run([*CHROMIUM, window, f"--screenshot={PICTURE}", page], check=True)


if __name__ == "__main__":
    main()
