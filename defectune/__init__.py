"""From defect masks to labels, to a fine-tuned detector and segmenter, to a verdict.

Nothing heavy is imported before it is used: `import defectune` takes a few milliseconds.

Example:
    >>> import defectune as dt
    >>> from converters.synthetic import SyntheticConfig, draw_category
    >>> small = SyntheticConfig(n_train_good=6, n_test_good=4, n_per_type=4, image_hw=(64, 64))
    >>> source = draw_category("drawn", small)
    >>> data = dt.convert(source, "out", folds=2, progress=False)
    >>> data
    Dataset('out': 22 images, 12 defective, 3 defect types; kfold, 2 folds)
    >>> run = dt.train(
    ...     data, "classify", method="patch-memory", model="resnet18", weights="none",
    ...     image_size=64, device="cpu", name="quick", progress=False,
    ... )
    >>> run
    Run('out/runs/quick': classify, 2 finished fold(s))
    >>> board = dt.evaluate(data, progress=False)
    >>> board
    Leaderboard(16 test images, 12 defective, kfold: 1 run, best image_auroc: quick)
    >>> run.predict(source / "test" / "good" / "000.png", device="cpu").heat_map.shape
    (64, 64)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from annotations import Dataset, DefectuneError, Regions, Sample
    from classify import ClassifyConfig
    from defectune.demo import demo_source
    from defectune.library.accepting import accept
    from defectune.library.bundling import bundle, check_bundle
    from defectune.library.conversion import convert
    from defectune.library.datasets import check, export, load
    from defectune.library.evaluating import evaluate
    from defectune.library.growing import diff, log, update
    from defectune.library.predicting import predict
    from defectune.library.reporting import report
    from defectune.library.run import Run
    from defectune.library.stressing import stress
    from defectune.library.sweeping import sweep
    from defectune.library.training_runs import train
    from defectune.library.verdict import Verdict
    from defectune.library.verifying import verify_acceptance
    from detect import DetectConfig
    from evaluation import Leaderboard
    from segment import HybridConfig, JoinedConfig, SegmentConfig

__all__ = [
    "ClassifyConfig",
    "Dataset",
    "DefectuneError",
    "DetectConfig",
    "HybridConfig",
    "JoinedConfig",
    "Leaderboard",
    "Regions",
    "Run",
    "Sample",
    "SegmentConfig",
    "Verdict",
    "__version__",
    "accept",
    "bundle",
    "check",
    "check_bundle",
    "convert",
    "demo_source",
    "diff",
    "evaluate",
    "export",
    "load",
    "log",
    "predict",
    "report",
    "stress",
    "sweep",
    "train",
    "update",
    "verify_acceptance",
]

# Modules of the library are called otherwise than its functions: importing a submodule sets its
# name on the package, and would hide a function of that name.
_HOMES: Final = {
    "ClassifyConfig": "classify",
    "Dataset": "annotations",
    "DefectuneError": "annotations",
    "DetectConfig": "detect",
    "HybridConfig": "segment",
    "JoinedConfig": "segment",
    "Leaderboard": "evaluation",
    "Regions": "annotations",
    "Run": "defectune.library.run",
    "Sample": "annotations",
    "SegmentConfig": "segment",
    "Verdict": "defectune.library.verdict",
    "accept": "defectune.library.accepting",
    "bundle": "defectune.library.bundling",
    "check": "defectune.library.datasets",
    "check_bundle": "defectune.library.bundling",
    "convert": "defectune.library.conversion",
    "demo_source": "defectune.demo",
    "diff": "defectune.library.growing",
    "evaluate": "defectune.library.evaluating",
    "export": "defectune.library.datasets",
    "load": "defectune.library.datasets",
    "log": "defectune.library.growing",
    "predict": "defectune.library.predicting",
    "report": "defectune.library.reporting",
    "stress": "defectune.library.stressing",
    "sweep": "defectune.library.sweeping",
    "train": "defectune.library.training_runs",
    "update": "defectune.library.growing",
    "verify_acceptance": "defectune.library.verifying",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("defectune")
    elif name in _HOMES:
        from defectune.shadowing import require_own_packages

        require_own_packages()
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
