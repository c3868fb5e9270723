"""What is to be proved of a run, and whether it is."""

from dataclasses import dataclass
from typing import Any, Final

from annotations import UsageError
from evaluation.acceptance.rates import (
    BoundedRate,
    missing_parts,
)

ESCAPE_LIMITS: Final = (0.01, 0.005)
OVERKILL_LIMITS: Final = (0.05, 0.02, 0.01)
LINE_RATES: Final = (0.0001, 0.001, 0.01, 0.05)
LEAST_PARTS: Final = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be proved.

    Attributes:
        max_escape: highest share of defective parts that may escape; None asks nothing.
        max_overkill: highest share of good parts that may be called defective; None asks nothing.
        confidence: of every bound.
        defect_rate: share of defective parts on the line, beside `LINE_RATES`.
        least_parts: types, sizes and sources with fewer defective parts are said not to be tested.

    Raises:
        UsageError: a number out of its range.
    """

    max_escape: float | None = None
    max_overkill: float | None = None
    confidence: float = 0.95
    defect_rate: float | None = None
    least_parts: int = LEAST_PARTS

    def __post_init__(self) -> None:
        for name in ("max_escape", "max_overkill"):
            limit = getattr(self, name)
            if limit is not None and not 1e-6 <= limit < 1:
                raise UsageError(
                    f"--{name.replace('_', '-')} must be at least 0.000001 and below 1, got "
                    f"{limit}: no number of parts proves that there are none at all."
                )
        if not 0.5 <= self.confidence <= 0.9999:
            raise UsageError(
                f"--confidence must lie between 0.5 and 0.9999, got {self.confidence}."
            )
        if self.defect_rate is not None and not 0 < self.defect_rate < 1:
            raise UsageError(f"--defect-rate must lie between 0 and 1, got {self.defect_rate}.")
        if self.least_parts < 1:
            raise UsageError(f"--least-parts must be at least 1, got {self.least_parts}.")


def claim_of(name: str, limit: float, rate: BoundedRate, confidence: float) -> dict[str, Any]:
    """A limit of one rate, whether it is proved, and a sentence that says so."""
    what = "defective parts escape" if name == "escape" else "good parts are called defective"
    kind = "defective" if name == "escape" else "good"
    missing = missing_parts(rate, limit)
    claim = {"rate": name, "limit": limit, **rate.to_json(), "missing": missing}
    claim["proved"] = proved = missing == 0
    seen = f"{rate.count} of {rate.n} did" if name == "escape" else f"{rate.count} of {rate.n} were"
    if proved:
        claim["sentence"] = (
            f"Proved with {percent(confidence)} confidence: at most {percent(limit)} of "
            f"{what} ({seen}; upper bound {percent(rate.upper)})."
        )
        return claim
    claim["sentence"] = (
        f"Not proved: at most {percent(limit)} of {what}. {seen[:1].upper()}{seen[1:]}, so that "
        f"{percent(rate.upper)} is the bound with {percent(confidence)} confidence; "
        f"{missing:,} more {kind} parts without {'an escape' if name == 'escape' else 'overkill'} "
        f"would prove it."
    )
    return claim


def percent(value: float) -> str:
    """A share in percent, four digits."""
    return f"{100 * value:.4g} %"
