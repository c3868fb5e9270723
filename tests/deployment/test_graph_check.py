"""A stranger's graph: refused by its bytes, or bounded while it is tried."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import InputError
from deployment import networks
from deployment.graph_check import require_plain
from deployment.networks import OnnxNetwork

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
FLOAT = onnx.TensorProto.FLOAT


def model(nodes, constants=(), domains=("",)):
    sides = ["n", 3, "h", "w"]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", FLOAT, sides)],
        [helper.make_tensor_value_info("output_0", FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants],
    )
    sets = [helper.make_opsetid(domain, 17 if not domain else 1) for domain in domains]
    return helper.make_model(graph, opset_imports=sets, ir_version=8)


def plain():
    weights = ("w", np.ones((4, 3, 1, 1), np.float32))
    return model([helper.make_node("Conv", ["images", "w"], ["output_0"])], [weights])


def number(value):
    made = b""
    while value > 127:
        made += bytes([value & 127 | 128])
        value >>= 7
    return made + bytes([value])


def field(tag, content):
    """A field as bytes, its length written in one byte more than is needed."""
    length = number(len(content))
    return number(tag << 3 | 2) + length[:-1] + bytes([length[-1] | 128, 0]) + content


def test_a_plain_graph_is_loaded_and_answers():
    batch = np.ones((2, 3, 5, 7), np.float32)
    (answer,) = OnnxNetwork(plain().SerializeToString(), threads=1)(batch)
    assert np.array_equal(answer, np.full((2, 4, 5, 7), 3, np.float32))


def outside(place):
    """A graph with weights in a file beside it, written as few writers would."""
    entry = field(1, b"location") + field(2, place)
    tensor = b"\x08\x04\x08\x03\x08\x01\x08\x01\x10\x01" + field(8, b"w") + field(13, entry)
    made = plain()
    del made.graph.initializer[:]
    graph = made.graph.SerializeToString()
    made.ClearField("graph")
    head = made.SerializeToString()
    # The weights in a second graph, which engines join to the first.
    return [
        head + field(7, graph + field(5, tensor + b"\x70\x01")),
        head + field(7, graph) + field(7, field(5, tensor)),
        head + field(7, graph + field(5, tensor.replace(field(13, entry), b"") + b"\x70\x01")),
    ]


@pytest.mark.parametrize("place", [b"secret.bin", b"../secret.bin", b"/etc/passwd"])
def test_files_beside_a_graph_are_refused(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.bin").write_bytes(np.ones(12, np.float32).tobytes())
    for graph in outside(place):
        with pytest.raises(InputError, match="names files beside it"):
            OnnxNetwork(graph)


def loop():
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("d", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", FLOAT, None),
        ],
    )
    rounds = ("rounds", np.array(2**62, np.int64))
    return model(
        [helper.make_node("Loop", ["rounds", "", "images"], ["output_0"], body=body)], [rounds]
    )


def function():
    made = plain()
    made.functions.append(
        helper.make_function(
            "own", "F", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])],
            [helper.make_opsetid("", 17)],
        )
    )  # fmt: skip
    return made


def claimed():
    made = plain()
    del made.graph.initializer[0].dims[:]
    made.graph.initializer[0].dims.extend([1 << 40, 3, 1, 1])
    return made


def hidden():
    made = plain()
    made.graph.node[0].attribute.append(helper.make_attribute("then_branch", loop().graph))
    return made


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (loop, "holds the operator 'Loop'"),
        (hidden, "holds a loop or a branch"),
        (function, "defines functions of its own"),
        (claimed, r"claims a constant of \[1099511627776, 3, 1, 1\] in 48 bytes"),
        (
            lambda: model([helper.make_node("Relu", ["images"], ["output_0"], domain="evil")]),
            "operators of 'evil'",
        ),
        (lambda: model([]), "holds no operator"),
        (
            lambda: model([helper.make_node("Relu", ["images"], [f"o{n}"]) for n in range(20_001)]),
            "has 20,001 nodes",
        ),
    ],
)
def test_what_no_bundle_has_is_refused(made, said):
    with pytest.raises(InputError, match=said):
        OnnxNetwork(made().SerializeToString())


def doubled(first, constants=()):
    """A graph of 500 bytes that makes something twice as large 24 times."""
    nodes, before = [], first
    for step in range(24):
        nodes.append(helper.make_node("Concat", [before, before], [f"c{step}"], axis=0))
        before = f"c{step}"
    nodes.append(helper.make_node("ReduceMean", [before], ["m"], keepdims=0))
    nodes.append(helper.make_node("Add", ["images", "m"], ["output_0"]))
    return model(nodes, constants)


BOUNDED = """
import resource, sys
from pathlib import Path
from annotations import InputError
from deployment import networks

networks.MOST_MEMORY = 1 << 28
graph = Path(sys.argv[1]).read_bytes()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
import onnxruntime
before = peak()
try:
    networks.OnnxNetwork(graph)
    print("opened")
except InputError as error:
    print(error)
print(peak() - before)
"""


def filled():
    shape = ("shape", np.array([1 << 30, 2], np.int64))
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["large"]),
        helper.make_node("ReduceMean", ["large"], ["m"], keepdims=0),
        helper.make_node("Add", ["images", "m"], ["output_0"]),
    ]
    return model(nodes, [shape])


@pytest.mark.parametrize(
    "made",
    [
        filled,
        lambda: doubled("images"),
        lambda: doubled("start", [("start", np.zeros(1000, np.float32))]),
    ],
)
def test_no_graph_takes_more_memory_than_is_allowed(tmp_path, made):
    pytest.importorskip("resource")
    (tmp_path / "g.onnx").write_bytes(made().SerializeToString())
    # In a process of its own: the bound is set once a process.
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, tmp_path / "g.onnx"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    said, megabytes = done.stdout.splitlines()
    assert "it asks for more memory than the 0.25 GiB" in said
    assert int(megabytes) < 300


def test_a_graph_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(networks, "TRIAL_S", 0.0)
    nodes, before = [], "images"
    for step in range(5000):
        nodes.append(helper.make_node("Relu", [before], [f"r{step}"]))
        before = f"r{step}"
    nodes.append(helper.make_node("Relu", [before], ["output_0"]))
    with pytest.raises(InputError, match="terminate flag"):
        OnnxNetwork(model(nodes).SerializeToString())


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_words(data):
    with pytest.raises(InputError, match="refused before it is loaded"):
        require_plain(data)


@given(st.data())
def test_a_changed_graph_is_plain_or_refused(data):
    whole = bytearray(plain().SerializeToString())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    # Any other error fails.
    with contextlib.suppress(InputError):
        require_plain(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
