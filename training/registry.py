"""The model families: what each is and can, as it registers itself.

`detect`, `segment` and `classify` do so in their `register.py`; a package of somebody else's does
by an entry point in the group `defectune.families`, which names a `Family`. Nothing heavy is
imported until a family trains or is opened: it names its parts as `module:name`.

Example:
    >>> from training.registry import family_named
    >>> family_named("segment").methods["hybrid"].config
    'segment.hybrid.config:HybridConfig'
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from annotations import UsageError
from annotations.errors import shortened
from training.configs import FamilyConfig

Strength = Literal["image", "boxes", "masks", "good"]
"""What a label says of an image: good or a type of defect, where its boxes or pixels are, or
nothing but that it is good."""
GROUP: Final = "defectune.families"
"""Entry points of families in other packages."""
_OURS: Final = ("detect.register:FAMILY", "segment.register:FAMILY", "classify.register:FAMILY")


@dataclass(frozen=True)
class Method:
    """A method of a family.

    Attributes:
        config: the class of its settings, as `module:name`.
        learns_from: strengths of label that it learns from.
        recipe: named settings to begin with where none are named; None begins with the defaults.
        starts_from_run: whether a fold can begin with the weights of an older run; `train` of the
            family then takes `start`, a `training.job.Start` or None, and hands it to `train_run`.
    """

    config: str
    learns_from: frozenset[Strength]
    recipe: str | None = None
    starts_from_run: bool = False

    def __post_init__(self) -> None:
        if not self.learns_from or not self.learns_from <= {*get_args(Strength)}:
            raise ValueError(
                f"{self.config}: learns_from should name some of {', '.join(get_args(Strength))}"
            )


@dataclass(frozen=True)
class Family:
    """A model family.

    Attributes:
        name: as it is typed.
        summary: what `train NAME` does, a sentence.
        methods: by name; a family of a single one need not have `method` among its settings.
        default_method: the method where none is named.
        train: `train(dataset, config, *, name, folds, reporter)`, which returns the run's folder.
        open: `open(run, fold, *, device)`, which returns a `Predictor`.
        model_key: the setting that names the network.
        aliases: further names of methods.
        other_names: what people type who mean this family, in lower-case letters alone.
        unnamed: methods and aliases that a run's default name leaves out, as the default one.
        named_by_model: the model is part of the default name of a run.
        examples: calls to show in the help.
        demo: settings with which `defectune demo` trains it within half a minute on a CPU; None
            leaves it out.
    """

    name: str
    summary: str
    methods: Mapping[str, Method]
    default_method: str
    train: str
    open: str
    model_key: str = "model"
    aliases: Mapping[str, str] = field(default_factory=dict)
    other_names: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    named_by_model: bool = False
    examples: tuple[str, ...] = ()
    demo: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.default_method not in self.methods:
            raise ValueError(f"{self.name}: {self.default_method!r} is none of its methods")

    @property
    def learns_from(self) -> frozenset[Strength]:
        """Strengths of label that some method of it learns from."""
        return frozenset().union(*(method.learns_from for method in self.methods.values()))

    def method_named(self, name: object = None) -> Method:
        """A method by its name or alias; None is the default one.

        Raises:
            UsageError: there is none of this name; the message names near ones.
        """
        name = self.default_method if name is None else name
        name = self.aliases.get(name, name) if isinstance(name, str) else name
        if not isinstance(name, str) or name not in self.methods:
            known = [*self.methods, *self.aliases]
            near = difflib.get_close_matches(str(name)[:80], known, n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise UsageError(
                f"Unknown method {shortened(repr(name), 80)}.{hint} Known for {self.name}: "
                f"{', '.join(known)}."
            )
        return self.methods[name]

    def config_class(self, method: object = None) -> type[FamilyConfig]:
        """The class of a method's settings.

        Args:
            method: its name; None is the default one.

        Raises:
            UsageError: see `method_named`.
        """
        found: type[FamilyConfig] = resolve_name(self.method_named(method).config)
        return found

    def config_classes(self) -> dict[str, type[FamilyConfig]]:
        """The class of settings of every method."""
        return {method: self.config_class(method) for method in self.methods}

    def owns(self, config: object) -> bool:
        """Whether a configuration is one of this family's."""
        return isinstance(config, tuple(self.config_classes().values()))

    def train_function(self) -> Callable[..., Any]:
        """What trains; imports the family."""
        function: Callable[..., Any] = resolve_name(self.train)
        return function

    def open_function(self) -> Callable[..., Any]:
        """What opens a trained fold; imports the family."""
        function: Callable[..., Any] = resolve_name(self.open)
        return function


@cache
def families() -> Mapping[str, Family]:
    """All families by name: ours, then those of other installed packages.

    Raises:
        UsageError: a package's entry point cannot be loaded, is no family, or takes a name that
            is taken.
    """
    found: dict[str, Family] = {}
    for reference in _OURS:
        family: Family = resolve_name(reference)
        found[family.name] = family
    for point in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        try:
            loaded = point.load()
        except Exception as error:
            raise UsageError(
                f"The model family {point.name!r} ({point.value}, an entry point in {GROUP}) "
                f"cannot be imported: {shortened(error)}. Mend or remove its package."
            ) from error
        if not isinstance(loaded, Family):
            raise UsageError(
                f"The entry point {point.name!r} in {GROUP} should name a training.registry.Family,"
                f" and {point.value} is a {type(loaded).__name__}. Mend or remove its package."
            )
        if loaded.name in found:
            raise UsageError(
                f"Two packages have a model family {loaded.name!r}; the second is {point.value}. "
                "Remove one of them."
            )
        found[loaded.name] = loaded
    return MappingProxyType(found)


def family_named(name: object) -> Family:
    """A family by its name; the name of a network or a task gets a hint.

    Raises:
        UsageError: there is no such family.
    """
    known = families()
    if isinstance(name, str) and name in known:
        return known[name]
    plain = "".join(c for c in str(name)[:80].lower() if c.isalpha())
    for family in known.values():
        if plain and any(plain.startswith(n) for n in (family.name, *family.other_names)):
            raise UsageError(
                f"{shortened(repr(name), 80)} is no family. Did you mean {family.name}?"
            )
    near = difflib.get_close_matches(plain, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(
        f"{shortened(repr(name), 80)} is no family, and no folder of a dataset.{hint} The families "
        f"are {', '.join(known)}."
    )


def family_of(config: object) -> Family:
    """The family that a configuration is of.

    Raises:
        UsageError: of none.
    """
    for family in families().values():
        if family.owns(config):
            return family
    kinds = [kind.__name__ for f in families().values() for kind in f.config_classes().values()]
    raise UsageError(
        f"A configuration should be one of {', '.join(kinds)}; got {type(config).__name__}."
    )
