"""Kills at file operations: every command, killed and called again, ends in the same files.

    uv run --frozen python -m benchmarks.kills WORK [COMMAND ...] [--kills 25]

A command runs once undisturbed, and its file operations (files opened for writing, renamed, made,
removed) are counted. Then, from the same beginning each time, it is killed (SIGKILL) at one of
them, spread over all, and called again until it ends. The whole tree must then be the same, byte
for byte, with nothing left over; but for files that hold times. A command's result is kept in
results/kills/ as soon as it is there, and not made again; results/kills.md is written from them.
"""

import argparse
import datetime
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.synthetic import SyntheticConfig, draw_category

CELLS = Path(__file__).parent / "results" / "kills"
TABLE = CELLS.with_suffix(".md")
TIMES = ("timing.json", "metrics.csv", "hparams.yaml", "results.csv", "args.yaml", ".log")
"""Ends of names of files that hold times, or paths that differ by call."""
SOURCE = "ROOT/source/drawn_bottle"
SMALL = ["--device", "cpu", "--epochs", "2", "--image-size", "64"]

RUNNER = """
import os, signal, sys
root, last = sys.argv[1], int(sys.argv[2])
count = 0
MADE = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate"}
def hook(event, arguments):
    global count
    if event == "open":
        path, mode, flags = arguments
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not writes:
            return
    elif event in MADE:
        path = arguments[0]
    else:
        return
    if not os.path.abspath(os.fsdecode(path) if not isinstance(path, int) else "").startswith(root):
        return
    count += 1
    if count == last:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
sys.argv = ["defectune", *sys.argv[3:]]
from defectune.cli import main
try:
    main()
finally:
    if last < 0:
        with open(os.environ["KILLS_COUNT"], "w") as file:
            file.write(str(count))
"""


@dataclass(frozen=True)
class Command:
    """What is killed.

    Attributes:
        name: in the table.
        arguments: after `defectune`; ROOT stands for the folder in which all happens.
        before: commands whose result it begins from.
    """

    name: str
    arguments: tuple[str, ...]
    before: tuple[str, ...] = ()
    watched: tuple[str, ...] = field(default=("data",))


def _train(name: str, *arguments: str) -> Command:
    train = ("train", *arguments, *SMALL, "--weights", "none", "--name", name)
    return Command(f"train {name}", (train[0], train[1], "ROOT/data", *train[2:]), ("convert",))


COMMANDS = {
    command.name: command
    for command in (
        Command("convert", ("convert", SOURCE, "ROOT/data", "--folds", "2")),
        _train("pretrained", "classify", "--method", "pretrained"),
        _train("patch-memory", "classify", "--method", "patch-memory"),
        _train("supervised", "classify", "--method", "supervised"),
        _train("segment", "segment", "--recipe", "fast"),
        _train("detect", "detect", "--recipe", "fast"),
        Command("evaluate", ("evaluate", "ROOT/data"), ("convert", "train pretrained")),
        Command("report", ("report", "ROOT/data"), ("convert", "train pretrained", "evaluate")),
        Command("export", ("export", "ROOT/data", "ROOT/out", "--format", "yolo"), ("convert",)),
        Command(
            "overlay",
            ("overlay", "ROOT/data/runs/pretrained", "--output", "ROOT/out"),
            ("convert", "train pretrained"),
        ),
        Command(
            "predict",
            (
                "predict",
                "ROOT/data/runs/pretrained",
                SOURCE + "/test",
                "--output",
                "ROOT/out",
            ),
            ("convert", "train pretrained"),
        ),
    )
}


def call(root: Path, command: Command, kill_at: int) -> tuple[int, str, int]:
    """Run a command in a folder; returns exit status, what it said, and its file operations."""
    arguments = [part.replace("ROOT", str(root)) for part in command.arguments]
    counted = root.parent / "count.txt"
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(root), str(kill_at), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KILLS_COUNT": str(counted)},
    )
    count = int(counted.read_text()) if counted.is_file() else 0
    counted.unlink(missing_ok=True)
    return done.returncode, done.stdout + done.stderr, count


