#!/usr/bin/env python3
"""Times the engine beside ONNX Runtime, one image at a time on one thread: the table of all networks, or the models in the folders
argv[1:].

Where no folder is named, these are the committed ResNet-8 and ResNet-20, and MobileNetV1-0.25 and EfficientNet-Lite0 for 96x96 pixels, which
are first trained for a moment on the built-in pictures: what is in the weights makes no difference to the time. The engine is timed with
each set of vector instructions that this machine has from AVX2 on, forced by OCELLUS_SIMD.

Of each model it takes `model.plan` (the engine, by `ocellus bench host`), `model.onnx` (the same integers), `float.onnx`, and
what ONNX Runtime's own quantization makes of the latter: per channel, with uint8 and with int8 activations. All of them
take turns, so that each has its share of a machine's quiet moments, and the best repetition counts.

Needs the packages onnx and onnxruntime; the environment variable OCELLUS names the program, else it is target/release/ocellus.
"""

import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time
import zlib

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
# Sets of vector instructions, as OCELLUS_SIMD names them.
SETS = ["avx2", "avx-vnni", "avx512-vnni-256", "avx512-vnni"]
COMMITTED = ["resnet8-cifar10", "resnet20-cifar10"]
TRAINED = ["mobilenetv1-025", "efficientnet-lite0"]


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
    """The plan in our engine, with the vector instructions `simd`."""

    def __init__(self, path, simd):
        self.path, self.simd, self.best = path, simd, float("inf")

    def round(self):
        command = [OCELLUS, "bench", "host", self.path, "--seconds", "1", "--json"]
        environment = {**os.environ, "OCELLUS_SIMD": self.simd}
        said = json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)[0]
        assert said["instruction_set"].lower() == self.simd, said
        self.best = min(self.best, 1 / said["images_per_second"])


def sets_here(plan):
    """Those of SETS that this machine has: the program refuses the others."""
    def works(simd):
        command = [OCELLUS, "bench", "host", plan, "--seconds", "0", "--json"]
        return subprocess.run(command, capture_output=True, env={**os.environ, "OCELLUS_SIMD": simd}).returncode == 0

    return [simd for simd in SETS if works(simd)]


def trained(network, folder):
    """A model of `network` for 96x96 pixels."""
    run = folder / network
    train = ["train", "--model", network, "--img-size", "96", "--epochs", "1", "--batch-size", "64"]
    for command in [[*train, "--data", pictures(folder), "--out", run], ["export", run]]:
        subprocess.run([OCELLUS, *command], check=True, capture_output=True)
    return run


def pictures(folder):
    """A few pictures of noise in two classes."""
    draws = numpy.random.default_rng(0)
    for name in ["one", "other"]:
        (folder / "pictures" / name).mkdir(parents=True, exist_ok=True)
        for index in range(64):
            # A PNG file: each row begins with the number of its filter, none.
            rows = numpy.pad(draws.integers(0, 256, (96, 96 * 3), numpy.uint8), ((0, 0), (1, 0)))
            parts = [(b"IHDR", struct.pack(">IIBBBBB", 96, 96, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")]
            chunks = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
            (folder / "pictures" / name / f"{index}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return folder / "pictures"


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return f"{told['model name']} (family {told['cpu family']}, model {told['model']})"


def quantized(path, folder, activations):
    """The file at `path` as ONNX Runtime quantizes it."""
    ready, result = folder / f"{activations}-ready.onnx", folder / f"{activations}.onnx"
    quant_pre_process(path, ready, skip_symbolic_shape=True)
    session = session_of(path)
    images = Noise(session.get_inputs()[0].name, shape_of(session))
    quantize_static(
        ready, result, images, per_channel=True, activation_type=activations, weight_type=QuantType.QInt8
    )
    return result


def compare(model, folder):
    ours = [Engine(model / "model.plan", simd) for simd in sets_here(model / "model.plan")]
    rivals = {
        "model.onnx": Rival(model / "model.onnx"),
        "float.onnx": Rival(model / "float.onnx"),
        "its own U8S8": Rival(quantized(model / "float.onnx", folder, QuantType.QUInt8)),
        "its own S8S8": Rival(quantized(model / "float.onnx", folder, QuantType.QInt8)),
    }
    for _ in range(ROUNDS):
        for contestant in [*ours, *rivals.values()]:
            contestant.round()
    fastest = min(rival.best for rival in rivals.values())
    for engine in ours:
        print(f"{model.name:<20} {'engine, ' + engine.simd:<24} {1 / engine.best:>8.0f} images/s  {fastest / engine.best:.2f}x")
    for name, rival in rivals.items():
        print(f"{model.name:<20} {'ONNX Runtime, ' + name:<24} {1 / rival.best:>8.0f} images/s")
    sys.stdout.flush()


def main():
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        folders = [pathlib.Path(argument) for argument in sys.argv[1:]]
        for folder in folders or [ROOT / "models" / name for name in COMMITTED]:
            compare(folder, scratch)
        for network in [] if folders else TRAINED:
            compare(trained(network, scratch), scratch)
    print(f"{processor()}; ONNX Runtime {onnxruntime.__version__}; one thread, batch 1,", end=" ")
    print(f"best of {ROUNDS} x {REPETITIONS} repetitions of 2 ms; x: beside ONNX Runtime's fastest")


if __name__ == "__main__":
    main()
