"""Tasks on Ray: the one place that connects to it, starts work there and leaves nothing behind."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from annotations import DefectuneError, InputError, UsageError
from annotations.errors import install_extra, shortened
from defectune.library.environment import THREAD_VARIABLES, quiet_environment

ENGINES: Final = ("local", "ray")
CONNECT_SECONDS: Final = 3.0
HEALTH_SECONDS: Final = 6.0
AT_A_TIME: Final = 1000
"""Tasks that Ray is given at once; it runs as many as its nodes have room for."""
SYSTEM_RETRIES: Final = 3
"""How often Ray itself runs a task again whose worker or node was lost."""
_CLIENT: Final = "ray://"


@dataclass(frozen=True, slots=True)
class Needs:
    """What Ray reserves for a task.

    Attributes:
        cpus: cores, and threads that it computes with.
        gpus: of its node; 0 hides them from it.
        memory_gb: 0 reserves none.
        what: a task is called, in errors.
        remedy: what to do where no node has as much.
    """

    cpus: int = 1
    gpus: float = 0
    memory_gb: float = 0
    what: str = "a task"
    remedy: str = "Add a larger node, or use --on local."


def require_engine(on: str) -> None:
    """Refuse an engine that does not exist, is not installed or does not answer.

    Raises:
        UsageError: names the ones that do, or what to install.
        InputError: nothing answers at the address.
    """
    engine, colon, address = on.partition(":")
    if engine not in ENGINES or (engine == "local" and colon):
        raise UsageError(f"--on takes local or ray[:ADDRESS], got {shortened(repr(on), 80)}.")
    if engine == "ray":
        require_ray()
        require_answer(address)


def require_ray() -> None:
    """Refuse where Ray is not installed.

    Raises:
        UsageError: says what to install.
    """
    from importlib.util import find_spec

    if find_spec("ray") is None:
        raise UsageError(
            f"--on ray needs Ray, which is not installed. {install_extra('ray')}; or use --on "
            "local."
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
            check = [sys.executable, "-P", "-m", "ray.scripts.scripts", "health-check", "--address"]
            subprocess.run(  # noqa: S603
                [*check, f"{host}:{port}"],
                timeout=HEALTH_SECONDS,
                check=True,
                capture_output=True,
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(silent) from error


@dataclass(eq=False)
class Tasks:
    """Tasks of one function; made by `ray_tasks`.

    Attributes:
        ray: the module.
        task: the function, as Ray takes it.
        under_way: what `begin` was told of each, by Ray's reference.
    """

    ray: Any
    task: Any
    under_way: dict[Any, Any] = field(default_factory=dict)

    def begin(self, label: Any, *arguments: Any) -> Any:
        """Give Ray one task; returns its reference."""
        reference = self.task.remote(*arguments)
        self.under_way[reference] = label
        return reference

    def ended(self) -> Iterator[tuple[Any, Any]]:
        """Wait until a task has ended; label and outcome of those that did.

        An outcome is what the function returned, or an exception of Ray's.
        """
        ready, _ = self.ray.wait(list(self.under_way), num_returns=1)
        for reference in ready:
            yield self.under_way.pop(reference), self._outcome(reference)

    def in_order(
        self, calls: Iterable[tuple[Any, ...]], *, at_a_time: int = AT_A_TIME
    ) -> Iterator[Any]:
        """Results in the order of the calls, whichever ends first.

        Args:
            calls: arguments, a tuple a task; taken as there is room.
            at_a_time: so many tasks at most are under way, or wait for one before them.

        Raises:
            DefectuneError: that a task raised, or that Ray lost it more often than it tries again.
            OSError: that a task raised, such as of a full disk.
        """
        waiting: deque[Any] = deque()
        coming = iter(calls)
        while True:
            while len(waiting) < at_a_time and (call := next(coming, None)) is not None:
                waiting.append(self.begin(None, *call))
            if not waiting:
                return
            reference = waiting.popleft()
            outcome = self._outcome(reference)
            self.under_way.pop(reference)
            if isinstance(outcome, self.ray.exceptions.RayError):
                cause = getattr(outcome, "cause", None)
                if isinstance(cause, DefectuneError | OSError):
                    raise cause
                if isinstance(outcome, self.ray.exceptions.RayTaskError):
                    raise outcome
                raise InputError(
                    f"Ray lost a task, also when tried again ({lost(outcome)}). See which "
                    "nodes live (`ray status`), and call again."
                ) from outcome
            yield outcome

    def _outcome(self, reference: Any) -> Any:
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            return error


def lost(error: Exception) -> str:
    """An exception of Ray's, in a line."""
    return f"{type(error).__name__}: {shortened(error)}"


@contextlib.contextmanager
def ray_tasks(function: Callable[..., Any], needs: Needs, address: str) -> Iterator[Tasks]:
    """Connect to a Ray; on any way out, no task and no worker of ours stays behind.

    Args:
        function: of a module that every node has.
        needs: of one task.
        address: see `require_answer`, which should have been asked.

    Raises:
        UsageError: no node has what a task takes.
        InputError: no Ray could be reached.
    """
    from importlib import import_module

    # Started by `uv run`, Ray would have every worker make the environment anew, without extras.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Not by `import`: whether Ray brings types hangs on whether it is installed.
    ray: Any = import_module("ray")
    quiet_environment()
    ours = not ray.is_initialized()
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
    tasks: Tasks | None = None
    try:
        _require_room(ray.nodes(), needs)
        options = {
            "num_cpus": needs.cpus,
            "num_gpus": needs.gpus,
            "max_retries": SYSTEM_RETRIES,
            "runtime_env": {"env_vars": dict.fromkeys(THREAD_VARIABLES, str(needs.cpus))},
        }
        if needs.memory_gb:
            options["memory"] = int(needs.memory_gb * 1e9)
        tasks = Tasks(ray, ray.remote(function).options(**options))
        yield tasks
    finally:
        for reference in () if tasks is None else tasks.under_way:
            with contextlib.suppress(Exception):
                ray.cancel(reference, force=True)
        if ours:
            ray.shutdown()


def enter(folder: Path) -> None:
    """In a task: go to the caller's folder, if it is there, so that relative paths mean the same.

    Args:
        folder: absolute.
    """
    if folder.is_dir():
        os.chdir(folder)


def unseen(path: Path, others: str) -> str | None:
    """What to tell where this node does not see what the caller does; None if it does.

    Args:
        path: a file or folder.
        others: what else every node needs.
    """
    if path.exists():
        return None
    return f"The node {socket.gethostname()} does not see {path.absolute()}. {shared(others)}"


def shared(others: str) -> str:
    """A sentence that says what every node needs."""
    return f"Every node needs it, and {others}, under the same path: put them on shared storage."


def _require_room(nodes: list[dict[str, Any]], needs: Needs) -> None:
    need = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": needs.memory_gb * 1e9}
    alive = [node.get("Resources", {}) for node in nodes if node.get("Alive")]
    if not any(all(node.get(k, 0) >= v for k, v in need.items()) for node in alive):
        memory = f", {needs.memory_gb:g} GB" if needs.memory_gb else ""
        raise UsageError(
            f"No node of this Ray has what {needs.what} takes: {needs.cpus} core(s), "
            f"{needs.gpus:g} GPU(s){memory}. {needs.remedy}"
        )
