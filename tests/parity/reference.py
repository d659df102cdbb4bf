"""Writes torchvision.json, or compares it with what torchvision says now (`--check`).

For each network: names, types and shapes of its parameters and buffers in their order, the number of
parameters, the multiply-accumulates of its convolutions and linear layers, and what it puts out for two
images, with all values by formula.py. The engine's tests read the file, so that `make test` compares with
torchvision without it.
"""

import argparse
import json
import math
import re
import sys
from pathlib import Path

import torch
import torchvision
from torchvision import models

import formula

FILE = Path(__file__).with_name("torchvision.json")

# Height and width of the images. Odd ones show how a network rounds.
SIZES = {
    "alexnet": (95, 127),
    "vgg11": (64, 64),
    "vgg11_bn": (64, 64),
    "vgg13": (64, 64),
    "vgg13_bn": (64, 64),
    "vgg16": (64, 64),
    "vgg16_bn": (64, 64),
    "vgg19": (64, 64),
    "vgg19_bn": (64, 64),
    "resnet18": (64, 64),
    "resnet34": (64, 64),
    "resnet50": (75, 97),
    "densenet121": (67, 93),
    "mobilenet_v2": (75, 97),
    "shufflenet_v2_x0_5": (64, 64),
    "shufflenet_v2_x1_0": (75, 97),
    "fcn_resnet50": (65, 81),
}

# The size that MACs are published for.
PUBLISHED = (224, 224)

# Largest difference, relative to the largest value of an output.
TOLERANCE = 1e-4


class Logits(torch.nn.Module):
    """A segmentation network that puts out its scores alone."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images)["out"]


def build(name: str) -> torch.nn.Module:
    """A network with weights of chance."""
    if name == "fcn_resnet50":
        return models.segmentation.fcn_resnet50(weights=None, weights_backbone=None)
    return getattr(models, name)(weights=None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    networks = {}
    for name in SIZES:
        print(f"reference: {name}", file=sys.stderr)
        networks[name] = describe(name)
    found = {"made-by": f"torchvision {torchvision.__version__.split('+')[0]}", "networks": networks}
    if not check:
        FILE.write_text(text(found))
        return 0
    differences = list(compare(json.loads(FILE.read_text())["networks"], networks))
    for difference in differences:
        print(difference)
    print(f"reference: {len(networks)} networks compared with {FILE.name}, {len(differences)} differences")
    return 1 if differences else 0


def describe(name: str) -> dict:
    """What the file holds of a network."""
    model = formula.fill(build(name))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tensors = [
        f"{key} {str(tensor.dtype).removeprefix('torch.')} {'x'.join(map(str, tensor.shape))}".rstrip()
        for key, tensor in model.state_dict().items()
    ]
    described = {"parameters": parameters}
    if name == "fcn_resnet50":
        model = Logits(model).eval()
    else:
        published = models.get_model_weights(name).DEFAULT.meta
        assert parameters == published["num_params"], f"{name}: {parameters} parameters"
        described["macs"] = macs(model, PUBLISHED)
        giga = described["macs"] / 1e9
        # The published counts have three decimals, and those of torchvision are cut off there.
        assert abs(giga - published["_ops"]) < 1e-3, f"{name}: {giga} G MACs"
    images = formula.values("input", torch.Size((2, 3, *SIZES[name])))
    with torch.inference_mode():
        outputs = model(images)
    described |= {
        "input": list(images.shape[1:]),
        "outputs": [sample(output.flatten().double()) for output in outputs],
        "tensors": tensors,
    }
    return described


def macs(model: torch.nn.Module, size: tuple[int, int]) -> int:
    """Multiply-accumulates of convolutions and linear layers for one image."""
    total = 0

    def count(layer: torch.nn.Module, _inputs: tuple, output: torch.Tensor) -> None:
        nonlocal total
        # Each value of the output is a sum over the values of one output channel of the weight.
        total += output.numel() * math.prod(layer.weight.shape[1:])

    layers = [layer for layer in model.modules() if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        model(torch.zeros(1, 3, *size))
    for hook in hooks:
        hook.remove()
    return total


def sample(output: torch.Tensor) -> dict:
    """Eight values spread over an output, and three measures of all of them."""
    places = [len(output) * part // 8 for part in range(8)]
    return {
        "values": [rounded(output[place]) for place in places],
        "sum": rounded(output.sum()),
        "absolute-sum": rounded(output.abs().sum()),
        "largest": rounded(output.abs().max()),
    }


def rounded(value: torch.Tensor) -> float:
    """Eight digits, one more than the outputs have."""
    return float(f"{value.item():.8g}")


def compare(stored: dict, found: dict):
    """Where two descriptions differ, a line each."""
    for name in sorted(stored.keys() | found.keys()):
        if name not in stored or name not in found:
            yield f"{name}: only in {'the file' if name in stored else 'torchvision'}"
            continue
        one, other = dict(stored[name]), dict(found[name])
        for place, (ours, theirs) in enumerate(zip(one.pop("outputs"), other.pop("outputs"), strict=True)):
            measures = {"values": "largest", "sum": "absolute-sum", "absolute-sum": "absolute-sum", "largest": "largest"}
            for key, scale in measures.items():
                pairs = zip(ours[key], theirs[key]) if key == "values" else [(ours[key], theirs[key])]
                if any(abs(a - b) > TOLERANCE * theirs[scale] for a, b in pairs):
                    yield f"{name}, image {place}, {key}: {ours[key]} in the file, {theirs[key]} now"
        for key in sorted(one.keys() | other.keys()):
            if one.get(key) != other.get(key):
                yield f"{name}: other `{key}`"


def text(found: dict) -> str:
    """JSON with the numbers of a list in one line."""
    lists = re.compile(r'\[[^]{"]+\]')
    join = lambda numbers: "[" + " ".join(numbers[0][1:-1].split()) + "]"
    return lists.sub(join, json.dumps(found, indent=1)) + "\n"


if __name__ == "__main__":
    sys.exit(main())
