"""Exchanges weights with torchvision in both directions, through the `graftwork` command.

There: torchvision's weights as a safetensors file, an `import` stage, and the loss that graftwork measures.
Back: the checkpoint of a stage that graftwork trained, `load_state_dict(strict=True)`, and the loss that
PyTorch computes. The weights must come back to the bit, and both losses must agree.

`graftwork export` writes each stage once more, as safetensors that load strictly and as an ONNX model that
onnx.checker accepts and onnxruntime runs; its outputs must be PyTorch's. A network written layer by layer,
with every operation, has no counterpart in torchvision: the loss of its ONNX model must be graftwork's.

    python exchange.py GRAFTWORK
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy
import onnx
import onnxruntime
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

# Every operation of images once, those that torchvision's networks do not have among them.
LAYERS = """[
  { conv2d = { channels = 12, kernel = 3, padding = 1, bias = false } }, { batch-norm = {} }, { relu6 = {} },
  { depthwise-conv2d = { kernel = 3, padding = 2, dilation = 2, multiplier = 2 } }, { leaky-relu = { slope = 0.2 } },
  { max-pool2d = { kernel = 3, stride = 2, padding = 1 } },
  { conv-transpose2d = { channels = 8, kernel = 4, stride = 2, padding = 1, groups = 2 } }, { gelu = {} },
  { avg-pool2d = { kernel = 3, stride = 2, padding = 1 } }, { silu = {} },
  { upsample2d = { factor = 2 } }, { hard-swish = {} },
  { resize2d = { height = 13, width = 21, mode = "nearest" } }, { tanh = {} },
  { resize2d = { height = 18, width = 14, mode = "bilinear" } },
  { residual = { body = [{ conv2d = { channels = 10, kernel = 1 } }], shortcut = [{ pad-channels = { before = 1, after = 1 } }] } },
  { concat = { branches = [[{ slice = { from = 2, to = 8 } }], [{ softmax = { axis = 1 } }]] } },
  { channel-shuffle = { groups = 4 } }, { hard-sigmoid = {} },
  { parallel = { join = "product", branches = [[], [{ adaptive-avg-pool2d = {} }, { conv2d = { channels = 16, kernel = 1 } }, { sigmoid = {} }]] } },
  { adaptive-avg-pool2d = { height = 5, width = 4 } },
  { layer-norm = {} }, { linear = { features = 3 } }, { linear = { features = 3, bias = false } },
  { dropout = {} }, { flatten = {} }, { classifier = {} },
]"""

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
            stage = f"{stage}-{name.replace('_', '-')}"
            row = stages[stage]
            state = load_file(folder / "results" / "store" / row["key"][:2] / row["key"] / "model.safetensors")
            model = build(name)
            model.load_state_dict(state, strict=True)
            theirs = loss(model.eval(), images, labels, size)
            agrees = abs(row["value"] - theirs) <= TOLERANCE * abs(theirs)
            if stage.startswith("imported"):
                sent = load_file(folder / f"{name}.safetensors")
                agrees &= all(torch.equal(sent[key], state[key]) for key in sent | state)
            error = onnx_error(common, folder, stage, model, prepared(images, size))
            model.load_state_dict(load_file(export(common, folder, stage, "safetensors")), strict=True)
            agrees &= error <= TOLERANCE
            print(f"exchange: {stage:28} {row['value']:<12.7g} {theirs:<12.7g} onnx {error:<8.1e} {'equal' if agrees else 'DIFFERENT'}")
            failures += not agrees
    row = stages["layers"]
    session = onnxruntime.InferenceSession(export(common, folder, "layers", "onnx"))
    theirs = loss(lambda pixels: torch.from_numpy(session.run(None, {"input": pixels.numpy()})[0]), images, labels, 32)
    agrees = abs(row["value"] - theirs) <= TOLERANCE * abs(theirs)
    print(f"exchange: {'layers':28} {row['value']:<12.7g} {theirs:<12.7g} {'equal' if agrees else 'DIFFERENT'}")
    failures += not agrees
    print(f"exchange: {2 * len(NETWORKS) + 1} networks compared on {len(labels)} images, {failures} differences")
    return 1 if failures else 0


def export(common: list, folder: Path, stage: str, format: str) -> Path:
    """What a stage left, written by graftwork; an ONNX model has been checked."""
    path = folder / f"{stage}.{format}"
    command = [*common, "export", stage, "--experiment", "exchange", "--to", path]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    if format == "onnx":
        onnx.checker.check_model(onnx.load(path), full_check=True)
    return path


def onnx_error(common: list, folder: Path, stage: str, model: torch.nn.Module, pixels: torch.Tensor) -> float:
    """Largest difference of the ONNX model's outputs from PyTorch's, relative to the largest output; for a
    batch and for one image."""
    session = onnxruntime.InferenceSession(export(common, folder, stage, "onnx"))
    with torch.inference_mode():
        theirs = model(pixels).numpy()
    ours = session.run(None, {"input": pixels.numpy()})[0]
    alone = session.run(None, {"input": pixels[:1].numpy()})[0]
    largest = abs(theirs).max()
    return float(max(abs(ours - theirs).max(), abs(alone - theirs[:1]).max()) / largest)


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
    text += f"""
[stage.layers.pretrain]
data.cifar10 = {{ batch-size = 32, val-fraction = 0.0 }}
epochs = 1
optimizer.sgd = {{ learning-rate = 0.01 }}
model.layers = {LAYERS}
"""
    return text


def prepared(images: numpy.ndarray, size: int) -> torch.Tensor:
    """Images as graftwork prepares them."""
    pixels = torch.from_numpy(images).float()
    if size != 32:
        pixels = torch.nn.functional.interpolate(pixels, (size, size), mode="bilinear").round()
    return pixels / 127.5 - 1


def loss(model: Callable[[torch.Tensor], torch.Tensor], images: numpy.ndarray, labels: numpy.ndarray, size: int) -> float:
    """Mean cross-entropy of what a network puts out."""
    with torch.inference_mode():
        logits = model(prepared(images, size))
    return torch.nn.functional.cross_entropy(logits.double(), torch.from_numpy(labels)).item()


if __name__ == "__main__":
    sys.exit(main())
