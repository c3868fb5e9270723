"""Acceptance: what can be signed of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from annotations import Dataset, InputError, UsageError
from annotations.dataset import COCO_ALL
from annotations.errors import OutputExistsError, shortened
from annotations.files import read_json, write_bytes_atomic
from annotations.images import sha256_of
from annotations.locks import refuse_link
from annotations.prediction_files import read_csv
from annotations.run_digests import FILES_KEY
from annotations.run_files import (
    ACCEPTANCE_FOLDER,
    RUNS_FOLDER,
    STRESS_PAGE,
    meta_path,
)
from defectune.library.arguments import Place, as_dataset, as_path, checked, several
from defectune.library.counting import Counted, counted_verdicts, require_labels_unchanged
from defectune.library.evaluating import external_texts, import_external, named_external
from defectune.library.options import Option
from defectune.library.progress import shown
from defectune.library.run import Run
from defectune.program import program_digest, program_version

if TYPE_CHECKING:
    from evaluation.acceptance import Acceptance
    from training import Reporter

DOCUMENT: Final = "acceptance.json"
PAGE: Final = "acceptance.html"
_GATE: Final = "To be proved"
_LABELS: Final = "Repeated photographs and other graders"
_OTHER: Final = "Predictions made elsewhere"


@dataclass(frozen=True)
class Accepted:
    """An acceptance that was written.

    Attributes:
        page: the HTML.
        document: the JSON beside it.
        decision: section of that name, see docs/files.md.
        signed_by: fingerprint of the key; empty for an unsigned one.
        notes: what a reader should know, a sentence each.
    """

    page: Path
    document: Path
    decision: Mapping[str, Any]
    signed_by: str
    notes: tuple[str, ...]

    @property
    def proved(self) -> bool | None:
        """Whether all that was asked for is proved; None where nothing was asked for."""
        proved = self.decision["proved"]
        return None if proved is None else bool(proved)


@checked
def accept(
    dataset: Annotated[Dataset | Place, Option(metavar="OUT")],
    run: Annotated[Run | Place, Option(metavar="RUN")],
    *,
    max_escape: Annotated[float | None, Option(_GATE)] = None,
    max_overkill: Annotated[float | None, Option(_GATE)] = None,
    confidence: Annotated[float, Option(_GATE)] = 0.95,
    operating_point: bool = False,
    defect_rate: float | None = None,
    least_parts: Annotated[int, Option(least=1)] = 20,
    repeats: Annotated[Place | None, Option(_LABELS, "FILE")] = None,
    second_labels: Annotated[Place | Sequence[Place], Option(_LABELS, "SRC")] = (),
    external: Annotated[Mapping[str, Place] | Sequence[str], Option(_OTHER, "NAME=PATH")] = (),
    output: Annotated[Place | None, Option(metavar="FOLDER")] = None,
    sign: Annotated[Place | None, Option(metavar="KEY")] = None,
    progress: "bool | Reporter" = True,
) -> Accepted:
    """Write what can be signed of a run: bounds of escapes and overkill, agreement, and the plan.

    Counted are parts of test images, each judged by a model that has not seen the part, at
    thresholds that were not chosen on it. The exit status is 1 where something was to be proved
    and is not.

    Args:
        dataset: A converted dataset, or its folder.
        run: A run of it, its folder or name, or a bundle that was made of one.
        max_escape: Share of defective parts that may escape, to be proved at most.
        max_overkill: Share of good parts that may be called defective, to be proved at most.
        confidence: Confidence of each bound.
        operating_point: Take the thresholds that evaluate chose by costs or a bound, from
            leaderboard.json, and not those of training.
        defect_rate: Share of defective parts on your line, for what a verdict is worth there.
        least_parts: Types, sizes and sources with fewer defective parts are said not to be tested.
        repeats: CSV with the columns image and part that says which photographs show one part;
            those that it does not name keep the part that the dataset knows.
        second_labels: What another person said of the same images, in any layout that convert
            reads. Can be repeated, once a person.
        external: Predictions made elsewhere, by the name that their run gets. Can be repeated.
        output: Folder to write to; acceptance/RUN in the dataset if not given.
        sign: PEM file of a private Ed25519 key to sign with.
        progress: True for bars or lines, False for nothing, or a reporter of your own.

    Returns:
        Where the page and its JSON are, and what is proved.

    Raises:
        UsageError: an argument of a wrong type or out of its range.
        DefectuneError: no such run, one that was changed after training, or verdicts that are not
            out of fold.

    Example:
        >>> import defectune as dt
        >>> made = dt.accept("out", "quick", max_escape=0.01, progress=False)
        >>> made.proved
        False
        >>> made.page.as_posix()
        'out/acceptance/quick/acceptance.html'
    """
    from evaluation.acceptance import Asked

    with shown(progress) as reporter:
        asked = Asked(max_escape, max_overkill, confidence, defect_rate, least_parts)
        key = None
        if sign is not None:
            from defectune.library.signing import load_private_key

            key = load_private_key(as_path(sign, what="key"))
        data, named = as_dataset(dataset), external_texts(external)
        require_labels_unchanged(data)
        for _, place in named_external(named):
            if not place.exists():
                raise InputError(f"--external {place}: there is no such file or folder.")
        if named:
            from evaluation import ExternalOptions

            import_external(data, named, ExternalOptions(), reporter=reporter)
        counted = counted_verdicts(data, run, operating_point=operating_point, reporter=reporter)
        name = counted.predictions.name
        folder = data.root / ACCEPTANCE_FOLDER / name
        if output is not None:
            folder = as_path(output, what="output")
        _require_replaceable(folder)
        notes: list[str] = []
        found = _acceptance(data, counted, asked, repeats, second_labels, notes)
        return _write(data, counted, found, folder, key, notes)


def _acceptance(
    data: Dataset,
    counted: Counted,
    asked: Any,
    repeats: Place | None,
    second_labels: Place | Sequence[Place],
    notes: list[str],
) -> "Acceptance":
    from converters.second_labels import read_second_labels
    from evaluation.acceptance import Photograph, accept_photographs, merged_parts
    from evaluation.strata import image_size, size_classes

    stored = counted.predictions
    ids = [i for i in data.split.test_ids if i in stored.image_scores]
    groups = {sample.image_id: sample.group for sample in data.samples}
    listed = {} if repeats is None else _read_repeats(as_path(repeats, what="repeats"), data)
    told = "as the dataset groups its images"
    if listed:
        told = f"{Path(str(repeats)).name} ({len(listed)} images), and else {told}"
    parts = merged_parts(groups, listed, data.split, ids)
    sizes = size_classes(data)
    graders: dict[str, dict[str, bool]] = {}
    for place in several(second_labels):
        path = as_path(place, what="second labels")
        labels = read_second_labels(path, data)
        name = path.name if path.name not in graders else str(path)
        if name in graders:
            raise UsageError(f"--second-labels names {path} twice.")
        graders[name] = labels.defective
        for count, what in (
            (labels.n_unknown, "images are not the dataset's, and were passed over"),
            (labels.n_contradicting, "images have copies with another label; they are defective"),
            (sum(i not in labels.defective for i in ids), "counted images are not in it"),
        ):
            notes += [f"{name}: {count} {what}."] if count else []
    if missing := len(data.split.test_ids) - len(ids):
        notes.append(
            f"{missing} of {len(data.split.test_ids)} test images were not counted, since their "
            "folds have no verdicts here."
        )
    if not stored.validation_scores:
        notes.append(
            "The run keeps no scores of validation images, so that the choice of its threshold "
            "cannot be made again; what it was chosen on stands as training wrote it."
        )
    photographs = [
        Photograph(
            image_id=image_id,
            part=parts[image_id],
            defect_type=data.by_id[image_id].defect_type,
            size=image_size(data, image_id, sizes) or "",
            source=data.by_id[image_id].origin,
            fold=stored.fold_of[image_id],
            score=float(stored.image_scores[image_id]),
            threshold=counted.thresholds[stored.fold_of[image_id]],
        )
        for image_id in ids
    ]
    return accept_photographs(
        photographs, asked, class_names=data.class_names, repeats=told, graders=graders
    )


def _read_repeats(path: Path, data: Dataset) -> dict[str, str]:
    """Part by image id, of a CSV with the columns image and part.

    Raises:
        InputError: other columns, an unknown image, or one with two parts.
    """
    rows = read_csv(path)
    if not rows:
        raise InputError(f"{path} lists no photograph. It needs the columns image and part.")
    if "image" not in rows[0] or "part" not in rows[0]:
        raise InputError(
            f"{path} has the columns {shortened(', '.join(map(str, rows[0])), 120)}; it needs "
            "image and part."
        )
    parts: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        image_id, part = str(row["image"] or "").strip(), str(row["part"] or "").strip()
        if image_id not in data.by_id:
            raise InputError(
                f"{path}, line {number}, names the image {shortened(repr(image_id), 80)}, which "
                f"{data.root} does not have. Images go by their ids, such as "
                f"{data.samples[0].image_id!r}."
            )
        if not part or parts.setdefault(image_id, part) != part:
            raise InputError(
                f"{path}, line {number}: {image_id} has "
                f"{'another part before' if part else 'no part'}. One image shows one part."
            )
    return parts


def _require_replaceable(folder: Path) -> None:
    """Refuse to write over what is no acceptance, or a signed one."""
    refuse_link(folder)
    if not folder.exists():
        return
    strange = folder.is_file() or {p.name for p in folder.iterdir()} - {PAGE, DOCUMENT}
    if strange:
        raise OutputExistsError(
            f"{folder} holds something that is no acceptance; it is left as it is. Choose another "
            "--output."
        )
    path = folder / DOCUMENT
    if path.is_file():
        document = read_json(path, what="an acceptance")
        if not isinstance(document, dict) or document.get("signature") is not None:
            raise OutputExistsError(
                f"{path} is signed, and is not written over. Move it away, or choose another "
                "--output."
            )


def _write(
    data: Dataset,
    counted: Counted,
    found: "Acceptance",
    folder: Path,
    key: Any,
    notes: Sequence[str],
) -> Accepted:
    from evaluation import predictions_digest
    from evaluation.acceptance.manifest import content_digest, document_bytes, sealed_document
    from report.acceptance import acceptance_page

    run = counted.predictions.run
    digest = predictions_digest(run)
    sections: dict[str, Any] = {
        "decision": found.decision(),
        "metrics": found.metrics(),
        "agreement": found.agreement(),
        "operating_point": {
            **counted.chosen,
            "thresholds": {str(f): t for f, t in sorted(counted.thresholds.items())},
        },
        "not_tested": [*found.not_tested(), *notes],
        "plan": found.plan(),
        "window": _window(data, run, digest, folder),
        "evidence": found.evidence(),
        "digests": {
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "run": run.name,
            "family": str(counted.predictions.about.get("family", "")),
            "model": str(counted.predictions.about.get("model", "")),
            "protocol": data.split.protocol,
            "split": data.split.digest,
            "labels": sha256_of(data.root / COCO_ALL),
            "predictions": digest,
            "models": _model_digests(run),
            "bundle": counted.bundle,
            "program": program_version(),
            "program_code": program_digest(),
        },
    }
    page = acceptance_page(data.root.absolute().name, sections, content_digest(sections))
    document = sealed_document(sections, page, PAGE)
    if key is not None:
        from defectune.library.signing import signature_of

        document["signature"] = signature_of(key, document["manifest"]["whole"])
    write_bytes_atomic(folder / PAGE, page)
    write_bytes_atomic(folder / DOCUMENT, document_bytes(document))
    signature = document["signature"]
    return Accepted(
        page=folder / PAGE,
        document=folder / DOCUMENT,
        decision=sections["decision"],
        signed_by="" if signature is None else signature["fingerprint"],
        notes=tuple(sections["not_tested"]),
    )


def _window(data: Dataset, run: Path, digest: str, folder: Path) -> dict[str, Any]:
    """The run's operating window, with the way to its page where the acceptance stands in the
    dataset: from elsewhere, it would tell where things were on this machine."""
    from urllib.parse import quote

    from evaluation.acceptance.window import read_window

    window = read_window(run, digest)
    usual = folder == data.root / ACCEPTANCE_FOLDER / run.name
    if usual and window["rows"] and (run / STRESS_PAGE).is_file():
        window["page"] = quote(f"../../{RUNS_FOLDER.as_posix()}/{run.name}/{STRESS_PAGE}")
    return window


def _model_digests(run: Path) -> dict[str, str]:
    """SHA-256 of every file of the run's models and settings, as training wrote them down."""
    listed = read_json(meta_path(run), what="a run's predictions").get(FILES_KEY)
    return dict(sorted(listed.items())) if isinstance(listed, dict) else {}
