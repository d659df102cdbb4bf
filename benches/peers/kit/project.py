"""The project that every tool runs: four stages in a chain, each a few lines of Python.

    source.txt → pretrain → prune → finetune → adapt

A stage appends its name to `ran.txt` when it really runs. Its output is a text that names everything
it was made from, so a wrong result can be told from a right one.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = "source.txt"

COMMON = '''
"""What all stages do: say that they run; be slow, or fail, when they are told to."""
import json
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent


def begin(name):
    with open(HERE / "ran.txt", "a") as log:
        log.write(name + "\\n")
    control = json.loads((HERE / "control.json").read_text())
    time.sleep(control["slow"].get(name, 0))
    if name in control["fail"]:
        raise RuntimeError(f"{name} was told to fail")


def arguments():
    """`READ WRITE key=value…` of the command line; values are JSON."""
    pairs = (pair.split("=", 1) for pair in sys.argv[3:])
    return sys.argv[1], sys.argv[2], {key: json.loads(value) for key, value in pairs}
'''

SCRIPT = '''"""The stage `{script}`."""
from common import arguments, begin

begin("{script}")
read, write, params = arguments()
{names} = {values}
text = open(read).read()
{body}
open(write, "w").write(text)
'''


@dataclass
class Stage:
    name: str
    reads: str
    """The stage that it reads, or SOURCE."""
    params: dict[str, float]
    body: list[str]
    """Lines of Python that turn `text`, what it reads, into `text`, what it writes."""
    code: str = ""
    """The stage whose code it runs; its own where none is given."""

    def __post_init__(self) -> None:
        self.code = self.code or self.name

    @property
    def is_first(self) -> bool:
        return self.reads == SOURCE


def chain() -> list[Stage]:
    """The four stages. `note` of `prune` has no effect on what it writes."""
    return [
        Stage("pretrain", SOURCE, {"width": 4, "rate": 0.1}, body("pretrain", "width", "rate")),
        Stage("prune", "pretrain", {"keep": 0.5, "note": 1}, body("prune", "keep")),
        Stage("finetune", "prune", {"a": 1, "b": 2}, body("finetune", "a", "b")),
        Stage("adapt", "finetune", {"epochs": 3}, body("adapt", "epochs")),
    ]


def body(name: str, *shown: str) -> list[str]:
    values = ", ".join(f"{key}={{{key}}}" for key in shown)
    return ["strength = 1", f'text = f"{name}({values}, strength={{strength}}) of {{text}}"']


@dataclass
class Project:
    """A folder with the stages; tools write their own files beside."""

    folder: Path
    stages: list[Stage] = field(default_factory=chain)
    second: list[Stage] = field(default_factory=list)
    """A second pipeline."""
    remark: str = ""
    """A comment in the tool's own file."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.write(SOURCE, "data\n")
        self.write("common.py", COMMON.lstrip())
        self.control()
        self.ran_before = 0

    def control(self, slow: dict[str, float] | None = None, fail: tuple[str, ...] = ()) -> None:
        self.write("control.json", json.dumps({"slow": slow or {}, "fail": fail}))

    def write(self, name: str, text: str) -> None:
        """Writes a file if it changes: what nobody edited keeps its time."""
        path = self.folder / name
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def write_scripts(self) -> None:
        """A script a stage, for tools that run programs."""
        for stage in self.stages + self.second:
            names = ", ".join(sorted(stage.params))
            values = ", ".join(f'params["{key}"]' for key in sorted(stage.params))
            text = SCRIPT.format(script=stage.code, names=names, values=values, body="\n".join(stage.body))
            self.write(f"{stage.code}.py", text)

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages + self.second if stage.name == name)

    def expected(self, name: str) -> str:
        """What a stage must write."""
        stage = self.stage(name)
        text = (self.folder / SOURCE).read_text() if stage.is_first else self.expected(stage.reads)
        values = {**stage.params, "text": text}
        exec("\n".join(stage.body), values)
        return values["text"]

    def ran(self) -> list[str]:
        """The stages that ran since this was asked last."""
        path = self.folder / "ran.txt"
        lines = path.read_text().split() if path.exists() else []
        new, self.ran_before = lines[self.ran_before :], len(lines)
        return new
