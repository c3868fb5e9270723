"""The type that a run names for an image."""

import numpy as np

from annotations import Dataset, StoredPredictions


def named_type(dataset: Dataset, run: StoredPredictions, image_id: str) -> int | None:
    """Class that a run names for an image, also where it calls the part good.

    The family's own word, or that of the highest-scoring found region; None where it names none.
    """
    if run.predicted_types:
        kind = run.predicted_types.get(image_id)
        return dataset.class_names.index(kind) if kind in dataset.class_names else None
    found = run.found_regions(image_id) if image_id in run.image_scores else None
    if found is None or not len(found) or found.scores is None:
        return None
    return int(found.labels[int(np.argmax(found.scores))])
