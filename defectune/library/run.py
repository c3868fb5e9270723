"""`Run`: one training configuration over its folds, as it stands on disk."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotations.run_files import CONFIG_FILE
from defectune.library.arguments import Place, as_path, checked
from defectune.runs import dataset_of, find_run

if TYPE_CHECKING:
    from annotations import Dataset, StoredPredictions
    from defectune.library.verdict import Verdict
    from training import Predictor


class Run:
    """A run that training made.

    Attributes:
        path: its folder.

    Example:
        >>> import defectune as dt
        >>> run = dt.Run("out/runs/quick")
        >>> run.name, run.family, run.folds
        ('quick', 'classify', (0, 1))
        >>> verdict = run.predict("drawn/drawn_bottle/test/good/000.png", device="cpu")
        >>> verdict.defective == (verdict.score >= verdict.threshold)
        True
    """

    path: Path

    @checked
    def __init__(self, path: Place) -> None:
        """Open a run.

        Args:
            path: its folder, OUT/runs/NAME, or OUT/NAME for short.

        Raises:
            InputError: there is no such run; the ones that there are are named.
            UsageError: an argument of a wrong type.
        """
        self.path = find_run(as_path(path, what="run"))
        self._predictors: dict[tuple[int, str], Predictor] = {}

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.resolve().name

    @property
    def family(self) -> str:
        """detect, segment or classify; `external` for predictions that were made elsewhere."""
        return str(self._config()["family"]) if self._has_model else "external"

    @property
    def config(self) -> dict[str, Any]:
        """The settings that it was trained with; empty for predictions made elsewhere."""
        return dict(self._config()["config"]) if self._has_model else {}

    @property
    def folds(self) -> tuple[int, ...]:
        """Folds that have finished."""
        from annotations.prediction_files import read_thresholds

        return tuple(sorted(read_thresholds(self.path)))

    @property
    def dataset(self) -> "Dataset":
        """The dataset that it was trained on.

        Raises:
            InputError: the run was moved out of its dataset.
        """
        from annotations import load_dataset

        return load_dataset(dataset_of(self.path))

    @property
    def predictions(self) -> "StoredPredictions":
        """What it says of the test images, as it is evaluated.

        Raises:
            DefectuneError: no finished predictions, or damaged ones.
        """
        from annotations import read_predictions

        return read_predictions(self.path, self.dataset)

    @checked
    def predict(
        self,
        image: Any,
        *,
        fold: int | None = None,
        device: str = "auto",
        threshold: float | None = None,
        operating_point: bool = False,
    ) -> "Verdict":
        """Give the verdict on one image. The model stays loaded for the next one.

        Args:
            image: a path, or an array: uint8, RGB (H, W, 3) or gray (H, W).
            fold: whose model; None takes the first finished one.
            device: auto, cpu, cuda:0 …
            threshold: calibrated scores from this on are defective; None takes 0.5, the threshold
                that training chose.
            operating_point: take the threshold that `evaluate` chose by costs or a bound.

        Raises:
            UsageError: an array of another shape or type, a fold that has not finished, or both
                thresholds.
            ImageReadError: the file cannot be read as an image.
            InputError: no finished fold, no model, or no operating point.
        """
        from defectune.library.deciding import predict_one
        from defectune.library.recipe import PredictOptions

        options = PredictOptions(fold, device, threshold, operating_point)
        return predict_one(self.path, image, options, self._predictors)

    def __repr__(self) -> str:
        folds = f"{len(self.folds)} finished fold(s)"
        return f"Run({self.path.as_posix()!r}: {self.family}, {folds})"

    def _repr_html_(self) -> str:
        rows = {"family": self.family, "finished folds": ", ".join(map(str, self.folds)) or "none"}
        rows |= {key: str(value) for key, value in self.config.items()}
        body = "".join(
            f"<tr><th style='text-align:left'>{escape(k)}</th><td>{escape(v)}</td></tr>"
            for k, v in rows.items()
        )
        head = f"<summary>Run {escape(self.name)}</summary>"
        return f"<details open>{head}<table>{body}</table></details>"

    @property
    def _has_model(self) -> bool:
        return (self.path / CONFIG_FILE).is_file()

    def _config(self) -> dict[str, Any]:
        from training import read_run_config

        return read_run_config(self.path)
