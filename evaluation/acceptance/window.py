"""The operating window of a run, as `stress` leaves it, taken into an acceptance."""

from pathlib import Path
from typing import Any, Final

from annotations import InputError
from annotations.errors import shortened
from annotations.files import read_json
from annotations.run_files import STRESS_FILE as WINDOW_FILE

NOT_STRESSED: Final = (
    "Exposure, blur, noise, position and the other changes of a line were not tried: no operating "
    "window was made of this run."
)


def read_window(run: Path, predictions: str) -> dict[str, Any]:
    """The window of a run: `rows` of `change`, `unit`, `low` and `high`, or why there is none.

    Args:
        run: its folder.
        predictions: digest of the run's predictions; a window of others is not taken in.

    Raises:
        InputError: a damaged file.
    """
    path = run / WINDOW_FILE
    if not path.is_file():
        return {"reason": NOT_STRESSED, "rows": []}
    value: Any = read_json(path, what="the operating window of a run")
    try:
        if value["predictions"] != predictions:
            return {
                "reason": f"{WINDOW_FILE} was made of other predictions than the run holds now; "
                "make it again.",
                "rows": [],
            }
        rows = [
            {
                "change": str(row["change"]),
                "unit": str(row["unit"]),
                "low": float(row["low"]),
                "high": float(row["high"]),
            }
            for row in value["window"]
        ]
        found = {"reason": "", "max_flips": float(value["max_flips"]), "rows": rows}
        if "check" in value:
            check = value["check"]
            found["check"] = {name: int(check[name]) for name in ("count", "n")}
        return found
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {shortened(error)}). Make it again."
        ) from error
