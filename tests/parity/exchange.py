"""Exchanges weights with torchvision in both directions, through the `graftwork` command.

There: torchvision's weights as a safetensors file, an `import` stage, and the loss that graftwork measures.
Back: the checkpoint of a stage that graftwork trained, `load_state_dict(strict=True)`, and the loss that
PyTorch computes. The weights must come back to the bit, and both losses must agree.

Some of them go there as TorchScript programs, too, and are trained further; what `graftwork export` writes of
them is loaded into the program in Python, whose loss must be graftwork's.

`graftwork export` writes each stage once more, as safetensors that load strictly and as an ONNX model that
onnx.checker accepts and onnxruntime runs; its outputs must be PyTorch's. Other networks, among them some
written layer by layer with every operation, have no counterpart in torchvision: the loss of their ONNX models
must be graftwork's, or for segmentation the outputs those of a network written in PyTorch here.

    python exchange.py GRAFTWORK
"""

import collections
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
import segmentation

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

# Networks that go there as TorchScript programs, and how they become such.
PROGRAMS = {
    "resnet18": torch.jit.script,
    "densenet121": torch.jit.script,
    "mobilenet_v2": lambda model: torch.jit.trace(model.eval(), torch.zeros(2, 3, 32, 32)),
}

# The others of the zoo, on the same images and on texts; the columns of an image are a sequence.
IMAGES = {
    "mlp": "mlp = { hidden = [20, 30], batch-norm = true }",
    "lenet5": "lenet5 = {}",
    "cnn": "cnn = { batch-norm = true }",
    "vgg13": "vgg13 = {}",
    "vgg16": "vgg16 = {}",
    "vgg19": "vgg19 = {}",
    "resnet34": "resnet34 = {}",
    "resnet18-cifar": "resnet18-cifar = {}",
    "resnet20": "resnet20 = { squeeze-excitation = 4 }",
    "resnet32": "resnet32 = {}",
    "resnet56": "resnet56 = {}",
    "densenet-bc-40-12": "densenet-bc-40-12 = {}",
    "gru": "gru = { layers = 2, bidirectional = true }",
    "lstm": "lstm = { layers = 2, bidirectional = true, pool = \"max\" }",
    "transformer-encoder": "transformer-encoder = {}",
}
TEXTS = {
    "text-mean": "text-mean = {}",
    "text-cnn": "text-cnn = {}",
    "text-gru": "gru = { pool = \"last\" }",
    "text-lstm": "lstm = { bidirectional = true, pool = \"max\" }",
    "text-transformer": "transformer-encoder = {}",
    "text-layers": """layers = [
  { embedding = { features = 12 } }, { transpose = {} }, { conv1d = { channels = 10, kernel = 5, stride = 2, padding = 1 } },
  { relu = {} }, { max-pool1d = { kernel = 3, stride = 2 } }, { transpose = {} }, { pool-steps = { how = "last" } }, { classifier = {} },
]""",
}
SEGMENTATION = {
    "unet": "unet = { channels = 6, depth = 3, batch-norm = true }",
    "fcn8s": "fcn8s = { channels = 4, hidden = 12, reach = 1 }",
    "fcn-resnet50": "fcn-resnet50 = {}",
}

# Height and width of scenes: halving loses a row or a column more than once.
SCENES = (45, 37)

# Words of a text: fewer than the steps, so that there is padding, and some that are not in the vocabulary.
WORDS, STEPS, VOCABULARY = 30, 24, 20

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
  { pixel-shuffle = { factor = 2 } },
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
    images, image_labels = write_images(folder / "data" / "cifar10")
    texts, text_labels = write_texts(folder / "data" / "newsgroups")
    write_digits(folder / "data" / "mnist")
    (folder / "job.toml").write_text(experiment())
    for name, _, _ in NETWORKS:
        model = formula.fill(build(name))
        save_file(model.state_dict(), folder / f"{name}.safetensors")
        if name in PROGRAMS:
            PROGRAMS[name](model).save(folder / f"{name}.pt")
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
            theirs = loss(model.eval(), images, image_labels, size)
            agrees = True
            if stage.startswith("imported"):
                sent = load_file(folder / f"{name}.safetensors")
                agrees = all(torch.equal(sent[key], state[key]) for key in sent | state)
            error = onnx_error(common, folder, stage, model, prepared(images, size))
            model.load_state_dict(load_file(export(common, folder, stage, "safetensors")), strict=True)
            failures += report(stage, row["value"], theirs, error, agrees)
    for name in PROGRAMS:
        for stage in ("program", "further"):
            stage = f"{stage}-{name.replace('_', '-')}"
            program = torch.jit.load(folder / f"{name}.pt")
            program.load_state_dict(load_file(export(common, folder, stage, "safetensors")), strict=True)
            failures += report(stage, stages[stage]["value"], loss(program.eval(), images, image_labels, 32))
    inputs = {name: prepared(images, 32).numpy() for name in ("layers", *IMAGES)} | dict.fromkeys(TEXTS, texts)
    for name, given in inputs.items():
        session = onnxruntime.InferenceSession(export(common, folder, name, "onnx"))
        labels = text_labels if name in TEXTS else image_labels
        theirs = cross_entropy(session.run(None, {"input": given})[0], labels)
        failures += report(name, stages[name]["value"], theirs)
    pixels = torch.from_numpy(numpy.random.default_rng(1).normal(size=(4, 3, *SCENES)).astype(numpy.float32))
    for name in SEGMENTATION:
        model = segmentation.build(name, CLASSES + 1).eval()
        model.load_state_dict(load_file(export(common, folder, name, "safetensors")), strict=True)
        failures += report(name, 0.0, 0.0, onnx_error(common, folder, name, model, pixels))
    print(f"exchange: {2 * len(NETWORKS) + 2 * len(PROGRAMS) + len(inputs) + len(SEGMENTATION)} networks compared, {failures} differences")
    return 1 if failures else 0


