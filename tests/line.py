"""The command line within this process: what a call prints, its status, and its error."""

import io
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch


@dataclass(frozen=True)
class Done:
    """What a call left: exit status, everything printed, and an error that left it."""

    exit_code: int
    output: str
    exception: Any = None


class CliRunner:
    """Calls the command line."""

    def invoke(
        self,
        app: Callable[[Sequence[str]], int],
        arguments: Sequence[object],
        *,
        input: str = "",  # noqa: A002
        env: dict[str, str] | None = None,
    ) -> Done:
        """Call it; what it prints on both streams is one text."""
        said = io.StringIO()
        with ExitStack() as stack:
            stack.enter_context(redirect_stdout(said))
            stack.enter_context(redirect_stderr(said))
            stack.enter_context(patch("sys.stdin", io.StringIO(input)))
            stack.enter_context(patch.dict("os.environ", env or {}))
            try:
                status = app([str(one) for one in arguments])
            except SystemExit as error:
                return Done(int(error.code or 0), said.getvalue(), error)
            except Exception as error:
                return Done(getattr(error, "exit_status", 1), said.getvalue(), error)
        return Done(status, said.getvalue())
