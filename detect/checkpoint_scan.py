"""What a checkpoint of ultralytics' would build, read from its pickle before anything is built.

An honest checkpoint makes its layers empty (NEWOBJ) and fills them from storages that lie in the
file (BUILD), so that it needs no more memory than it has bytes. A pickle may also call the
constructor of a layer (REDUCE), with any sizes: a file of 3 KB then asks for 130 GB, or for a
download. Here its opcodes are followed with placeholders in place of objects.
"""

import math
import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

MOST_PICKLE_BYTES: Final = 32 << 20
"""Of the pickle alone; yolo11n's has 128 KB, its weights lie beside it."""
MOST_OBJECTS: Final = 5_000_000
"""When everything is counted as often as it is reached: layers that hold one another twice, thirty
deep, are a billion layers to whoever walks through them."""
_CALLED: Final = frozenset(
    {
        *("collections.OrderedDict", "collections.Counter", "torch.Size", "torch.device"),
        *("__builtin__.set", "builtins.set", "__builtin__.getattr", "builtins.getattr"),
        *("_codecs.encode", "numpy.dtype"),
        *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"),
        *("pathlib.PosixPath", "pathlib.WindowsPath"),
        *("pathlib._local.PosixPath", "pathlib._local.WindowsPath"),
        *("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"),
        "torch._utils._rebuild_parameter_with_state",
    }
)  # fmt: skip
"""What honest checkpoints call; torch decides after this which of them it takes."""
_TENSOR: Final = "torch._utils._rebuild_tensor_v2"
_NUMBERS: Final = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"})
_TEXTS: Final = frozenset({"BINUNICODE", "SHORT_BINSTRING"})
_EMPTY: Final = frozenset({"EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"})
_CONSTANTS: Final = frozenset({"NONE", "NEWTRUE", "NEWFALSE"})
_TUPLES: Final = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(eq=False, slots=True)
class _Thing:
    """A placeholder: what it is made of, and its value where that is a number, a name or a text."""

    kind: str
    value: Any = None
    parts: "list[_Thing]" = field(default_factory=list)


def scan_checkpoint(path: Path) -> None:
    """Refuse a checkpoint whose opening would cost more than its size, or call what layers call.

    Args:
        path: a .pt file.

    Raises:
        ValueError: no zip archive as torch writes them, packed records, a call of a constructor,
            a tensor larger than its storage, or too many objects.
    """
    from torch.serialization import _open_zipfile_reader

    if not zipfile.is_zipfile(path):
        raise ValueError("it is no archive of torch 1.6 or later")
    stored = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos) or (
        sum(info.file_size for info in infos) > stored
    ):
        raise ValueError("its records are packed, which torch never does")
    # By torch's own reader: another could take another record for the pickle.
    with _open_zipfile_reader(str(path)) as reader:
        data = bytes(reader.get_record("data.pkl"))
    if len(data) > MOST_PICKLE_BYTES:
        raise ValueError(f"its pickle has {len(data):,} bytes; {MOST_PICKLE_BYTES:,} are read")
    _require_few(_follow(data))


def _follow(data: bytes) -> _Thing:
    """The whole of a pickle as placeholders.

    Raises:
        ValueError: an opcode that torch does not take, or a call that no honest file makes.
    """
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "STOP":
            return machine.pop()
        machine.step(opcode.name, argument)
    raise ValueError("its pickle has no end")


