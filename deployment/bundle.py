"""Opening a bundle, and the verdict on an image."""

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from annotations.errors import InputError, UsageError, shortened
from annotations.images import read_image_rgb
from annotations.prediction import Prediction
from annotations.prediction_files import FoldThresholds
from annotations.scores import CalibratedScore
from deployment.archive import (
    BUNDLE,
    CARD,
    array_name,
    graph_name,
    parse_json,
    read_archive,
    unpack_array,
)
from deployment.networks import CPU, ENGINES, ONNX_RUNTIME, Engine
from deployment.runtime import SCORERS, Member, joint_thresholds, predict_jointly
from deployment.threads import at_most_threads
from inference.arrays import as_image
from inference.base import ImageRgb, Scorer
from inference.decision import Decision, decide
from inference.joined import JoinedMasks
from inference.masks import SegmentPredictor

BundleVerdict = Decision


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; several processes may open one file.

    Attributes:
        path: the file.
        digest: SHA-256 of its manifest, which holds that of everything else.
        document: bundle.json.
        card: the model card, Markdown.
        thresholds: of its one model, or of the mean of several.
        members: its models.
        threads: that compute one image, in the graphs' engine, NumPy and OpenCV alike; 0 is as
            many as each chooses.
    """

    path: Path
    digest: str
    document: dict[str, Any] = field(repr=False)
    card: str = field(repr=False)
    thresholds: FoldThresholds
    members: tuple[Member, ...] = field(repr=False)
    threads: int = 0

    @property
    def family(self) -> str:
        """detect, segment or classify."""
        return str(self.document["family"])

    @property
    def run(self) -> str:
        """The name of the run that it was made of."""
        return str(self.document["run"])

    @property
    def folds(self) -> tuple[int, ...]:
        """Whose models it holds."""
        return tuple(member.fold for member in self.members)

    @property
    def refitted(self) -> bool:
        """Whether its one model was trained on the test images too."""
        return self.document.get("refitted", False) is True

    @property
    def class_names(self) -> tuple[str, ...]:
        """Defect types by label of regions."""
        return tuple(self.document["class_names"])

    @property
    def bit_depth(self) -> int | None:
        """Bits that the values of 16-bit images use."""
        depth = self.document["bit_depth"]
        return None if depth is None else int(depth)

    @property
    def threshold(self) -> float:
        """Calibrated scores from this on are defective."""
        return float(self.document["threshold"])

    @property
    def chosen_by(self) -> str:
        """Who chose the threshold, as a text."""
        said = shortened(self.document.get("threshold_chosen_by", ""))
        return said or f"training, on {self.thresholds.chosen_on}"

    @property
    def precision(self) -> str:
        """Type of the graphs' numbers: fp32 or int8."""
        return str(self.document.get("precision", "fp32"))

    @property
    def map_range(self) -> tuple[float, float]:
        """Scores at the ends of a heat map's colors."""
        low, high = self.document["map_range"]
        return float(low), float(high)

    def raw_prediction(self, image_id: str, image_rgb: ImageRgb) -> Prediction:
        """What the models say of one image, uint8 (H, W, 3), before calibration."""
        with at_most_threads(self.threads):
            return predict_jointly(self.members, self.thresholds, image_id, image_rgb)

    def predict(self, image: "str | PathLike[str] | npt.NDArray[np.uint8]") -> BundleVerdict:
        """The verdict on one image.

        Args:
            image: a path, or uint8 RGB (H, W, 3) or gray (H, W).

        Raises:
            ImageReadError: the file cannot be read as an image.
            UsageError: an array of another shape or type.
        """
        if isinstance(image, str | PathLike):
            name = Path(image).name
            image_rgb = read_image_rgb(Path(image), bit_depth=self.bit_depth)
        else:
            name, image_rgb = "array", as_image(image)
        return decide(
            self.raw_prediction(name, image_rgb), self.thresholds, CalibratedScore(self.threshold)
        )


