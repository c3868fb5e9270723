"""What a graph holds, read from its bytes before any engine sees them.

ONNX is protobuf, of which this reads the wire format: fields of numbers, of fixed width, and of
bytes. Every way of writing a field is followed, and a field that stands twice counts twice, as the
engines join them. A bundle's graph is plain: it holds its weights, runs each operator once, and
names nothing outside itself.
"""

import math
from collections.abc import Iterator
from typing import Final

from annotations.errors import InputError, shortened

MOST_NODES: Final = 20_000
OPERATORS: Final = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization
    BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu CenterCropPad
    Clip Compress Concat Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumSum
    DeformConv DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Einsum Elu Equal
    Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm
    GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample
    GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN
    LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool
    MatMul MatMulInteger Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg
    NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul
    QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round
    ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax
    Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK
    Transpose Trilu Unique Unsqueeze Upsample Where Xor
    """.split()  # noqa: SIM905 - 150 quoted names are no easier to read
)
"""Those of the standard without branches, loops, texts, sequences and chance."""
_MADE: Final = "Make the bundle again with this version, from a run that you trust."

# Numbers of fields, from onnx.proto.
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS = 5, 10
_ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (6, 11), (22, 23)
_TENSOR_DIMS, _TENSOR_EXTERNAL, _TENSOR_PLACE = 1, 13, 14
_TENSOR_DATA = (4, 5, 6, 7, 9, 10, 11)
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


def require_plain(graph: bytes) -> None:
    """Refuse a graph that is more than operators and weights.

    Args:
        graph: a serialized ONNX model.

    Raises:
        InputError: files beside it, loops or branches, an operator that is not in `OPERATORS`, too
            many nodes, a constant larger than its bytes, or bytes that are no ONNX.
    """
    try:
        nodes = _check_model(memoryview(graph))
    except (ValueError, IndexError) as error:
        raise InputError(
            f"A graph is refused before it is loaded: {shortened(error, 160)}. {_MADE}"
        ) from error
    if not nodes:
        raise InputError(f"A graph is refused before it is loaded: it holds no operator. {_MADE}")


def _check_model(model: memoryview) -> int:
    nodes = 0
    for number, kind, value in _fields(model):
        if number in (_MODEL_FUNCTIONS, _MODEL_TRAINING):
            raise ValueError("it defines functions of its own, which no bundle's does")
        if number == _MODEL_GRAPH:
            for part, part_kind, content in _fields(_bytes(kind, value)):
                if part == _GRAPH_NODE:
                    nodes += 1
                    _check_node(_bytes(part_kind, content))
                elif part == _GRAPH_INITIALIZER:
                    _check_tensor(_bytes(part_kind, content))
                elif part == _GRAPH_SPARSE:
                    raise ValueError("it holds sparse weights, which no bundle's does")
            if nodes > MOST_NODES:
                raise ValueError(f"it has {nodes:,} nodes; {MOST_NODES:,} are run")
    return nodes


def _check_node(node: memoryview) -> None:
    operator = ""
    for number, kind, value in _fields(node):
        if number == _NODE_OPERATOR:
            operator = _text(kind, value)
            if operator not in OPERATORS:
                raise ValueError(f"it holds the operator {operator!r}, which no bundle's does")
        elif number == _NODE_DOMAIN and _text(kind, value) not in ("", "ai.onnx"):
            raise ValueError(
                f"it holds operators of {_text(kind, value)!r}, which no bundle's does"
            )
        elif number == _NODE_ATTRIBUTE:
            _check_attribute(_bytes(kind, value))
    if not operator:
        raise ValueError("it has a node without an operator")


def _check_attribute(attribute: memoryview) -> None:
    for number, kind, value in _fields(attribute):
        if number in _ATTRIBUTE_GRAPHS:
            raise ValueError("it holds a loop or a branch, which no bundle's does")
        if number in _ATTRIBUTE_SPARSE:
            raise ValueError("it holds sparse weights, which no bundle's does")
        if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            _check_tensor(_bytes(kind, value))


def _check_tensor(tensor: memoryview) -> None:
    sides: list[int] = []
    held = 0
    for number, kind, value in _fields(tensor):
        if number == _TENSOR_DIMS:
            sides += list(_packed(value)) if isinstance(value, memoryview) else [value]
        elif number == _TENSOR_EXTERNAL or (number == _TENSOR_PLACE and value):
            raise ValueError("it names files beside it, which no bundle's does")
        elif number in _TENSOR_DATA:
            held += len(value) if isinstance(value, memoryview) else (8 if kind == _EIGHT else 4)
    # Four bits are the smallest number that ONNX has.
    if any(side >= 1 << 63 for side in sides) or math.prod(sides) > 2 * held:
        raise ValueError(f"it claims a constant of {sides} in {held:,} bytes")


def _bytes(kind: int, value: "int | memoryview") -> memoryview:
    if kind != _BYTES or not isinstance(value, memoryview):
        raise ValueError("it is damaged, or no ONNX")
    return value


def _text(kind: int, value: "int | memoryview") -> str:
    return bytes(_bytes(kind, value)[:200]).decode("utf-8", "replace")


def _fields(message: memoryview) -> "Iterator[tuple[int, int, int | memoryview]]":
    """Number, kind and value of each field; of bytes, a view.

    Raises:
        ValueError: the message ends within a field, or has a kind that protobuf no longer has.
    """
    place, end = 0, len(message)
    while place < end:
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        value: int | memoryview
        if kind == _VARINT:
            value, place = _varint(message, place)
        elif kind in (_EIGHT, _FOUR):
            width = 8 if kind == _EIGHT else 4
            value = int.from_bytes(message[place : place + width], "little")
            place += width
        elif kind == _BYTES:
            length, place = _varint(message, place)
            value = message[place : place + length]
            place += length
        else:
            raise ValueError("it is damaged, or no ONNX")
        if place > end or not number:
            raise ValueError("it is damaged, or cut off")
        yield number, kind, value


def _packed(numbers: memoryview) -> Iterator[int]:
    place = 0
    while place < len(numbers):
        value, place = _varint(numbers, place)
        yield value


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for count in range(10):
        byte = data[place + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, place + count + 1
    raise ValueError("it is damaged, or no ONNX")
