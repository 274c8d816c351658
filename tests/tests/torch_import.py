#!/usr/bin/env python3
"""Exports networks of torchvision and timm by both of PyTorch's exporters, and has `ocellus model import` read them: a table of what became
of each. That what is read computes the scores of the file, as tract runs it, is a part of the command.

Weights are random, which makes no difference to what is read; the statistics of batch norms are those of random images.

Needs the packages torch, torchvision, timm, onnx and onnxscript; the environment variable OCELLUS names the program, else it is
target/release/ocellus. Arguments: names of networks, by default all.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

import timm
import torch
import torchvision

ROOT = pathlib.Path(__file__).resolve().parents[2]
OCELLUS = os.environ.get("OCELLUS", str(ROOT / "target/release/ocellus"))
SIDE = 64
CLASSES = 10
NETWORKS = {
    **{f"torchvision {name}": name for name in ["resnet18", "mobilenet_v2", "mobilenet_v3_small", "squeezenet1_1"]},
    **{
        f"timm {name}": name
        for name in ["resnet18", "mobilenetv2_050", "tf_efficientnet_lite0", "efficientnet_b0", "regnetx_002", "convnext_atto"]
    },
}


def network(name):
    """A network for images of SIDE pixels, ready to export."""
    library, model = name.split()
    make = torchvision.models.get_model if library == "torchvision" else timm.create_model
    made = make(model, num_classes=CLASSES).train()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        for _ in range(2):
            made(torch.randn(8, 3, SIDE, SIDE))
    return made.eval()


def imported(model, dynamo, folder):
    """What the command says of the network."""
    file = folder / "network.onnx"
    options = {"external_data": False} if dynamo else {}
    torch.onnx.export(model, (torch.randn(1, 3, SIDE, SIDE),), file, dynamo=dynamo, verbose=False, **options)
    command = [OCELLUS, "model", "import", file, "--out", folder / "run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return "read, same scores as tract"
    return next(line for line in done.stderr.splitlines() if line.startswith("error: ")).split(".onnx: ")[-1]


def main():
    warnings.filterwarnings("ignore")
    torch.manual_seed(1)
    print("| network | exporter | |\n|---|---|---|")
    for name in sys.argv[1:] or NETWORKS:
        model = network(name)
        for dynamo in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                result = imported(model, dynamo, pathlib.Path(folder))
            print(f"| {name} | {'dynamo' if dynamo else 'TorchScript'} | {result} |", flush=True)


if __name__ == "__main__":
    main()
