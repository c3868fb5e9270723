"""A message names options at the line, and arguments in Python; it is written once."""

import inspect

import pytest

import defectune as dt
from converters.synthetic import draw_category
from defectune.library.wording import as_called, at_the_line, in_python
from tests.drawn import SMALL


def some(workers=1, **settings):
    del workers, settings


@pytest.mark.parametrize(
    ("at_line", "python"),
    [
        ("Use fewer (--workers 1).", "Use fewer (workers=1)."),
        ("--workers needs at least 1, got 0.", "workers needs at least 1, got 0."),
        ("or say --protocol few-shot.", "or say protocol='few-shot'."),
        ("--folds belongs to --protocol kfold, and", "folds belongs to protocol='kfold', and"),
        ("--split names /x, which is not", "split names /x, which is not"),
        ("or with --map-class OLD=NEW.", "or with map_class={'OLD': 'NEW'}."),
        ("out with --ignore CLASS or", "out with ignore=['CLASS'] or"),
        ("say so (--no-mask-is-good).", "say so (no_mask_is_good=True)."),
        ("(--no-find-groups keeps them)", "(find_groups=False keeps them)"),
        ("compared with --find-groups only", "compared with find_groups=True only"),
        ('as --images "{class}/{name}.jpg"', "as images='{class}/{name}.jpg'"),
        ("--mask-values 1=a,2=b or so", "mask_values='1=a,2=b' or so"),
        ("run `defectune convert x --workers 1`", "run `defectune convert x --workers 1`"),
        ("a file called --workers-1 or --webhook", "a file called --workers-1 or --webhook"),
    ],
)
def test_options_become_arguments(at_line, python):
    signature = inspect.signature(dt.convert)
    assert in_python(at_line, signature) == as_called(at_line, signature) == python
    with at_the_line():
        assert as_called(at_line, signature) == at_line
    assert as_called(at_line, signature) == python


def test_settings_become_keywords():
    signature = inspect.signature(some)
    assert in_python("Try --set batch_size=4 or", signature) == "Try batch_size=4 or"
    assert in_python("ones with --weights none.", signature) == "ones with weights='none'."
    assert in_python("a smaller --image-size or", signature) == "a smaller image_size or"


def test_the_library_speaks_so(tmp_path):
    source = draw_category(tmp_path, SMALL)
    with pytest.raises(dt.DefectuneError, match=r"^workers needs at least 1, got 0\.$"):
        dt.convert(source, tmp_path / "out", workers=0, progress=False)
