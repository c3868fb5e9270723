"""The page of a sweep, in the report's style."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from defectune.sweeps.table import MetricTable, table_texts

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src '{{ hash }}'; \
base-uri 'none'; form-action 'none'">
<title>{{ title }} – defectune sweep</title>
<style>{{ style }}</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
<p class="sentence">{{ sentence }}</p>
</header>
<main>
{% for table in tables %}
<section aria-labelledby="metric-{{ loop.index }}">
<h2 id="metric-{{ loop.index }}">{{ table.name }}</h2>
<p class="hint">{{ table.meaning }} The mean is over datasets, with its 95 % interval.</p>
<div class="scroll" tabindex="0" role="region" aria-label="{{ table.name }} by model and dataset">
<table>
<thead><tr>
{% for cell in table.head %}
<th scope="col">{{ cell or 'model' }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in table.body %}
<tr><th scope="row">{{ row[0] }}</th>{% for cell in row[1:] %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
<ul>
{% for line in table.words %}
<li>{{ line }}</li>
{% endfor %}
</ul>
</section>
{% endfor %}
{% if failed %}
<section aria-labelledby="failed">
<h2 id="failed">Cells that failed</h2>
<ul>
{% for name, error in failed.items() %}
<li><code>{{ name }}</code>: {{ error }}</li>
{% endfor %}
</ul>
</section>
{% endif %}
</main>
</body>
</html>
"""


def to_html(tables: Sequence[MetricTable], failed: Mapping[str, str], *, title: str) -> str:
    """One file, no script, nothing fetched; everything shown is escaped.

    Args:
        tables: one a metric.
        failed: errors by the names of cells.
        title: in the heading.
    """
    from importlib.resources import files

    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    from evaluation import METRIC_WORDS

    style = files("report").joinpath("templates", "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    shown = []
    for table in tables:
        head, *body = table_texts(table)
        name, meaning = METRIC_WORDS.get(table.metric, (table.metric, ""))
        shown.append(
            {"name": name, "meaning": meaning, "head": head, "body": body, "words": table.words}
        )
    words = [line for table in tables for line in table.words]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_PAGE).render(
        title=title,
        sentence=words[0] if words else "Nothing is compared yet.",
        tables=shown,
        failed=dict(sorted(failed.items())),
        hash=f"sha256-{digest}",
        # The file is ours; Markup keeps its quotes as they are.
        style=Markup(style),  # noqa: S704
    )
