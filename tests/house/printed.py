"""What the pages print: their blocks of Python, files and commands, in order."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
_FENCED = re.compile(r"^```([a-z]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"# (\S+\.yaml)\b")
_CALL = re.compile(r"(^|\s)defectune(\s|$)")

NOT_RUN = {
    # Part of a printed command, and why no test can run it as it stands.
    "pip install uv": "needs the network; .ci/run and a fresh clone run these two lines",
    "--model yolo11s.pt": "needs the network, for the weights",
    "--webhook": "needs a receiver; tests/deployment/test_handoff.py runs one",
    "--on ray": "needs Ray; tests/defectune/test_on_ray.py",
    "--format openvino": "needs the extra openvino; tests/deployment/test_bundle.py",
    "watch detect.bundle camera/ --output verdicts\n": "runs until Ctrl-C; with --once it is run",
    "--max-escape 0.01 --max-overkill 0.05": "ends with 1, for want of parts, as the page says; "
    "tests/defectune/test_accept.py",
    "sign.pem": "needs a key; tests/defectune/test_accept.py makes one",
    "accept verify signed-off": "needs what was signed; tests/defectune/test_accept.py",
    "--tags tags.json": "needs tags that a browser saved; tests/converters/test_tags.py",
    "--repeats repeats.csv": "needs other people's labels; tests/defectune/test_accept.py",
    "stress data/bottle detect\n": "tries all 13 kinds, a minute; docs/stress.md runs two kinds",
    "new --baseline old --no-regression 0.01": "needs two runs; tests/defectune/test_later.py",
    "demo --output tried --seed 1": "the demo, which is run, a second time under another name",
    "demo --data-only": "these pages' demo is drawn smaller; tests/defectune/test_demo.py",
    "--method joined": "trains two networks from ImageNet weights; tests/segment/test_joined.py",
    "--from segment": "needs that run; tests/defectune/test_from_run.py",
    "--workers 2": "needs two cores; tests/defectune/sweeps/test_running.py runs several workers",
    "--search 20\n": "trains 20 models in each fold; tests/defectune/sweeps/test_search.py",
}


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        kind: python, command or file.
        text: of the block; of a command, the line as it is printed.
        name: of the file.
    """

    kind: str
    text: str
    name: str = ""


def blocks_of(page: Path) -> Iterator[Block]:
    """What a page prints and a reader would run or save, in order."""
    for language, text in _FENCED.findall(page.read_text(encoding="utf-8")):
        named = _NAMED.match(text)
        if language == "python":
            yield Block("python", text)
        elif language == "yaml" and named:
            yield Block("file", text, named.group(1))
        elif language in ("", "sh"):
            for line in text.replace("\\\n", " ").splitlines():
                if _CALL.search(line.partition(" #")[0]):
                    yield Block("command", line.partition(" #")[0].strip())


def why_not_run(command: str) -> str:
    """The reason why a printed command is not run; empty if it is."""
    return next((why for part, why in NOT_RUN.items() if part in command + "\n"), "")


def split_command(line: str) -> tuple[str, dict[str, str], list[str]]:
    """A printed line as what feeds its standard input, its environment, and its arguments.

    Examples:
        >>> split_command("A=4 defectune check out")
        ('', {'A': '4'}, ['check', 'out'])
    """
    feeder, _, own = line.rpartition("|")
    words = shlex.split(own)
    at = words.index("defectune")
    return feeder.strip(), dict(word.split("=", 1) for word in words[:at]), words[at + 1 :]
