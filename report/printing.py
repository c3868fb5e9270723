"""The report as a PDF, printed by a browser that is there anyway."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from annotations import InputError

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
_MOST_SECONDS: Final = 300


def print_report(page: Path) -> Path:
    """Print a report's page to report.pdf beside it: a summary, then the wrong images.

    Raises:
        InputError: no browser that prints, or one that failed.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise InputError(
            f"--pdf needs Chromium, Chrome or Edge, and none is on the PATH (looked for "
            f"{', '.join(BROWSERS)}). The report is written: open {page} and print it from the "
            "browser's menu, as PDF, with background graphics."
        )
    target = page.with_name("report.pdf")
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            f"--user-data-dir={profile}",
            "--virtual-time-budget=20000",
            "--no-pdf-header-footer",
            f"--print-to-pdf={target}",
            f"{page.absolute().as_uri()}?print",
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            # Chromium refuses to run as root with its sandbox; the page is a local file of ours.
            command.insert(1, "--no-sandbox")
        try:
            done = subprocess.run(command, capture_output=True, timeout=_MOST_SECONDS, check=False)  # noqa: S603
        except subprocess.TimeoutExpired as error:
            raise InputError(
                f"{browser} did not print {page} within {_MOST_SECONDS} s. Open the page and print "
                "it from the browser's menu."
            ) from error
    if done.returncode or not target.is_file():
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise InputError(
            f"{browser} could not print {page} ({' '.join(said) or 'no reason given'}). Open the "
            "page and print it from the browser's menu."
        )
    return target
