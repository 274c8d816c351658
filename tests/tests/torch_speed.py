#!/usr/bin/env python3
"""Times training and evaluation beside PyTorch: the same network, batch, precision and device, in turns.

`ocellus bench train` loads and varies its images as a run does. PyTorch gets one batch that lies on the device already. It
is timed with its tensors in both layouts, and compiled; the form that is fastest counts. A training step is forward, backward,
and SGD with momentum. "forward" is a frozen backbone: PyTorch's forward pass of the whole network in inference mode, and ours
with its images loaded and a step of the head behind it. Of all rounds the best median step counts, on either side.

Without a name all rows of the table are timed, in about a quarter of an hour on two cores. Needs the packages torch and timm;
the environment variable OCELLUS names the program, else it is target/release/ocellus. `--simd avx2` forbids both sides AVX-512.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
OCELLUS = os.environ.get("OCELLUS", ROOT / "target/release/ocellus")
CLASSES = 10
WARM_UP_STEPS = 3

# What is timed: our network or recipe, image size, batch, and whether only forwards.
ROWS = {
    "resnet20": ("resnet20", 32, 128, False),
    "cnn-cifar10": ("models/cnn-cifar10/recipe.toml", 32, 128, False),
    "efficientnet-lite0": ("efficientnet-lite0", 96, 32, False),
    "resnet20-forward": ("resnet20", 32, 128, True),
    "efficientnet-lite0-forward": ("efficientnet-lite0", 96, 32, True),
    "efficientnet-lite0-forward-224": ("efficientnet-lite0", 224, 32, True),
    "resnet56": ("resnet56", 32, 128, False),
    "efficientnet-b0": ("efficientnet-b0", 96, 32, False),
    "efficientnetv2-b1": ("efficientnetv2-b1", 96, 32, False),
}
TABLE = list(ROWS)[:6]


def networks():
    """PyTorch's networks, by our names."""
    import timm
    from torch import nn
    from torch.nn import functional

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

    def resnet(blocks):
        """A residual network of He et al. for images of 32 pixels: three stages of so many blocks."""
        stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        widths = [16] * (blocks + 1) + [32] * blocks + [64] * blocks
        pairs = zip(widths, widths[1:])
        stages = [Block(before, after, 1 if before == after else 2) for before, after in pairs]
        return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))

    def cnn():
        """The network of `models/cnn-cifar10`."""
        layers, inputs = [], 3
        for block in [[32, 32], [64, 32], [128]]:
            for width in block:
                layers += [nn.Conv2d(inputs, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            layers += [nn.MaxPool2d(2), nn.Dropout(0.2)]
        dense = [nn.Flatten(), nn.Linear(128 * 16, 256), nn.ReLU(), nn.Dropout(0.45), nn.Linear(256, CLASSES)]
        return nn.Sequential(*layers, *dense)

    def of_timm(name):
        return lambda: timm.create_model(name, num_classes=CLASSES, drop_rate=0.0)

    return {
        "resnet20": lambda: resnet(3),
        "resnet56": lambda: resnet(9),
        "models/cnn-cifar10/recipe.toml": cnn,
        "efficientnet-lite0": of_timm("tf_efficientnet_lite0"),
        "efficientnet-b0": of_timm("tf_efficientnet_b0"),
        "efficientnetv2-b1": of_timm("tf_efficientnetv2_b1"),
    }


def usage(who):
    """Seconds of CPU time, those of them in the kernel, and the most memory in MB."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime, used.ru_stime, used.ru_maxrss / 1024


def work(task):
    """PyTorch's side, in a process of its own: a round for each line of the input, which says for how many seconds."""
    import contextlib

    import torch
    from torch.nn import functional

    device, size = torch.device(task["device"]), task["size"]
    layout = torch.channels_last if task["channels_last"] else torch.contiguous_format
    model = networks()[task["network"]]().to(device).to(memory_format=layout).train(not task["forward"])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    model = torch.compile(model) if task["compiled"] else model
    images = torch.rand(task["batch"], 3, size, size, device=device).to(memory_format=layout)
    labels = torch.randint(CLASSES, (task["batch"],), device=device)

    def train():
        loss = functional.cross_entropy(model(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    def forward():
        with torch.inference_mode():
            return model(images)[0, 0].item()

    def step():
        start = time.perf_counter()
        mixed = torch.autocast(device.type, torch.bfloat16) if task["precision"] == "bf16" else contextlib.nullcontext()
        with mixed:
            (forward if task["forward"] else train)()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for _ in range(WARM_UP_STEPS):
        step()
    about = {"version": torch.__version__, "threads": torch.get_num_threads()}
    about["capability"] = torch.cuda.get_device_name() if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        end, steps, before = time.perf_counter() + float(line), [], usage(resource.RUSAGE_SELF)
        while not steps or time.perf_counter() < end:
            steps.append(step())
        after = usage(resource.RUSAGE_SELF)
        kernel = (after[1] - before[1]) / (after[0] - before[0])
        print(json.dumps({"seconds": statistics.median(steps), "kernel": kernel, "memory": after[2]}), flush=True)


class Contestant:
    """Whatever is timed: its best median step, and share of the kernel and memory there."""

    def __init__(self):
        self.best, self.kernel, self.memory = float("inf"), 0.0, 0.0

    def take(self, seconds, kernel, memory):
        if seconds < self.best:
            self.best, self.kernel, self.memory = seconds, kernel, memory


class Rival(Contestant):
    """PyTorch in one form."""

    def __init__(self, task, args, channels_last, compiled):
        super().__init__()
        network, size, batch, forward = task
        task = {"network": network, "size": size, "batch": batch, "forward": forward, "device": args.device}
        task |= {"precision": args.precision, "channels_last": channels_last, "compiled": compiled}
        command = [sys.executable, __file__, "--work", json.dumps(task)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment(args))
        line = self.process.stdout.readline()
        if not line:
            reason = self.process.stderr.read().strip().splitlines()
            raise RuntimeError(reason[-1] if reason else "it ended")
        self.about = json.loads(line)

    def round(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        self.take(**json.loads(self.process.stdout.readline()))

    def end(self):
        self.process.communicate()


class Ocellus(Contestant):
    """Our step, images included."""

    def __init__(self, task, args):
        super().__init__()
        network, size, self.batch, forward = task
        what = ["--recipe", ROOT / network] if network.endswith(".toml") else ["--model", network]
        self.command = [OCELLUS, "bench", "train", *what, "--img-size", str(size), "--json"]
        self.command += ["--batch-size", str(self.batch), "--classes", str(CLASSES)]
        self.command += ["--device", "flex" if args.device == "cpu" else args.device]
        self.command += ["--precision", args.precision] if args.device == "cuda" else []
        self.command += ["--set", "transfer.freeze=all"] if forward else []
        self.environment = environment(args)

    def round(self, seconds):
        process = subprocess.Popen([*self.command, "--seconds", str(seconds)], stdout=subprocess.PIPE, env=self.environment)
        said = json.loads(process.stdout.read())
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, self.command
        kernel = used.ru_stime / (used.ru_utime + used.ru_stime)
        self.take(self.batch / said["images_per_second_median"], kernel, used.ru_maxrss / 1024)

    def end(self):
        pass


def environment(args):
    """The environment that a contestant runs in."""
    forced = {"OCELLUS_SIMD": "avx2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    return os.environ | (forced if args.simd == "avx2" else {})


def compare(row, args):
    network, size, batch, forward = ROWS[row]
    task = (network, args.img_size or size, args.batch_size or batch, forward)
    forms = {"NCHW": (False, False), "channels last": (True, False), "compiled": (True, True)}
    timed = {form: kind for form, kind in forms.items() if not (args.no_compile and kind[1])}
    rivals = {}
    for form, (channels_last, compiled) in timed.items():
        try:
            rivals[form] = Rival(task, args, channels_last, compiled)
        except RuntimeError as error:
            print(f"PyTorch, {form}, of {row}: {error}", file=sys.stderr)
    ours = Ocellus(task, args)
    for _ in range(args.rounds):
        for contestant in [ours, *rivals.values()]:
            contestant.round(args.seconds)
    for contestant in rivals.values():
        contestant.end()
    fastest = min(rivals.values(), key=lambda rival: rival.best)
    rates = [f"{task[2] / rivals[form].best:.1f}" if form in rivals else "-" for form in forms]
    cells = [row, str(task[1]), str(task[2]), f"{task[2] / ours.best:.1f}", *rates, f"{fastest.best / ours.best:.2f}"]
    cells += [f"{100 * ours.kernel:.1f} %", f"{100 * fastest.kernel:.1f} %", f"{ours.memory:.0f}", f"{fastest.memory:.0f}"]
    print("| " + " | ".join(cells) + " |", flush=True)
    return fastest.about


def processor():
    """Its name, and which of the vector instructions it has that matter."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    known = ["avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16"]
    sets = [name for name in known if name in facts.get("flags", "").split()]
    return f"{facts.get('model name', 'unknown')} ({', '.join(sets)})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32", help="bf16 on a GPU only")
    parser.add_argument("--simd", choices=["best", "avx2"], default="best", help="vector instructions of a CPU")
    parser.add_argument("--no-compile", action="store_true", help="leaves PyTorch's compiled form out, which takes minutes")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--img-size", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10, help="of each contestant in each round")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(json.loads(args.work))
    header = ["network", "image", "batch", "Ocellus, images/s", "PyTorch, NCHW", "channels last", "compiled", "of the fastest"]
    header += ["in the kernel", "PyTorch's", "memory, MB", "PyTorch's"]
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header), flush=True)
    about = [compare(row, args) for row in args.rows or TABLE][-1]
    place = f"PyTorch {about['version']}, {about['threads']} threads, {about['capability']}"
    print(f"\n{processor()}; {args.precision}, vector instructions: {args.simd}; {place}; ", end="")
    print(f"best median step of {args.rounds} x {args.seconds} s")
    return None


if __name__ == "__main__":
    main()
