"""Cells on Ray: a task a cell with its resources; Ray moves those of a lost node elsewhere."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from annotations import InputError, UsageError
from annotations.errors import shortened
from defectune.library.environment import quiet_environment
from defectune.sweeps.cells import Cell
from defectune.sweeps.grid import Resources
from defectune.sweeps.local import THREAD_VARIABLES
from defectune.sweeps.queue import Queue
from defectune.sweeps.records import SWEEP_FILE
from defectune.sweeps.work import Failure, Work, attempt, use_threads

CONNECT_SECONDS: Final = 3.0
HEALTH_SECONDS: Final = 6.0
AT_A_TIME: Final = 1000
"""Tasks that Ray is given at once; it runs as many as its nodes have room for."""
SYSTEM_RETRIES: Final = 3
"""How often Ray itself runs a cell again whose worker or node was lost."""
_CLIENT: Final = "ray://"


def require_ray() -> None:
    """Refuse where Ray is not installed.

    Raises:
        UsageError: says what to install.
    """
    from importlib.util import find_spec

    if find_spec("ray") is None:
        raise UsageError(
            "--on ray needs Ray, which is not installed. Install it with `pip install "
            "'defectune[ray]'` (or `uv sync --extra ray`), or use --on local."
        )


def require_answer(address: str) -> None:
    """Refuse an address where no Ray answers, within ten seconds.

    Args:
        address: HOST:PORT, ray://HOST:PORT, auto, or nothing for a Ray of this call's own.

    Raises:
        UsageError: not such an address.
        InputError: nothing answers there, or something that is not Ray.
    """
    if address in ("", "auto"):
        return
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if not host or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        raise UsageError(
            f"--on ray: takes HOST:PORT, ray://HOST:PORT or auto, got {shortened(address, 80)!r}."
        )
    silent = (
        f"No Ray answers at {shortened(address, 80)}. Start one there (`ray start --head`), or "
        "give the address that `ray status` shows."
    )
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        if not address.startswith(_CLIENT):
            check = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address"]
            subprocess.run(  # noqa: S603
                [*check, f"{host}:{port}"],
                timeout=HEALTH_SECONDS,
                check=True,
                capture_output=True,
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(silent) from error


def run_ray(queue: Queue, output: Path, work: Work, resources: Resources, address: str) -> None:
    """Do all cells of a queue; on any way out, no task and no worker of ours stays behind.

    Args:
        queue: the cells.
        output: the sweep's folder, which every node must see under the same path.
        work: what a cell is.
        resources: of a cell.
        address: see `require_answer`.

    Raises:
        UsageError: Ray is not installed, or no node has what a cell takes.
        InputError: no Ray answers.
    """
    require_ray()
    require_answer(address)
    from importlib import import_module

    # Started by `uv run`, Ray would have every worker make the environment anew, without extras.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Not by `import`: whether Ray brings types hangs on whether it is installed.
    ray: Any = import_module("ray")
    quiet_environment()
    ours = not ray.is_initialized()
    variables = {name: str(resources.cpus) for name in THREAD_VARIABLES}
    try:
        if ours:
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=None if address else False,
            )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"No Ray could be reached ({shortened(error)}).") from error
    waiting: dict[Any, Cell] = {}
    try:
        _require_room(ray.nodes(), resources)
        task = ray.remote(_attempt_there).options(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            memory=int(resources.memory_gb * 1e9),
            max_retries=SYSTEM_RETRIES,
            runtime_env={"env_vars": variables},
        )

        def fill() -> None:
            while len(waiting) < AT_A_TIME and (cell := queue.take()) is not None:
                waiting[task.remote(work, cell, output.resolve(), resources.cpus)] = cell

        fill()
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1)
            for reference in ready:
                cell = waiting.pop(reference)
                queue.ended(cell, _outcome(ray, reference))
            fill()
    finally:
        for reference in waiting:
            with contextlib.suppress(Exception):
                ray.cancel(reference, force=True)
        if ours:
            ray.shutdown()


def _outcome(ray: Any, reference: Any) -> Failure | None:
    try:
        found: Failure | None = ray.get(reference)
    except ray.exceptions.RayError as error:
        return f"Ray lost it ({type(error).__name__}: {shortened(error)}).", ""
    return found


def _attempt_there(work: Work, cell: Cell, output: Path, threads: int) -> Failure | None:
    quiet_environment()
    use_threads(threads)
    if not (output / SWEEP_FILE).is_file():
        return (
            f"The node {socket.gethostname()} does not see {output}. Every node needs it, and the "
            "datasets, under the same path: put them on shared storage.",
            "",
        )
    return attempt(work, cell, output)


def _require_room(nodes: list[dict[str, Any]], resources: Resources) -> None:
    need = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory_gb * 1e9}
    alive = [node.get("Resources", {}) for node in nodes if node.get("Alive")]
    if not any(all(node.get(k, 0) >= v for k, v in need.items()) for node in alive):
        raise UsageError(
            f"No node of this Ray has what a cell takes: {resources.cpus} core(s), "
            f"{resources.gpus:g} GPU(s), {resources.memory_gb:g} GB. Lower the grid's resources."
        )
