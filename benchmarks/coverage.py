"""Do the intervals of an acceptance hold what they say, where photographs of one part err together?

    python -m benchmarks.coverage [--draws 5000] [--output benchmarks/results]

Parts are drawn, each with a chance of its own that a photograph of it is called wrong (a beta
distribution: the larger the correlation, the more alike the photographs of one part), and one to
four photographs each. The first draws go through the very functions of `accept`, to prove that the
simulation counts as these do. Counted is how often the intervals hold the true rate of parts;
beside it, what counting photographs in place of parts would have held of the true rate of
photographs. Kappas' intervals are asymptotic; what they hold is counted too.
"""

import argparse
import datetime
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

from benchmarks.bottle import machine
from evaluation.acceptance import BoundedRate, Photograph, cohen_kappa
from evaluation.acceptance.parts import escape_rate, trials_of

CONFIDENCE = 0.95
PARTS = (20, 63, 300)
RATES = (0.01, 0.05, 0.2)
CORRELATIONS = (0.1, 0.5, 0.9)
SHOTS = (1, 2, 3, 4)
KAPPA_PARTS = (83, 300)
KAPPA_RATES = (0.02, 0.1)
PROMISED = 0.94
CHECKED = 20
"""Draws of a cell that are counted by the functions of `accept` too."""


@dataclass(frozen=True)
class Line:
    """A line: chance that a photograph of a defective part is called good, and how alike the
    photographs of one part are."""

    rate: float
    correlation: float

    @property
    def beta(self) -> tuple[float, float]:
        """The two parameters of the distribution of a part's own chance."""
        whole = 1 / self.correlation - 1
        return self.rate * whole, (1 - self.rate) * whole

    def part_rate(self) -> float:
        """The true rate of parts of which any photograph is called good."""
        a, b = self.beta
        none = [float(np.exp(betaln(a, b + k) - betaln(a, b))) for k in SHOTS]
        return 1 - float(np.mean(none))


def counted_by_accept(owner: npt.NDArray[np.int64], wrong: npt.NDArray[np.bool_]) -> int:
    """Parts that escape, by the functions of `accept`."""
    shots = [
        Photograph(str(i), str(part), "scratch", "", "test", 0, 0.0 if bad else 1.0, 0.5)
        for i, (part, bad) in enumerate(zip(owner.tolist(), wrong.tolist(), strict=True))
    ]
    return escape_rate(trials_of(shots), CONFIDENCE).count


@functools.cache
def bounds(count: int, n: int) -> tuple[float, float, float]:
    """Two-sided interval and one-sided upper bound, as an acceptance has them."""
    rate = BoundedRate(count, n, CONFIDENCE)
    return (*rate.two_sided, rate.upper)


def cell(line: Line, n: int, draws: int, seed: int) -> dict[str, Any]:
    """How often the bounds of n parts hold the true rate."""
    rng = np.random.default_rng(seed)
    truth = line.part_rate()
    two = one = by_photograph = 0
    for draw in range(draws):
        chances = rng.beta(*line.beta, size=n)
        counts = rng.choice(SHOTS, size=n)
        owner = np.repeat(np.arange(n), counts)
        wrong = rng.random(len(owner)) < chances[owner]
        starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
        escaped = int(np.logical_or.reduceat(wrong, starts).sum())
        if draw < CHECKED and escaped != counted_by_accept(owner, wrong):
            raise ValueError("The simulation counts otherwise than accept.")
        low, high, upper = bounds(escaped, n)
        two += low <= truth <= high
        one += truth <= upper
        low, high, _ = bounds(int(wrong.sum()), len(wrong))
        by_photograph += low <= line.rate <= high
    return {
        "what": "rate",
        "parts": n,
        "photograph_rate": line.rate,
        "correlation": line.correlation,
        "part_rate": truth,
        "two_sided": two / draws,
        "one_sided": one / draws,
        "photographs_as_trials": by_photograph / draws,
    }


