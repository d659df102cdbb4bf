"""TorchScript programs, and what PyTorch makes of them: what the engine's tests compare with.

    python programs.py --write     writes the files of torchscript/ anew
    python programs.py --check     whether PyTorch still makes of the programs what is stored

Each program is trained for some steps of gradient descent, in training mode, on fixed numbers; LibTorch's
generator has the step's number for a seed. A file
NAME.safetensors holds those numbers, the outputs in evaluation before and after, and all that the program
holds afterwards.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

import formula

FOLDER = Path(__file__).parent / "torchscript"
EXAMPLES, STEPS, LEARNING_RATE = 6, 3, 0.1


class Gate(nn.Module):
    """A parameter of its own, and a count that is assigned anew, not added to."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, channels).reshape(channels, 1, 1))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.calls = self.calls + 1
        return x * self.scale


class Branching(nn.Module):
    """What cannot be traced: a loop, a branch that depends on values, and one that depends on the mode.

    Tensors of the root, one under two names, one of truth values and one of 16 bits.
    """

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.blocks = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(2)])
        self.gate = Gate(4)
        self.shift = nn.Parameter(torch.full((4,), 0.1))
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.dropout = nn.Dropout(0.25)
        self.classifier = nn.Linear(4, 10)
        self.register_buffer("mask", torch.tensor([True, True, False, True]))
        self.register_buffer("share", torch.tensor([0.5], dtype=torch.float16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = x + torch.relu(block(x))
        x = self.gate(x).mean([2, 3]) + self.shift * self.share
        x = torch.where(self.mask, x, torch.zeros_like(x))
        if bool(x.sum() > 0):
            x = torch.tanh(self.first(x))
        else:
            x = torch.sigmoid(self.first(x))
        return self.classifier(self.dropout(self.second(x)))


def plain() -> nn.Module:
    """Layers in a row, to be traced."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 10)
    )


def numbers() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.from_numpy(formula.uniform("input", EXAMPLES * 64)).float().reshape(EXAMPLES, 1, 8, 8)
    return images, torch.arange(EXAMPLES) * 3 % 10


def make(name: str) -> torch.jit.ScriptModule:
    torch.manual_seed(0)
    if name == "branching":
        return torch.jit.script(Branching())
    return torch.jit.trace(plain(), numbers()[0])


def save(program: torch.jit.ScriptModule, path: Path) -> None:
    """Writes the file without the places in source files, which would name folders of the machine."""
    with tempfile.NamedTemporaryFile(suffix=".pt") as whole:
        program.save(whole.name)
        with zipfile.ZipFile(whole.name) as read, zipfile.ZipFile(path, "w") as write:
            for entry in read.infolist():
                if not entry.filename.endswith(".debug_pkl"):
                    # An archive's folder is called as the file was.
                    inside = entry.filename.split("/", 1)[1]
                    write.writestr(zipfile.ZipInfo(f"{path.stem}/{inside}"), read.read(entry))


def trained(program: torch.jit.ScriptModule) -> dict[str, torch.Tensor]:
    """Trains the program; gives what is stored of that."""
    images, labels = numbers()
    found = {"input": images, "labels": labels, "before": program.eval()(images).detach().clone()}
    program.train()
    for step in range(STEPS):
        torch.manual_seed(step)
        program.zero_grad()
        functional.cross_entropy(program(images), labels).backward()
        with torch.no_grad():
            for parameter in program.parameters():
                parameter -= LEARNING_RATE * parameter.grad
    found["after"] = program.eval()(images).detach().clone()
    state = program.state_dict()
    # Truth values are no numbers to the engine, and one tensor under two names is held under the first.
    found |= {f"held.{name}": value.clone() for name, value in state.items() if name not in ("mask", "second.weight")}
    return found


def main() -> int:
    torch.set_num_threads(1)
    torch.jit.set_fusion_strategy([])
    failures = 0
    for name in ("branching", "plain"):
        path, stored = FOLDER / f"{name}.pt", FOLDER / f"{name}.safetensors"
        if sys.argv[1:] == ["--write"]:
            FOLDER.mkdir(exist_ok=True)
            save(make(name), path)
            save_file(trained(torch.jit.load(path)), stored)
        ours, theirs = trained(torch.jit.load(path)), load_file(stored)
        agrees = ours.keys() == theirs.keys() and all(torch.allclose(ours[key], theirs[key], atol=1e-6) for key in ours)
        print(f"{name}.pt: {'as stored' if agrees else 'DIFFERS from what is stored'}")
        failures += not agrees
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