def report(name: str, ours: float, theirs: float, error: float = 0.0, agrees: bool = True) -> bool:
    """Prints a line; gives whether something differs."""
    agrees &= abs(ours - theirs) <= TOLERANCE * abs(theirs) and error <= TOLERANCE
    print(f"exchange: {name:28} {ours:<12.7g} {theirs:<12.7g} onnx {error:<8.1e} {'equal' if agrees else 'DIFFERENT'}")
    return not agrees


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
WHERE (dataset LIKE 'cifar10%' OR dataset LIKE 'newsgroups%') AND split = 'test' AND what = 'loss' ORDER BY step
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


def write_texts(folder: Path) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Texts of chance in the format of `newsgroups`; the numbers of the words of the test split, and labels."""
    folder.mkdir(parents=True)
    noise = numpy.random.default_rng(2)
    splits = []
    for split, count in (("train", 96), ("test", 32)):
        # Two groups that are apart in `comp-vs-sci`; early words are more frequent than late ones.
        labels = numpy.arange(count) % 2
        texts = [[f"w{min(noise.geometric(0.08), WORDS)}" for _ in range(noise.integers(3, STEPS))] for _ in labels]
        lines = [f"{('comp.graphics', 'sci.space')[label]}\t{' '.join(text)}\n" for label, text in zip(labels, texts)]
        (folder / f"20newsgroups-{split}.tab").write_text("".join(["Category\tText\nd\tstring\nclass\t\n", *lines]))
        splits.append(texts)
    counts = collections.Counter(word for text in splits[0] for word in text)
    known = sorted(counts, key=lambda word: (-counts[word], word))[:VOCABULARY]
    # 0 is padding, 1 an unknown word.
    numbers = {word: number for number, word in enumerate(known, start=2)}
    encoded = [[numbers.get(word, 1) for word in text] + [0] * (STEPS - len(text)) for text in splits[1]]
    return numpy.array(encoded, dtype=numpy.int64), labels


def write_digits(folder: Path) -> None:
    """Digits of noise in MNIST's format."""
    folder.mkdir(parents=True)
    noise = numpy.random.default_rng(3)
    for split, count in (("train", 64), ("t10k", 16)):
        pixels = noise.integers(0, 256, (count, 28, 28), dtype=numpy.uint8)
        labels = noise.integers(0, CLASSES, count, dtype=numpy.uint8)
        for what, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            head = numpy.array([0x800 + array.ndim, *array.shape], dtype=">u4")
            (folder / f"{split}-{what}-ubyte").write_bytes(head.tobytes() + array.tobytes())


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
    for name in PROGRAMS:
        stage = name.replace("_", "-")
        data = "data.cifar10 = { batch-size = 32, val-fraction = 0.0 }"
        text += f"""
[stage.program-{stage}.import]
file = "{name}.pt"
{data}

[stage.further-{stage}.finetune]
from = "program-{stage}"
{data}
epochs = 1
optimizer.sgd = {{ learning-rate = 0.01 }}
"""
    images = "cifar10 = { batch-size = 32, val-fraction = 0.0 }"
    texts = f"""newsgroups = {{ batch-size = 32, val-fraction = 0.0, groups.comp-vs-sci = {{}}, vocabulary = {VOCABULARY}, length = {STEPS} }}"""
    scenes = f"""digits-on-photographs = {{ batch-size = 8, size = [{SCENES[0]}, {SCENES[1]}], scenes = 48, test-scenes = 8 }}"""
    kinds = [({"layers": f"layers = {LAYERS}"} | IMAGES, images), (TEXTS, texts), (SEGMENTATION, scenes)]
    for models_of_kind, data in kinds:
        for name, model in models_of_kind.items():
            text += f"""
[stage.{name}.pretrain]
model.{model}
data.{data}
epochs = 1
optimizer.sgd = {{ learning-rate = 0.01 }}
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
        return cross_entropy(model(prepared(images, size)).numpy(), labels)


def cross_entropy(logits: numpy.ndarray, labels: numpy.ndarray) -> float:
    return torch.nn.functional.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels)).item()


if __name__ == "__main__":
    sys.exit(main())