def tree(root: Path) -> dict[str, str]:
    """Every file's digest by name; links by where they lead; empty folders too."""
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_dir():
            if not any(path.iterdir()):
                found[name] = "an empty folder"
        elif not name.endswith(TIMES):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def prepared(work: Path, command: Command) -> Path:
    """The folder from which a command begins, made once."""
    name = "+".join(("start", *command.before)).replace(" ", "_")
    start = work / name
    if not (start / ".whole").is_file():
        shutil.rmtree(start, ignore_errors=True)
        config = SyntheticConfig(n_train_good=8, n_test_good=4, n_per_type=4, image_hw=(64, 64))
        draw_category(start / "source", config)
        for before in command.before:
            status, said, _ = call(start, COMMANDS[before], -1)
            if status:
                raise RuntimeError(f"{before} failed: {said[-2000:]}")
        (start / ".whole").touch()
    return start


def fresh(work: Path, start: Path) -> Path:
    """A copy to work in, always at one place, since links hold whole paths."""
    root = work / "root"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(start, root, symlinks=True)
    (root / ".whole").unlink(missing_ok=True)
    return root


def measure(work: Path, command: Command, kills: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Kill a command at `kills` of its file operations; returns what came of it."""
    start = prepared(work, command)
    root = fresh(work, start)
    status, said, count = call(root, command, -1)
    if status:
        raise RuntimeError(f"{command.name} failed undisturbed: {said[-2000:]}")
    wanted = tree(root)
    again = fresh(work, start)
    call(again, command, -1)
    unsteady = sorted(k for k in {*wanted, *tree(again)} if wanted.get(k) != tree(again).get(k))
    step = max(1, count // kills)
    places = sorted({1 + n * step for n in range(kills) if 1 + n * step <= count} | {count})
    same, faults = 0, []
    for place in places:
        root = fresh(work, start)
        killed, _, _ = call(root, command, place)
        if killed != -9:
            faults.append(f"operation {place}: not killed (status {killed})")
            continue
        status, said, _ = call(root, command, -2)
        found = tree(root)
        differs = sorted(k for k in {*wanted, *found} if wanted.get(k) != found.get(k))
        differs = [name for name in differs if name not in unsteady]
        if "already exists" in said and not differs:
            status = 0  # it had been moved into place just before
        if status == 0 and not differs:
            same += 1
        else:
            faults.append(f"operation {place}: status {status}, {', '.join(differs[:4])}")
        say(f"{command.name}: {place} of {count}: {'same' if not differs else differs[:3]}")
    return {
        "command": command.name,
        "operations": count,
        "kills": len(places),
        "same": same,
        "faults": faults,
        "differs undisturbed": unsteady,
        "date": f"{datetime.date.today()}",
    }


def write_table() -> None:
    """The table of whatever was measured."""
    cells = [json.loads(path.read_text()) for path in sorted(CELLS.glob("*.json"))]
    lines = [
        "# Killed and called again\n",
        "Each command was killed (SIGKILL) at file operations spread over its run, and called "
        "again; all files were then compared with an undisturbed run's, byte for byte, logs and "
        "times excepted. 2 CPU cores, other work beside; drawn images of 64 pixels. Command: "
        "`python -m benchmarks.kills WORK`.\n",
        "| command | file operations | kills | same files, nothing left over | date |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {c['command']} | {c['operations']} | {c['kills']} | {c['same']} | {c['date']} |"
        for c in cells
    ]
    for cell in cells:
        lines += [f"\n{cell['command']}: {fault}." for fault in cell["faults"]]
        if cell["differs undisturbed"]:
            names = ", ".join(cell["differs undisturbed"][:5])
            lines.append(f"\n{cell['command']}: two undisturbed runs differ in {names}.")
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was not measured yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("commands", nargs="*", help=f"of {', '.join(COMMANDS)}")
    parser.add_argument("--kills", type=int, default=25)
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    CELLS.mkdir(parents=True, exist_ok=True)
    for name in options.commands or COMMANDS:
        path = CELLS / f"{name.replace(' ', '-')}.json"
        if path.is_file():
            continue
        result = measure(work, COMMANDS[name], options.kills, lambda t: print(t, flush=True))
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        write_table()
    write_table()


if __name__ == "__main__":
    main()
