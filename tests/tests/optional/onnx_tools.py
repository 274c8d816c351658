"""Checks the ONNX files in the folder argv[1], and runs the int8 ones in ONNX Runtime where it is installed.

Beside each int8 file lie `<name>.images`, int8 (n, h, w, c), and `<name>.layers`, what the engine made of them: for
each image every layer's result, int8 (h, w, c), one after the other.
"""

import pathlib
import sys

import numpy
import onnx

try:
    import onnxruntime
except ImportError:
    onnxruntime = None


def run(path):
    """The number of values on which ONNX Runtime and the engine agree."""
    model = onnx.load(path)
    layers = list(model.graph.value_info)
    del model.graph.output[:]
    model.graph.output.extend(layers)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    _, c, h, w = session.get_inputs()[0].shape
    images = numpy.fromfile(path.with_suffix(".images"), numpy.int8).reshape(-1, h, w, c)
    expected = numpy.fromfile(path.with_suffix(".layers"), numpy.int8)
    # One batch: the file must not depend on the batch size.
    results = session.run(None, {"image": images.transpose(0, 3, 1, 2)})
    flat = [result.transpose(0, 2, 3, 1).reshape(len(images), -1) for result in results]
    found = numpy.concatenate(flat, axis=1).reshape(-1)
    assert found.shape == expected.shape, f"{path.name}: {found.shape} values, expected {expected.shape}"
    differ = numpy.flatnonzero(found != expected)
    assert differ.size == 0, f"{path.name}: {differ.size} values differ, the first is number {differ[0]}"
    return found.size


files = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
assert files, "no files"
values = 0
for path in files:
    onnx.checker.check_model(onnx.load(path), full_check=True)
    if onnxruntime and path.with_suffix(".images").exists():
        values += run(path)
print(f"{len(files)} files are valid;", f"{values} values agree" if onnxruntime else "onnxruntime is not installed")
