"""A message repeats no more of a foreign error than a person can read."""

import re

from tests.house.test_imports import WHEEL_PACKAGES

RAW = re.compile(r"\{error(![rs])?\}")


def test_no_message_repeats_a_foreign_error_whole(repo_root):
    """Parsers put the whole of what they were given into their complaint."""
    found = [
        f"{path.relative_to(repo_root)}:{number}"
        for package in sorted(WHEEL_PACKAGES)
        for path in sorted((repo_root / package).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if RAW.search(line)
    ]
    assert found == []