def kappa_cell(n: int, rate: float, draws: int, seed: int) -> dict[str, Any]:
    """How often Cohen's kappa's interval of n parts, half of them defective, holds the true one."""
    rng = np.random.default_rng(seed)
    shares = np.array([[(1 - rate) / 2, rate / 2], [rate / 2, (1 - rate) / 2]])
    truth = 1 - 2 * rate
    held = known = 0
    for table in rng.multinomial(n, shares.ravel(), size=draws):
        found = cohen_kappa(table.reshape(2, 2), confidence=CONFIDENCE)
        if found.low is not None and found.high is not None:
            known += 1
            held += found.low <= truth <= found.high
    return {
        "what": "kappa",
        "parts": n,
        "error_rate": rate,
        "kappa": truth,
        "two_sided": held / max(known, 1),
        "without_interval": 1 - known / draws,
    }


def cells(draws: int) -> Iterator[dict[str, Any]]:
    """All of them, each with a seed of its own."""
    for number, (n, rate, correlation) in enumerate(product(PARTS, RATES, CORRELATIONS)):
        yield cell(Line(rate, correlation), n, draws, number)
    for number, (n, rate) in enumerate(product(KAPPA_PARTS, KAPPA_RATES)):
        yield kappa_cell(n, rate, draws, 1000 + number)


def page(rows: list[dict[str, Any]], draws: int) -> str:
    """The results as Markdown."""
    rates = [row for row in rows if row["what"] == "rate"]
    kappas = [row for row in rows if row["what"] == "kappa"]
    least = min(min(row["two_sided"], row["one_sided"]) for row in rates)
    worst = min(row["photographs_as_trials"] for row in rates)
    text = [
        "# Coverage of an acceptance's intervals",
        "",
        f"{datetime.date.today().isoformat()}. {machine()}. "
        f"`python -m benchmarks.coverage --draws {draws}`: {draws:,} draws a row; a share of them "
        f"is known to about {100 * 1.96 * (0.05 * 0.95 / draws) ** 0.5:.1f} points. Parts have one "
        "to four photographs that err together; a part escapes if any of them is called good.",
        "",
        f"By parts, the intervals of 95 % hold the true rate in {100 * least:.1f} % of the draws "
        f"or more ({100 * PROMISED:.0f} % were promised). Photographs counted as if they were "
        f"parts hold theirs in as few as {100 * worst:.1f} %.",
        "",
        "| parts | photographs called wrong | correlation within a part | parts that escape | "
        "two-sided | one-sided | photographs as trials |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    text += [
        f"| {r['parts']} | {r['photograph_rate']:.0%} | {r['correlation']:g} | "
        f"{100 * r['part_rate']:.2f} % | {100 * r['two_sided']:.1f} % | "
        f"{100 * r['one_sided']:.1f} % | {100 * r['photographs_as_trials']:.1f} % |"
        for r in rates
    ]
    text += [
        "",
        "Cohen's kappa has the asymptotic interval that other programs give; with few errors it "
        "holds less than it says, or has none where no error was seen:",
        "",
        "| parts | verdicts that differ | kappa | held | without an interval |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    text += [
        f"| {r['parts']} | {r['error_rate']:.0%} | {r['kappa']:.2f} | "
        f"{100 * r['two_sided']:.1f} % | {100 * r['without_interval']:.1f} % |"
        for r in kappas
    ]
    return "\n".join(text) + "\n"


def main() -> int:
    """Simulate, and write the cells and the page; 1 where an interval holds too little."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    rows = []
    for row in cells(options.draws):
        rows.append(row)
        print(json.dumps(row), flush=True)
    kept = options.output / "coverage" / "cells.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"draws": options.draws, "cells": rows}, indent=1) + "\n")
    (options.output / "coverage.md").write_text(page(rows, options.draws), encoding="utf-8")
    rates = [row for row in rows if row["what"] == "rate"]
    return int(any(min(r["two_sided"], r["one_sided"]) < PROMISED for r in rates))


if __name__ == "__main__":
    raise SystemExit(main())
