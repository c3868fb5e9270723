"""How far verdicts, the truth and other graders agree, part by part."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.acceptance.agreement import (
    AIAG_KAPPA,
    AIAG_SHARES,
    Kappa,
    cohen_kappa,
    fleiss_kappa,
    two_by_two,
)
from evaluation.acceptance.parts import (
    Photograph,
    Trial,
    escape_rate,
    overkill_rate,
    trials_of,
)
from evaluation.acceptance.rates import (
    BoundedRate,
)


@dataclass(frozen=True)
class Agreement:
    """Agreement of the model, the reference and other graders.

    Attributes:
        photographs: all that were counted.
        trials: their parts.
        graders: what other people said, by grader and image id: True for defective.
        repeats: where parts come from, in words.
        confidence: of every interval.
    """

    photographs: Sequence[Photograph]
    trials: Sequence[Trial]
    graders: Mapping[str, Mapping[str, bool]]
    repeats: str
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Kappas, repeatability, and two photographs in a row, as acceptance.json holds them."""
        confidence = self.confidence
        truth = [one.is_defective for one in self.trials]
        model = cohen_kappa(
            two_by_two(truth, [one.called for one in self.trials]), confidence=confidence
        )
        return {
            "cohen_model_reference": model.to_json(),
            "graders": [self._grader(name) for name in sorted(self.graders)],
            "fleiss_graders": self._fleiss().to_json(),
            "repeatability": self._repeatability(),
            "kappa_bands": [list(band) for band in AIAG_KAPPA],
            "share_bands": {k: [list(band) for band in v] for k, v in AIAG_SHARES.items()},
        }

    def _word_of(self, name: str) -> Callable[[Photograph], bool]:
        """What a grader said of a photograph."""
        labels = self.graders[name]
        return lambda photograph: labels[photograph.image_id]

    def _grader(self, name: str) -> dict[str, Any]:
        shots = [one for one in self.photographs if one.image_id in self.graders[name]]
        trials = trials_of(shots, called=self._word_of(name))
        table = two_by_two([t.is_defective for t in trials], [t.called for t in trials])
        model = {t.part: t.called for t in trials_of(shots)}
        with_model = two_by_two([model[t.part] for t in trials], [t.called for t in trials])
        confidence = self.confidence
        return {
            "name": name,
            "n_photographs": len(shots),
            "cohen_reference": cohen_kappa(table, confidence=confidence).to_json(),
            "cohen_model": cohen_kappa(with_model, confidence=confidence).to_json(),
            "miss_rate": escape_rate(trials, confidence).to_json(),
            "false_alarm_rate": overkill_rate(trials, confidence).to_json(),
        }

    def _fleiss(self) -> Kappa:
        if not self.graders:
            return Kappa(
                None,
                0,
                reason="cannot be had, because there is one grader alone, the reference; give the "
                "labels of others with --second-labels",
            )
        common = [
            p for p in self.photographs if all(p.image_id in g for g in self.graders.values())
        ]
        reference = trials_of(common)
        votes = np.array([t.is_defective for t in reference], np.int64)
        for name in self.graders:
            said = {t.part: t.called for t in trials_of(common, called=self._word_of(name))}
            votes = votes + np.array([said[t.part] for t in reference], np.int64)
        k = 1 + len(self.graders)
        return fleiss_kappa(
            np.stack([k - votes, votes], axis=1).astype(np.int64), confidence=self.confidence
        )

    def _repeatability(self) -> dict[str, Any]:
        """Over photographs of one part that show the same truth: are all verdicts the same?"""
        by_part: dict[tuple[str, bool], list[Photograph]] = {}
        mixed = {t.part for t in self.trials if t.is_defective}
        for one in sorted(self.photographs, key=lambda p: p.image_id):
            # Good photographs of a defective part show another face, and are no repetition.
            if one.is_defective or one.part not in mixed:
                by_part.setdefault((one.part, one.is_defective), []).append(one)
        repeated = {key: shots for key, shots in by_part.items() if len(shots) > 1}
        confidence = self.confidence
        if not repeated:
            why = "cannot be had, because no counted part was photographed twice; name repeated "
            why += "photographs with --repeats"
            return {"parts_from": self.repeats, "reason": why}
        alike = sum(len({one.called for one in shots}) == 1 for shots in repeated.values())
        row: dict[str, Any] = {
            "parts_from": self.repeats,
            "photographs": sum(map(len, repeated.values())),
            "same_verdict": BoundedRate(alike, len(repeated), confidence).to_json(),
        }
        for name, truth in (("pg2", False), ("pb2", True)):
            pairs = [shots[:2] for (_, bad), shots in repeated.items() if bad is truth]
            both = sum(all(one.called is truth for one in pair) for pair in pairs)
            kind = "defective" if truth else "good"
            reason = f"no {kind} part was photographed twice"
            row[name] = BoundedRate(both, len(pairs), confidence, reason).to_json()
        return row
