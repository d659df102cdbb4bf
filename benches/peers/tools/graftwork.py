"""graftwork: stages of kind `command` in an experiment file."""

import json
import os
import subprocess
from pathlib import Path

from kit.project import SOURCE, Project, Stage

from .tool import Tool

ROOT = Path(__file__).resolve().parents[3]

STAGE = """
[stage.{name}.command]
program = ["python3", "{{script}}", {read}, "{{out}}/result.txt", {settings}]
{inputs}files = {{ {files} }}
params = {{ {params} }}
outputs = ["result.txt"]
random = false
"""

# Each stage leaves another text, a reader a longer one than it reads: stages that do the same to equal
# results would be adopted and not run.
TRIVIAL = """name = "trivial"
sweep."a.params.x" = [{values}]
[stage.a.command]
program = ["sh", "-c", "echo $0 > $1/result", "{{x}}", "{{out}}"]
params = {{ x = 0 }}
outputs = ["result"]
random = false
"""

TRIVIAL_READER = """
[stage.{name}.command]
program = ["sh", "-c", "read x < $0/result; echo $x. > $1/result", "{{previous}}", "{{out}}"]
inputs = {{ previous = "{previous}" }}
outputs = ["result"]
random = false
"""


class Graftwork(Tool):
    name = "graftwork"
    failure_code = 3

    def version(self) -> str:
        said = subprocess.run([self.program(), "--version"], capture_output=True, text=True, check=True)
        return said.stdout.split()[-1]

    def program(self) -> str:
        return os.environ.get("GRAFTWORK") or str(ROOT / "target/release/graftwork")

    def write(self, project: Project) -> None:
        project.write_scripts()
        project.write("main.toml", self.experiment("main", project.stages, project.remark))
        if project.second:
            project.write("second.toml", self.experiment("second", project.second, ""))

    def experiment(self, name: str, stages: list[Stage], remark: str) -> str:
        remark = f"# {remark}\n\n" if remark else ""
        return remark + f'name = "{name}"\n' + "".join(map(self.stage, stages))

    def stage(self, stage: Stage) -> str:
        files = f'script = "{stage.code}.py"' + (f', source = "{SOURCE}"' if stage.is_first else "")
        return STAGE.format(
            name=stage.name,
            read='"{source}"' if stage.is_first else '"{from}/result.txt"',
            settings=", ".join(f'"{key}={{{key}}}"' for key in sorted(stage.params)),
            inputs="" if stage.is_first else f'inputs = {{ from = "{stage.reads}" }}\n',
            files=files,
            params=", ".join(f"{key} = {json.dumps(value)}" for key, value in stage.params.items()),
        )

    def run(self, second: bool = False, keep_going: bool = False) -> list[str]:
        return [self.program(), "run", "second.toml" if second else "main.toml", "--jobs", "1"]

    def output(self, project: Project, stage: Stage) -> Path | None:
        """A result lies under what made it: the right one if it is there, else the newest of the stage."""
        begins = f"{stage.code}("
        files = (project.folder / "results/store").rglob("result.txt")
        found = [file for file in files if file.read_text().startswith(begins)]
        right = [file for file in found if file.read_text() == project.expected(stage.name)]
        return max(right or found, key=lambda file: file.stat().st_mtime_ns, default=None)

    def write_trivial(self, folder: Path, count: int) -> list[list[str]]:
        text = TRIVIAL.format(values=", ".join(map(str, range(count))))
        for name, previous in zip("bcd", "abc"):
            text += TRIVIAL_READER.format(name=name, previous=previous)
        (folder / "trivial.toml").write_text(text)
        return []

    def cold(self) -> list[str]:
        return [self.program(), "run", "trivial.toml", "--jobs", "1"]

    def plan(self) -> list[str]:
        return [self.program(), "plan", "trivial.toml"]