def open_bundle(path: "str | PathLike[str]", *, threads: int = 0, provider: str = CPU) -> Bundle:
    """Open a bundle: prove every member's SHA-256, and load its graphs.

    Args:
        path: the file.
        threads: that compute one image, in the graphs' engine as in NumPy and OpenCV; 0 is one a
            core. While an image is computed, the bound holds for the whole process.
        provider: what computes the graphs: cpu, cuda, tensorrt or openvino. Scores differ a little
            from those of the CPU; `bundle check` knows those of the CPU alone.

    Raises:
        UsageError: a negative number of threads, or a provider that the installed ONNX Runtime
            lacks.
        InputError: no bundle, another version, truncated, changed, unsafe to read, or what runs its
            graphs is not installed.
    """
    if threads < 0:
        raise UsageError(f"threads must be 0 (one a core) or more, got {threads}.")
    place = Path(path)
    members, digest = read_archive(place)
    document = parse_json(place, members, BUNDLE)
    try:
        models = document["models"]
        if not models:
            raise ValueError("it holds no model")
        engine = _engine(place, document)
        opened = tuple(
            _open_member(members, number, model, engine, threads, provider)
            for number, model in enumerate(models)
        )
        if len({type(member.scorer) for member in opened}) != 1:
            raise ValueError("its models are of several kinds")
        joint = joint_thresholds([m.thresholds for m in opened], [m.fold for m in opened])
        bundle = Bundle(
            place, digest, document, members[CARD].decode("utf-8"), joint, opened, threads
        )
        # Asked for once, so that what is missing is told now.
        _ = (
            document["split_digest"],
            bundle.family,
            bundle.class_names,
            bundle.bit_depth,
            bundle.threshold,
            bundle.map_range,
        )
        if bundle.run in ("", "..") or PurePath(bundle.run).name != bundle.run:
            raise ValueError(f"it names no run, but {shortened(bundle.run, 80)!r}")
        if not 0 < bundle.threshold <= 1:
            raise ValueError(f"the threshold is {bundle.threshold}")
        bundle.raw_prediction("", np.zeros((32, 32, 3), np.uint8))
    except (InputError, UsageError):
        raise
    except Exception as error:  # NumPy and ONNX Runtime raise many kinds
        raise InputError(
            f"{place} holds no model that can be used ({type(error).__name__}: "
            f"{shortened(error, 160)}). Make the bundle again with this version."
        ) from error
    return bundle


def _engine(place: Path, document: dict[str, Any]) -> Engine:
    name = str(document.get("engine", ONNX_RUNTIME))
    if name not in ENGINES:
        raise InputError(
            f"{place} asks for {shortened(name, 80)!r} to run its graphs; this version has "
            f"{' and '.join(ENGINES)}. Make the bundle again, or install the version it is from."
        )
    return ENGINES[name]


def _open_member(
    members: dict[str, bytes],
    number: int,
    model: dict[str, Any],
    engine: Engine,
    threads: int,
    provider: str,
) -> Member:
    kind = SCORERS[model["scorer"]]

    def open_scorer(kind: type[Scorer], one: dict[str, Any]) -> Scorer:
        # Bundles of before there were joined models number their graphs by model.
        place = int(one.get("number", number))
        network = engine(members[graph_name(place)], threads=threads, provider=provider)
        arrays = {
            str(name): unpack_array(members[array_name(place, name)]) for name in one["arrays"]
        }
        return kind.build(one["recipe"], arrays, network)

    if issubclass(kind, JoinedMasks):
        parts = [open_scorer(SCORERS[part["scorer"]], part) for part in model["parts"]]
        masks = [part for part in parts if isinstance(part, SegmentPredictor)]
        if len(masks) < len(parts):
            raise ValueError("a joined model is made of segmenters")
        scorer: Scorer = kind.join(model["recipe"], masks)
    else:
        scorer = open_scorer(kind, model)
    return Member(int(model["fold"]), scorer, FoldThresholds.from_json(model["thresholds"]))
