#!/usr/bin/env python3
"""Times the engine beside ONNX Runtime, one image at a time on one thread, on the models in the folders argv[1:].

Of each it takes `model.plan` (the engine, by `ocellus bench host`), `model.onnx` (the same integers), `float.onnx`, and
what ONNX Runtime's own quantization makes of the latter: per channel, with uint8 and with int8 activations. All of them
take turns, so that each has its share of a machine's quiet moments, and the best repetition counts.

Needs the packages onnx and onnxruntime; the environment variable OCELLUS names the program, else it is target/release/ocellus.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

ROOT = pathlib.Path(__file__).resolve().parents[2]
OCELLUS = os.environ.get("OCELLUS", ROOT / "target/release/ocellus")
ROUNDS = 8
# Long beside the clock's resolution, shorter than a scheduler lets other work wait; and a second of them in each round.
REPETITION_SECONDS = 0.002
REPETITIONS = 500


class Noise(CalibrationDataReader):
    """Random images: ranges that are good enough to time what is quantized with them."""

    def __init__(self, name, shape):
        draws = numpy.random.default_rng(0)
        self.images = iter([{name: draws.random(shape, numpy.float32)} for _ in range(8)])

    def get_next(self):
        return next(self.images, None)


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def shape_of(session):
    return [size if isinstance(size, int) else 1 for size in session.get_inputs()[0].shape]


class Rival:
    """A file in ONNX Runtime, called with input and output in place."""

    def __init__(self, path):
        self.session = session_of(path)
        model_input = self.session.get_inputs()[0]
        kind = numpy.int8 if model_input.type == "tensor(int8)" else numpy.float32
        self.binding = self.session.io_binding()
        self.binding.bind_cpu_input(model_input.name, numpy.zeros(shape_of(self.session), kind))
        self.binding.bind_output(self.session.get_outputs()[0].name)
        self.count = 1
        self.count = max(1, int(REPETITION_SECONDS / self.repeat()))
        self.best = float("inf")

    def repeat(self):
        start = time.perf_counter()
        for _ in range(self.count):
            self.session.run_with_iobinding(self.binding)
        return (time.perf_counter() - start) / self.count

    def round(self):
        self.best = min(self.best, *(self.repeat() for _ in range(REPETITIONS)))


class Engine:
    """The plan in our engine."""

    def __init__(self, path):
        self.path, self.best = path, float("inf")

    def round(self):
        command = [OCELLUS, "bench", "host", self.path, "--seconds", "1", "--json"]
        said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)[0]
        self.set, self.best = said["instruction_set"], min(self.best, 1 / said["images_per_second"])


def quantized(path, folder, activations):
    """The file at `path` as ONNX Runtime quantizes it."""
    ready, result = folder / f"{activations}-ready.onnx", folder / f"{activations}.onnx"
    quant_pre_process(path, ready)
    session = session_of(path)
    images = Noise(session.get_inputs()[0].name, shape_of(session))
    quantize_static(
        ready, result, images, per_channel=True, activation_type=activations, weight_type=QuantType.QInt8
    )
    return result


def compare(model, folder):
    contestants = {
        "engine": Engine(model / "model.plan"),
        "ORT, model.onnx": Rival(model / "model.onnx"),
        "ORT, float.onnx": Rival(model / "float.onnx"),
        "ORT, its own U8S8": Rival(quantized(model / "float.onnx", folder, QuantType.QUInt8)),
        "ORT, its own S8S8": Rival(quantized(model / "float.onnx", folder, QuantType.QInt8)),
    }
    for _ in range(ROUNDS):
        for contestant in contestants.values():
            contestant.round()
    ours = contestants["engine"].best
    for name, contestant in contestants.items():
        rate, ratio = 1 / contestant.best, contestant.best / ours
        print(f"{model.name:<20} {name:<20} {rate:>9.0f} images/s {1e3 * contestant.best:>8.3f} ms  engine x {ratio:.2f}")
    print(f"engine with {contestants['engine'].set}, ONNX Runtime {onnxruntime.__version__}, one thread, batch 1,", end=" ")
    print(f"best of {ROUNDS} x {REPETITIONS} repetitions of 2 ms", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} MODEL_FOLDER...")
    for argument in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as scratch:
            compare(pathlib.Path(argument), pathlib.Path(scratch))
