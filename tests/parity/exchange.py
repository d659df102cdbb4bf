"""Exchanges weights with torchvision in both directions, through the `graftwork` command.

There: torchvision's weights as a safetensors file, an `import` stage, and the loss that graftwork measures.
Back: the checkpoint of a stage that graftwork trained, `load_state_dict(strict=True)`, and the loss that
PyTorch computes. The weights must come back to the bit, and both losses must agree.

    python exchange.py GRAFTWORK
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import torch
from safetensors.torch import load_file, save_file
from torchvision import models

import formula

# torchvision's name, graftwork's model, and the size that images are resized to, where 32×32 is too small.
NETWORKS = [
    ("alexnet", "alexnet = {}", 64),
    ("vgg11_bn", "vgg11 = { batch-norm = true }", 32),
    ("resnet18", "resnet18 = {}", 32),
    ("resnet50", "resnet50 = {}", 48),
    ("densenet121", "densenet121 = {}", 32),
    ("mobilenet_v2", "mobilenet-v2 = {}", 32),
    ("shufflenet_v2_x1_0", "shufflenet-v2 = {}", 32),
]

CLASSES = 10

# Largest difference of two losses, relative.
TOLERANCE = 1e-4


def main() -> int:
    graftwork = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        return exchange(graftwork, Path(folder))


def exchange(graftwork: Path, folder: Path) -> int:
    images, labels = write_images(folder / "data" / "cifar10")
    (folder / "job.toml").write_text(experiment())
    for name, _, _ in NETWORKS:
        model = formula.fill(build(name))
        save_file(model.state_dict(), folder / f"{name}.safetensors")
    common = [graftwork, "--data", "data", "--results", "results"]
    subprocess.run([*common, "run", "job.toml", "--device", "cpu"], cwd=folder, check=True, stdout=sys.stderr)
    answer = subprocess.run([*common, "query", "--format", "json", QUERY], cwd=folder, check=True, capture_output=True)
    stages = {row["stage"]: row for row in json.loads(answer.stdout)}
    failures = 0
    for name, _, size in NETWORKS:
        for stage in ("imported", "trained"):
            row = stages[f"{stage}-{name.replace('_', '-')}"]
            state = load_file(folder / "results" / "store" / row["key"][:2] / row["key"] / "model.safetensors")
            model = build(name)
            model.load_state_dict(state, strict=True)
            theirs = loss(model.eval(), images, labels, size)
            agrees = abs(row["value"] - theirs) <= TOLERANCE * abs(theirs)
            if stage == "imported":
                sent = load_file(folder / f"{name}.safetensors")
                agrees &= all(torch.equal(sent[key], state[key]) for key in sent | state)
            print(f"exchange: {name:20} {stage:9} {row['value']:<12.7g} {theirs:<12.7g} {'equal' if agrees else 'DIFFERENT'}")
            failures += not agrees
    print(f"exchange: {2 * len(NETWORKS)} networks compared by their loss on {len(labels)} images, {failures} differences")
    return 1 if failures else 0


# The loss on the test images at the end of each stage.
QUERY = """
SELECT stage, key, value FROM result
WHERE dataset LIKE 'cifar10%' AND split = 'test' AND what = 'loss' ORDER BY step
"""


def build(name: str) -> torch.nn.Module:
    """A network of torchvision with weights of chance."""
    return getattr(models, name)(weights=None, num_classes=CLASSES)


def write_images(folder: Path) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Images of noise in CIFAR-10's format; those of the test split with their labels."""
    folder.mkdir(parents=True)
    noise = numpy.random.default_rng(0)
    for file, count in (("data_batch_1.bin", 96), ("test_batch.bin", 32)):
        labels = noise.integers(0, CLASSES, (count, 1), dtype=numpy.uint8)
        pixels = noise.integers(0, 256, (count, 3 * 32 * 32), dtype=numpy.uint8)
        (folder / file).write_bytes(numpy.hstack((labels, pixels)).tobytes())
    return pixels.reshape(count, 3, 32, 32), labels[:, 0].astype(numpy.int64)


def experiment() -> str:
    """An experiment that imports each network, and trains one of its kind from the start."""
    text = 'name = "exchange"\nseeds = [0]\n'
    for name, model, size in NETWORKS:
        stage = name.replace("_", "-")
        data = f"data.cifar10 = {{ batch-size = 32, val-fraction = 0.0, size = [{size}, {size}] }}"
        text += f"""
[stage.imported-{stage}.import]
file = "{name}.safetensors"
model.{model}
{data}

[stage.trained-{stage}.pretrain]
model.{model}
{data}
epochs = 1
optimizer.sgd = {{ learning-rate = 0.01 }}
"""
    return text


def loss(model: torch.nn.Module, images: numpy.ndarray, labels: numpy.ndarray, size: int) -> float:
    """Mean cross-entropy, with images as graftwork prepares them."""
    pixels = torch.from_numpy(images).float()
    if size != 32:
        pixels = torch.nn.functional.interpolate(pixels, (size, size), mode="bilinear").round()
    with torch.inference_mode():
        logits = model(pixels / 127.5 - 1)
    return torch.nn.functional.cross_entropy(logits.double(), torch.from_numpy(labels)).item()


if __name__ == "__main__":
    sys.exit(main())
