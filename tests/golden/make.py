#!/usr/bin/env python3
"""Writes the goldens of this folder: logits of timm's and torchvision's networks, and of MLPerf Tiny's and He's written
down here, with weights that follow from their names. README.md says more; `make.py OUT` writes them into OUT."""

import json
import math
import sys
from collections import OrderedDict

import numpy as np
import timm
import torch
import torch.nn.functional as F
import torchvision
from efficientnet_pytorch import EfficientNet

CLASSES = 10
IMAGES = 2
MASK = (1 << 64) - 1
FACTOR, OFFSET = 6364136223846793005, 1442695040888963407


def draws(name, count):
    """Numbers in [0, 1) that follow from a name: Knuth's MMIX generator, seeded by the name's FNV-1a hash."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 & MASK
    states = np.array([(state * FACTOR + OFFSET) & MASK], dtype=np.uint64)
    factor, offset = FACTOR, OFFSET
    while len(states) < count:
        # `factor` and `offset` go on by as many steps as there are states.
        states = np.concatenate([states, states * np.uint64(factor) + np.uint64(offset)])
        factor, offset = factor * factor & MASK, (factor * offset + offset) & MASK
    return (states[:count] >> np.uint64(40)) / (1 << 24)


def parameter(name, shape, gain=4.5):
    """The values of a parameter, rounded to f32; filters have the variance `gain / 3` over their inputs."""
    u = draws(name, math.prod(shape))
    if len(shape) > 1:
        values = (2 * u - 1) * math.sqrt(gain / math.prod(shape[1:]))
    elif name.endswith((".weight", ".running_var")):
        values = 0.5 + u
    else:
        values = 0.4 * u - 0.2
    return torch.from_numpy(values.astype(np.float32).astype(np.float64)).reshape(shape)


def images(size):
    return torch.from_numpy(draws("image", IMAGES * 3 * size * size)).reshape(IMAGES, 3, size, size)


def fill(model, gain):
    state = model.state_dict()
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            state[name] = parameter(name, tuple(tensor.shape), gain)
    model.double().load_state_dict(state)
    return model.eval()


def conv(x, name, out, kernel, stride, same, bias, groups=1):
    """A convolution; `same` pads as TensorFlow does, otherwise by half the kernel."""
    if same:
        total = max((math.ceil(x.shape[2] / stride) - 1) * stride + kernel - x.shape[2], 0)
        pad = (total // 2, total - total // 2)
    else:
        pad = (kernel // 2, kernel // 2)
    weight = parameter(f"{name}.weight", (out, x.shape[1] // groups, kernel, kernel))
    offset = parameter(f"{name}.bias", (out,)) if bias else None
    return F.conv2d(F.pad(x, pad + pad), weight, offset, stride, groups=groups)


def norm(x, name, eps):
    parts = (parameter(f"{name}.bn.{p}", (x.shape[1],)) for p in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *parts, eps=eps)


def resnet(x, blocks, width, tiny):
    """MLPerf Tiny's ResNet-8 (`tiny`), or the networks for CIFAR of He et al. with projection shortcuts."""
    eps = 1e-3 if tiny else 1e-5
    x = norm(conv(x, "stem", width, 3, 1, tiny, tiny), "stem", eps).relu()
    for i in range(3 * blocks):
        name, out = f"block{i + 1}", width << (i // blocks)
        stride = 2 if i > 0 and i % blocks == 0 else 1
        y = norm(conv(x, f"{name}.conv1", out, 3, stride, tiny, tiny), f"{name}.conv1", eps).relu()
        y = norm(conv(y, f"{name}.conv2", out, 3, 1, tiny, tiny), f"{name}.conv2", eps)
        if x.shape != y.shape:
            x = conv(x, f"{name}.shortcut", out, 1, stride, tiny, tiny)
            x = x if tiny else norm(x, f"{name}.shortcut", eps)
        x = (x + y).relu()
    return head(x)


def mobilenet(x):
    """MLPerf Tiny's MobileNetV1 for visual wake words: a quarter of the width of the paper's table 1."""
    x = norm(conv(x, "stem", 8, 3, 2, True, False), "stem", 1e-3).relu()
    widths = [16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256]
    for i, out in enumerate(widths):
        stride = 2 if i in (1, 3, 5, 11) else 1
        for part, width, kernel in [("depthwise", x.shape[1], 3), ("pointwise", out, 1)]:
            name = f"block{i + 1}.{part}"
            groups = width if part == "depthwise" else 1
            x = conv(x, name, width, kernel, stride if kernel == 3 else 1, True, False, groups)
            x = norm(x, name, 1e-3).relu()
    return head(x)


def head(x):
    features = x.mean((2, 3))
    return F.linear(features, parameter("head.weight", (CLASSES, features.shape[1])), parameter("head.bias", (CLASSES,)))


def cases():
    """(our name, whose names the parameters have, the network's source, the network, image sizes, gain).

    Squeeze-excites and SiLU make values small: a network of many needs a larger gain to see its image. But not much
    larger, or rounding to f32 alone changes its logits: with a gain of 7 those of a B4 by 30 %."""
    for ours, theirs, sizes, gain in [
        ("efficientnet-lite0", "tf_efficientnet_lite0", (64, 75), 4.5),
        ("efficientnet-lite1", "tf_efficientnet_lite1", (64,), 4.5),
        ("efficientnet-lite2", "tf_efficientnet_lite2", (64,), 4.5),
        ("efficientnet-lite3", "tf_efficientnet_lite3", (64,), 4.5),
        ("efficientnet-lite4", "tf_efficientnet_lite4", (64,), 4.5),
        ("efficientnet-b0", "tf_efficientnet_b0", (64, 75), 7.0),
        ("efficientnet-b2", "tf_efficientnet_b2", (64,), 6.0),
        ("efficientnet-b4", "tf_efficientnet_b4", (64,), 6.0),
        ("efficientnetv2-b1", "tf_efficientnetv2_b1", (64,), 4.5),
        ("efficientnetv2-s", "tf_efficientnetv2_s", (64,), 3.5),
        ("efficientnet-b0", "efficientnet_b0", (64,), 7.0),
        ("mobilenetv2-035", "mobilenetv2_035", (64, 75), 4.5),
        ("mobilenetv2-050", "mobilenetv2_050", (64,), 4.5),
        ("mobilenetv2-075", "mobilenetv2_075", (64,), 4.5),
        ("mobilenetv2-100", "mobilenetv2_100", (64,), 4.5),
    ]:
        model = fill(timm.create_model(theirs, num_classes=CLASSES), gain)
        yield ours, "timm", theirs, model, sizes, gain
    # As Keras has it, whose weights some convert to timm's names.
    model = fill(timm.create_model("mobilenetv2_035", num_classes=CLASSES, pad_type="same", bn_eps=1e-3), 4.5)
    yield "mobilenetv2-035", "timm", "tf_mobilenetv2_035", model, (64, 75), 4.5
    for ours, theirs, gain, options in [
        ("efficientnet-b0", "efficientnet_b0", 6.2, {}),
        ("efficientnetv2-s", "efficientnet_v2_s", 3.5, {}),
        ("mobilenetv2-100", "mobilenet_v2", 4.5, {}),
        ("mobilenetv2-035", "mobilenet_v2", 4.5, {"width_mult": 0.35}),
    ]:
        model = fill(getattr(torchvision.models, theirs)(num_classes=CLASSES, **options), gain)
        yield ours, "torchvision", theirs, model, (64,), gain
    # Its padding is that of the images it was made for, TensorFlow's.
    model = EfficientNet.from_name("efficientnet-b0", image_size=64, num_classes=CLASSES)
    yield "efficientnet-b0", "efficientnet_pytorch", "efficientnet_pytorch", fill(model, 7.0), (64,), 7.0
    for ours, config in [
        ("resnet8", (1, 16, True)),
        ("resnet8-w40", (1, 40, True)),
        ("resnet20", (3, 16, False)),
        ("resnet56", (9, 16, False)),
    ]:
        yield ours, "ocellus", "make.py", lambda x, config=config: resnet(x, *config), (32,), 4.5
    yield "mobilenetv1-025", "ocellus", "make.py", mobilenet, (96, 75), 4.5


def main(out):
    goldens = []
    with torch.no_grad():
        for ours, scheme, source, model, sizes, gain in cases():
            for size in sizes:
                logits = model(images(size))
                differ = (logits[0] - logits[1]).abs().max().item() / logits.abs().max().item()
                print(f"{ours} ({source}) at {size}: two images differ by {differ:.4f} of the largest logit")
                golden = {"model": ours, "names": scheme, "source": source, "size": size, "gain": gain}
                goldens.append(golden | {"logits": logits.tolist()})
    with open(f"{out}/networks.json", "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(golden) for golden in goldens) + "\n]\n")


def checkpoints(out):
    """Small tensors of every type and layout, in every form that torch.save writes."""
    state = OrderedDict()
    state["conv.weight"] = torch.arange(8.0).reshape(2, 1, 2, 2)
    state["half"] = torch.tensor([-1.5, 2.0], dtype=torch.float16)
    state["brain"] = torch.tensor([-1.5], dtype=torch.bfloat16)
    state["double"] = torch.tensor([0.1], dtype=torch.float64)
    state["transposed"] = torch.arange(6.0).reshape(2, 3).t()
    state["part"] = torch.arange(10.0)[4:7]
    state["bn.num_batches_tracked"] = torch.tensor(7)
    state["learned"] = torch.nn.Parameter(torch.tensor([3.0]))
    torch.save(state, f"{out}/state.pth")
    training = {"epoch": 3, "arch": "x", "lr": 0.1, "best": None, "state_dict": state, "tags": ["a", ("b", True)]}
    torch.save(training, f"{out}/training.pth")
    torch.save(state, f"{out}/legacy.pth", _use_new_zipfile_serialization=False)
    weights, average = {"conv.weight": torch.ones(3)}, {"module.conv.weight": torch.arange(3.0)}
    torch.save({"state_dict": weights, "state_dict_ema": average}, f"{out}/average.pth")


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else "."
    main(folder)
    checkpoints(folder)