class _Machine:
    """Follows the opcodes that torch's reader of weights takes."""

    def __init__(self) -> None:
        self.stack: list[_Thing] = []
        self.marks: list[int] = []
        self.memo: dict[int, _Thing] = {}
        self.actions: dict[str, Callable[[], None]] = {
            "MARK": lambda: self.marks.append(len(self.stack)),
            "TUPLE": lambda: self.push("tuple", parts=self.since_mark()),
            "APPEND": lambda: self.into([self.pop()]),
            "SETITEM": lambda: self.into([self.pop(), self.pop()]),
            "APPENDS": lambda: self.into(self.since_mark()),
            "SETITEMS": lambda: self.into(self.since_mark()),
            "BUILD": lambda: self.into([self.pop()]),
            "NEWOBJ": self.new_object,
            "REDUCE": self.call,
            "BINPERSID": lambda: self.push("storage", parts=[self.pop()]),
        }

    def step(self, name: str, argument: Any) -> None:
        if name in self.actions:
            self.actions[name]()
        elif name in _NUMBERS or name in _TEXTS:
            self.push("number" if name in _NUMBERS else "text", argument)
        elif name in _CONSTANTS or name in _EMPTY:
            self.push(name)
        elif name in _TUPLES:
            parts = [self.pop() for _ in range(_TUPLES[name])]
            self.push("tuple", parts=parts[::-1])
        elif name == "GLOBAL":
            self.push("global", str(argument).replace(" ", ".", 1))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.top()
        elif name in ("BINGET", "LONG_BINGET"):
            if argument not in self.memo:
                raise ValueError("its pickle names what it has not made")
            self.stack.append(self.memo[argument])
        elif name != "PROTO":
            raise ValueError(f"its pickle holds the opcode {name}")

    def push(self, kind: str, value: Any = None, parts: list[_Thing] | None = None) -> None:
        self.stack.append(_Thing(kind, value, parts or []))

    def top(self) -> _Thing:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("its pickle takes what it has not made")
        return self.stack[-1]

    def pop(self) -> _Thing:
        self.top()
        return self.stack.pop()

    def since_mark(self) -> list[_Thing]:
        if not self.marks:
            raise ValueError("its pickle ends a group that it did not begin")
        start = self.marks.pop()
        parts = self.stack[start:]
        del self.stack[start:]
        return parts

    def into(self, parts: list[_Thing]) -> None:
        self.top().parts.extend(parts)

    def new_object(self) -> None:
        arguments, made = self.pop(), self.pop()
        if made.kind != "global" or arguments.kind != "tuple" or arguments.parts:
            raise ValueError(f"it makes {_named(made)} with arguments")
        self.push(f"a {made.value}")

    def call(self) -> None:
        arguments, called = self.pop(), self.pop()
        if called.kind != "global" or called.value not in _CALLED or arguments.kind != "tuple":
            raise ValueError(f"it calls {_named(called)} to build a layer")
        if called.value == _TENSOR:
            _require_in_storage(arguments.parts)
        self.push(f"result of {called.value}", parts=arguments.parts)


def _named(thing: _Thing) -> str:
    return str(thing.value) if thing.kind == "global" else "something that is no name"


def _require_in_storage(arguments: list[_Thing]) -> None:
    """A tensor may have no more numbers than its storage: later copies would take the memory."""
    if len(arguments) < 3 or arguments[0].kind != "storage" or arguments[2].kind != "tuple":
        raise ValueError("it holds a tensor without a storage")
    described = arguments[0].parts[0].parts
    sizes = [part.value for part in arguments[2].parts]
    held = described[4].value if len(described) == 5 else None
    if not all(type(n) is int and n >= 0 for n in (held, *sizes)) or math.prod(sizes) > held:
        raise ValueError(f"it holds a tensor of {sizes} numbers, its storage {held}")


def _require_few(whole: _Thing) -> None:
    """Count objects as often as they are reached, without walking through them that often."""
    counts: dict[int, int] = {}
    open_: set[int] = set()
    todo = [(whole, False)]
    while todo:
        thing, are_parts_counted = todo.pop()
        key = id(thing)
        if are_parts_counted:
            # Of a ring, which pickles of layers can have, the part that closes it counts once.
            counts[key] = 1 + sum(counts.get(id(part), 1) for part in thing.parts)
            open_.discard(key)
            if counts[key] > MOST_OBJECTS:
                raise ValueError(f"it holds more than {MOST_OBJECTS:,} objects")
        elif key not in counts and key not in open_:
            open_.add(key)
            todo.append((thing, True))
            todo.extend((part, False) for part in thing.parts)
