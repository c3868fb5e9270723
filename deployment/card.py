"""The model card of a bundle, in Markdown."""

from collections.abc import Mapping
from typing import Any


def model_card(
    run: str,
    settings: Mapping[str, Any],
    document: Mapping[str, Any],
    figures: Mapping[str, Any] | None,
    versions: Mapping[str, str],
) -> str:
    """What the models were trained on, how well they do, and under which license.

    Args:
        run: its name.
        settings: of the run's config.yaml.
        document: bundle.json.
        figures: the run's row of leaderboard.json, or None.
        versions: of libraries, by name.
    """
    models = document["models"]
    folds = ", ".join(str(model["fold"]) for model in models)
    joint = (
        "The scores of its models are calibrated one by one and averaged."
        if len(models) > 1
        else "One model."
    )
    whose = f"Models of fold {folds}."
    if document["refitted"]:
        whose = (
            "Trained again on all images but the first fold's validation images, which chose its "
            "thresholds; the metrics below are those of the folds' models."
        )
    lines = [
        f"# {run}",
        "",
        f"Family: {settings['family']}. {whose} {joint} "
        f"Numbers of its graphs: {document['precision']}; run by {document['engine']}.",
        "",
        "## Trained on",
        "",
        f"Split: `{settings['split_digest']}`.",
        f"Defect types: {', '.join(settings['class_names'])}.",
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| {key} | {_cell(value)} |" for key, value in settings["config"].items()),
        "",
        "## Thresholds",
        "",
        "| fold | image score from | scale | regions from | least area | chosen on |",
        "|---|---|---|---|---|---|",
        *(_threshold_row(model) for model in models),
        "",
        f"Calibrated scores from {document['threshold']:g} on are defective, chosen by "
        f"{document['threshold_chosen_by'] or 'training'}.",
        "",
        "## Metrics",
        "",
        *_figure_lines(figures),
        "",
        "## Versions",
        "",
        *(f"- {name} {number}" for name, number in versions.items()),
        "",
        "## License",
        "",
        "Code: AGPL-3.0-or-later. Data license: the owner's.",
        "",
    ]
    return "\n".join(lines)


def _threshold_row(model: Mapping[str, Any]) -> str:
    own = model["thresholds"]
    return (
        f"| {model['fold']} | {own['raw_threshold']:.6g} | {own['scale']} | "
        f"{own['region_threshold']:.6g} | {own['min_area_fraction']:.6g} | "
        f"{_cell(own['chosen_on'])} |"
    )


def _figure_lines(figures: Mapping[str, Any] | None) -> list[str]:
    if figures is None:
        return ["None: `defectune evaluate` had not seen this run when the bundle was made."]
    rows = []
    for name, value in figures["metrics"].items():
        if value is None or value.get("value") is None:
            continue
        low, high = value.get("low"), value.get("high")
        span = "" if low is None or high is None else f"{low:.4f} to {high:.4f}"
        rows.append(f"| {name} | {value['value']:.4f} | {span} | {value.get('n', '')} |")
    return [
        "Of the folds' models on their own test images, from leaderboard.json; intervals as there.",
        "",
        "| metric | value | interval | n |",
        "|---|---|---|---|",
        *rows,
    ]


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
