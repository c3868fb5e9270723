"""What computes a graph is chosen by name, and refused with a way out where it is missing."""

import numpy as np
import onnxruntime
import pytest

from annotations import InputError, UsageError
from deployment.networks import PROVIDERS, OnnxNetwork, OpenVinoNetwork, require_provider


def graph():
    from onnx import TensorProto, helper

    node = helper.make_node("Identity", ["images"], ["output_0"])
    shape = ["n", 3, 8, 8]
    value = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name in ("images", "output_0")
    ]
    model = helper.make_model(
        helper.make_graph([node], "g", value[:1], value[1:]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    return model.SerializeToString()


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_a_provider_is_there_or_refused_with_advice(name):
    if PROVIDERS[name] in onnxruntime.get_available_providers():
        require_provider(name)
    else:
        with pytest.raises(UsageError, match=rf"no provider {name} \(it has cpu.*pip install"):
            require_provider(name)
        with pytest.raises(UsageError, match="pip install"):
            OnnxNetwork(graph(), provider=name)


def test_the_cpu_computes():
    batch = np.ones((1, 3, 8, 8), np.float32)
    assert np.array_equal(OnnxNetwork(graph(), threads=1)(batch)[0], batch)


def test_unknown_providers_and_those_of_another_engine():
    with pytest.raises(UsageError, match="one of cpu, cuda, tensorrt, openvino, got 'npu'"):
        OnnxNetwork(graph(), provider="npu")
    with pytest.raises(UsageError, match="--format onnx"):
        OpenVinoNetwork(graph(), provider="cuda")


def test_a_provider_that_does_not_start_is_no_silent_cpu(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS.values()))
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(InputError, match="could not start it"),
    ):
        OnnxNetwork(graph(), provider="cuda")
