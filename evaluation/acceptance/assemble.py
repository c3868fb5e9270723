"""The sections of an acceptance, made of photographs, verdicts and labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Final

import numpy as np

from evaluation.acceptance.agreement import (
    share_band,
)
from evaluation.acceptance.claims import (
    ESCAPE_LIMITS,
    LINE_RATES,
    OVERKILL_LIMITS,
    Asked,
    claim_of,
    percent,
)
from evaluation.acceptance.grading import Agreement
from evaluation.acceptance.parts import (
    RULE,
    Photograph,
    Trial,
    escape_rate,
    escapes_by,
    overkill_rate,
    trials_of,
)
from evaluation.acceptance.rates import (
    BoundedRate,
    chance_to_pass,
    parts_needed,
    plan_rows,
)
from evaluation.strata import SIZE_NAMES

ALLOWED: Final = (0, 1, 2)
_CURVE_POINTS: Final = 61
_MOST_ALLOWED: Final = 100
"""With more errors than this, nobody asks how many parts would prove a limit all the same."""


@dataclass(frozen=True)
class Acceptance:
    """What was counted.

    Attributes:
        photographs: all that were counted.
        asked: what is to be proved.
        class_names: all defect types of the dataset, those without a photograph too.
        repeats: where parts come from, in words.
        graders: what other people said, by grader and image id: True for defective.
    """

    photographs: tuple[Photograph, ...]
    asked: Asked
    class_names: tuple[str, ...]
    repeats: str
    graders: Mapping[str, Mapping[str, bool]]

    @cached_property
    def trials(self) -> list[Trial]:
        """All parts."""
        return trials_of(self.photographs)

    @property
    def escape(self) -> BoundedRate:
        """Defective parts that escape."""
        return escape_rate(self.trials, self.asked.confidence)

    @property
    def overkill(self) -> BoundedRate:
        """Good parts that are called defective."""
        return overkill_rate(self.trials, self.asked.confidence)

    def decision(self) -> dict[str, Any]:
        """What was asked, and whether it is proved."""
        claims = []
        asked = self.asked
        for name, limit, rate in (
            ("escape", asked.max_escape, self.escape),
            ("overkill", asked.max_overkill, self.overkill),
        ):
            if limit is not None:
                claims.append(claim_of(name, limit, rate, asked.confidence))
        proved = all(claim["proved"] for claim in claims) if claims else None
        return {
            "max_escape": asked.max_escape,
            "max_overkill": asked.max_overkill,
            "confidence": asked.confidence,
            "proved": proved,
            "claims": claims,
        }

    def metrics(self) -> dict[str, Any]:
        """Rates of parts, in all and by stratum, and predictive values."""
        confidence, shots = self.asked.confidence, self.photographs
        bad = [one for one in shots if one.is_defective]
        wrong = sum(one.called != one.is_defective for one in shots)
        n = len(self.trials)
        right = sum(one.called == one.is_defective for one in self.trials)
        by_size = escapes_by([one for one in bad if one.size], lambda p: p.size, confidence)
        return {
            "rule": RULE,
            "n_parts": n,
            "n_photographs": len(shots),
            "photographs_wrong": wrong,
            "escape": self.escape.to_json(),
            "overkill": self.overkill.to_json(),
            "escape_by_type": _rows(escapes_by(shots, lambda p: p.defect_type, confidence)),
            "escape_by_size": _rows({s: by_size[s] for s in SIZE_NAMES if s in by_size}),
            "by_source": self._both(lambda p: p.source),
            "by_fold": self._both(lambda p: f"fold {p.fold}"),
            "predictive": self._predictive(),
            "effectiveness": self._effectiveness(right, n),
        }

    def _both(self, key: Any) -> list[dict[str, Any]]:
        ordered = sorted(self.photographs, key=key)
        rows = []
        for name, shots in groupby(ordered, key):
            trials = trials_of(shots)
            rows.append(
                {
                    "name": name,
                    "escape": escape_rate(trials, self.asked.confidence).to_json(),
                    "overkill": overkill_rate(trials, self.asked.confidence).to_json(),
                }
            )
        return rows

    def _predictive(self) -> list[dict[str, Any]]:
        """At defect rates of a line: what a verdict is worth, as seen and at both bounds."""
        if not self.escape.n or not self.overkill.n:
            return []
        rates = sorted({*LINE_RATES, *([self.asked.defect_rate] if self.asked.defect_rate else [])})
        rows = []
        for rate in rates:
            row: dict[str, Any] = {"defect_rate": rate}
            for name, escape, overkill in (
                ("seen", self.escape.value or 0.0, self.overkill.value or 0.0),
                ("worst", self.escape.upper, self.overkill.upper),
            ):
                good = rate * escape + (1 - rate) * (1 - overkill)
                bad = rate * (1 - escape) + (1 - rate) * overkill
                row[f"defective_among_passed_{name}"] = rate * escape / good if good else None
                row[f"defective_among_rejected_{name}"] = rate * (1 - escape) / bad if bad else None
            rows.append(row)
        return rows

    def _effectiveness(self, right: int, n: int) -> list[dict[str, Any]]:
        rows = []
        for name, rate in (
            ("effectiveness", BoundedRate(right, n, self.asked.confidence)),
            ("miss_rate", self.escape),
            ("false_alarm_rate", self.overkill),
        ):
            band = None if rate.value is None else share_band(name, rate.value)
            rows.append({"name": name, **rate.to_json(), "band": band})
        return rows

    def agreement(self) -> dict[str, Any]:
        """Kappas, repeatability, and two photographs in a row."""
        confidence = self.asked.confidence
        return Agreement(
            self.photographs, self.trials, self.graders, self.repeats, confidence
        ).to_json()

    def not_tested(self) -> list[str]:
        """What the figures do not speak of, a sentence each."""
        least, said = self.asked.least_parts, []
        confidence = self.asked.confidence
        shots = self.photographs
        types = escapes_by(shots, lambda p: p.defect_type, confidence)
        bad = [one for one in shots if one.is_defective]
        sizes = escapes_by([one for one in bad if one.size], lambda p: p.size, confidence)
        sources = escapes_by(shots, lambda p: p.source, confidence)
        for what, found, names in (
            ("defect type", types, self.class_names),
            ("size", sizes, SIZE_NAMES),
            ("source", sources, tuple(sources)),
        ):
            for name in names:
                n = found[name].n if name in found else 0
                if n < least:
                    said.append(
                        f"The {what} {name!r} was tested on {n} defective part{'s' * (n != 1)}, "
                        f"fewer than {least}: an escape rate of up to "
                        f"{percent(BoundedRate(0, n, confidence).upper)} would show no escape "
                        f"among so few."
                        if n
                        else f"The {what} {name!r} was not tested: no defective part of it was "
                        "counted."
                    )
        unsized = len({one.part for one in bad if not one.size})
        if unsized:
            said.append(f"{unsized} defective parts have no known region, and so no size.")
        places = sorted({one.source for one in shots})
        if len(places) == 1:
            said.append(
                f"All photographs come from one source, {places[0]!r}: other cameras, lines and "
                "batches were not tested."
            )
        folds = {one.fold for one in shots}
        if len(folds) > 1:
            said.append(
                f"The verdicts are those of {len(folds)} models, each on parts that it has not "
                "seen: the rates are those of the recipe, and no single one of these models, nor "
                "one trained again on all images, was tested on all parts."
            )
        said.append(
            "Defects of kinds that are not among the defect types were not tested, and nothing is "
            "known of them."
        )
        return said

    def plan(self) -> dict[str, Any]:
        """How many parts it takes, and how such plans decide."""
        confidence = self.asked.confidence
        rows = {}
        for name, limits, own, rate in (
            ("escape", ESCAPE_LIMITS, self.asked.max_escape, self.escape),
            ("overkill", OVERKILL_LIMITS, self.asked.max_overkill, self.overkill),
        ):
            wanted = sorted({*limits, *([] if own is None else [own])}, reverse=True)
            seen = () if rate.count in ALLOWED or rate.count > _MOST_ALLOWED else (rate.count,)
            rows[name] = plan_rows(wanted, (*ALLOWED, *seen), confidence)
            for row in rows[name]:
                enough = row["allowed"] >= rate.count
                row["more"] = max(0, row["parts"] - rate.n) if enough else None
        limit = self.asked.max_escape or ESCAPE_LIMITS[0]
        rates = np.linspace(0, 3 * limit, _CURVE_POINTS).clip(0, 1).tolist()
        curves = [
            {
                "parts": (n := parts_needed(limit, allowed, confidence)),
                "allowed": allowed,
                "chance": chance_to_pass(n, allowed, rates),
            }
            for allowed in ALLOWED
        ]
        return {**rows, "curve_limit": limit, "curve_rates": rates, "curves": curves}

    def evidence(self) -> list[dict[str, Any]]:
        """Every photograph with its verdict, so that each figure can be counted again."""
        return [
            {
                "image_id": one.image_id,
                "part": one.part,
                "defect_type": one.defect_type,
                "size": one.size,
                "source": one.source,
                "fold": one.fold,
                "score": one.score,
                "threshold": one.threshold,
                "verdict": "defective" if one.called else "good",
            }
            for one in sorted(self.photographs, key=lambda p: p.image_id)
        ]


def accept_photographs(
    photographs: Sequence[Photograph],
    asked: Asked,
    *,
    class_names: Sequence[str],
    repeats: str,
    graders: Mapping[str, Mapping[str, bool]],
) -> Acceptance:
    """Gather what an acceptance is made of; see `Acceptance`."""
    return Acceptance(tuple(photographs), asked, tuple(class_names), repeats, dict(graders))


def _rows(rates: Mapping[str, BoundedRate]) -> list[dict[str, Any]]:
    return [{"name": name, **rate.to_json()} for name, rate in rates.items()]
