#!/usr/bin/env python3
"""Times training beside PyTorch: the same network, batch, precision and device, in turns.

`ocellus bench train` loads and varies its images as a run does. PyTorch gets one batch that lies on the device already, and is
timed with its tensors in both layouts, and on a GPU also compiled; the form that is fastest counts. Each step is forward,
backward, and SGD with momentum; of all rounds the best median step counts, on either side.

Needs the packages torch and timm; the environment variable OCELLUS names the program, else it is target/release/ocellus.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import time

import timm
import torch
from torch import nn
from torch.nn import functional

ROOT = pathlib.Path(__file__).resolve().parents[2]
OCELLUS = os.environ.get("OCELLUS", ROOT / "target/release/ocellus")
CLASSES = 10
WARM_UP_STEPS = 3


class Block(nn.Module):
    """Two convolutions and a shortcut, which is projected where the shape changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        projection = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
        self.shortcut = nn.Sequential(*projection) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Sequential):
    """A residual network of He et al. for images of 32 pixels: three stages of so many blocks."""

    def __init__(self, blocks):
        stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        widths = [16] * (blocks + 1) + [32] * blocks + [64] * blocks
        pairs = zip(widths, widths[1:])
        stages = [Block(before, after, 1 if before == after else 2) for before, after in pairs]
        super().__init__(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))


def of_timm(name):
    return lambda: timm.create_model(name, num_classes=CLASSES, drop_rate=0.0)


# Each network's image size unless told otherwise, and what makes it.
NETWORKS = {
    "resnet20": (32, lambda: ResNet(3)),
    "resnet56": (32, lambda: ResNet(9)),
    "efficientnet-lite0": (96, of_timm("tf_efficientnet_lite0")),
    "efficientnet-b0": (96, of_timm("tf_efficientnet_b0")),
    "efficientnetv2-b1": (96, of_timm("tf_efficientnetv2_b1")),
}


class Rival:
    """PyTorch's training step on one batch."""

    def __init__(self, network, size, args, layout, is_compiled):
        self.device, self.is_mixed = torch.device(args.device), args.precision == "bf16"
        model = network().to(self.device).to(memory_format=layout).train()
        self.optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
        self.model = torch.compile(model) if is_compiled else model
        images = torch.rand(args.batch_size, 3, size, size, device=self.device)
        self.images = images.to(memory_format=layout)
        self.labels = torch.randint(CLASSES, (args.batch_size,), device=self.device)
        self.best = float("inf")
        for _ in range(WARM_UP_STEPS):
            self.step()

    def step(self):
        start = time.perf_counter()
        mixed = torch.autocast(self.device.type, torch.bfloat16) if self.is_mixed else contextlib.nullcontext()
        with mixed:
            loss = functional.cross_entropy(self.model(self.images), self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        loss.item()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def round(self, seconds):
        end, steps = time.perf_counter() + seconds, []
        while not steps or time.perf_counter() < end:
            steps.append(self.step())
        self.best = min(self.best, statistics.median(steps))


class Ocellus:
    """Our training step, images included."""

    def __init__(self, name, size, args):
        precision = ["--precision", args.precision] if args.device == "cuda" else []
        device = {"cpu": "flex"}.get(args.device, args.device)
        self.command = [OCELLUS, "bench", "train", "--model", name, "--img-size", str(size), "--device", device, "--json"]
        self.command += ["--batch-size", str(args.batch_size), "--classes", str(CLASSES), *precision]
        self.batch, self.best = args.batch_size, float("inf")

    def round(self, seconds):
        command = [*self.command, "--seconds", str(seconds)]
        said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        self.best = min(self.best, self.batch / said["images_per_second_median"])


def compare(name, args):
    size, network = NETWORKS[name]
    size = args.img_size or size
    contestants = {
        "Ocellus": Ocellus(name, size, args),
        "PyTorch": Rival(network, size, args, torch.contiguous_format, False),
        "PyTorch, channels last": Rival(network, size, args, torch.channels_last, False),
    }
    if args.device == "cuda":
        contestants["PyTorch, compiled"] = Rival(network, size, args, torch.channels_last, True)
    for _ in range(args.rounds):
        for contestant in contestants.values():
            contestant.round(args.seconds)
    ours = contestants["Ocellus"].best
    for rival, contestant in contestants.items():
        rate, ratio = args.batch_size / contestant.best, contestant.best / ours
        print(f"{name:<20} {size:>3} {rival:<24} {rate:>9.1f} images/s  Ocellus x {ratio:.2f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", choices=NETWORKS, metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32", help="bf16 on a GPU only")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--img-size", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10, help="of each contestant in each round")
    arguments = parser.parse_args()
    for argument in arguments.networks:
        compare(argument, arguments)
    place = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"batch {arguments.batch_size}, {arguments.precision}, PyTorch {torch.__version__} on {place}", end=", ")
    print(f"best median step of {arguments.rounds} x {arguments.seconds} s")
