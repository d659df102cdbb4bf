"""AI2 Tango: Python steps, configured in JSON."""

import json
from pathlib import Path

from kit.project import SOURCE, Project, Stage

from .tool import TRIVIAL, Tool, previous, write

HEAD = """from tango import Format, JsonFormat, Step
"""

STEP = '''

@Step.register("{code}")
class {title}(Step):
    FORMAT: Format = JsonFormat()

    def run(self, {params}, read: str = "") -> str:
        begin("{code}")
        text = read if {inner} else open("{source}").read()
        {body}
        return text
'''

TRIVIAL_STEP = '''

@Step.register("{name}")
class {title}(Step):
    FORMAT: Format = JsonFormat()

    def run(self, i: int) -> int:
        return i
'''

NO_FILES = "it tracks no files: a step reads and returns Python values"


class Tango(Tool):
    name = "tango"
    package = "ai2-tango==1.3.2"
    not_meaningful = {"T1": NO_FILES}

    def write(self, project: Project) -> None:
        steps = "".join(map(self.step, project.stages))
        project.write("steps.py", HEAD + "\nfrom common import begin\n" + steps)
        project.write("main.jsonnet", self.config(project.stages, project.remark))
        if project.second:
            project.write("second.jsonnet", self.config(project.second, ""))

    def step(self, stage: Stage) -> str:
        return STEP.format(
            code=stage.code,
            title=stage.code.title(),
            params=", ".join(f"{key}: float" for key in sorted(stage.params)),
            inner=not stage.is_first,
            source=SOURCE,
            body="\n        ".join(stage.body),
        )

    def config(self, stages: list[Stage], remark: str) -> str:
        steps = {}
        for stage in stages:
            read = {} if stage.is_first else {"read": {"type": "ref", "ref": stage.reads}}
            steps[stage.name] = {"type": stage.code, **stage.params, **read}
        remark = f"// {remark}\n\n" if remark else ""
        return remark + json.dumps({"steps": steps}, indent=1) + "\n"

    def tango(self, config: str) -> list[str]:
        return [self.program(), "run", config, "--include-package", "steps", "--workspace", "workspace"]

    def run(self, second: bool = False, keep_going: bool = False) -> list[str]:
        return self.tango("second.jsonnet" if second else "main.jsonnet")

    def output(self, project: Project, stage: Stage) -> Path | None:
        runs = (project.folder / "workspace/runs").glob(f"*/{stage.name}")
        newest = max(runs, key=lambda run: run.lstat().st_mtime_ns, default=None)
        return newest and newest.resolve() / "data.json"

    def write_trivial(self, folder: Path, count: int) -> list[list[str]]:
        steps = "".join(TRIVIAL_STEP.format(name=stage, title=stage.title()) for stage in TRIVIAL)
        write(folder, "steps.py", HEAD + steps)
        config = {f"{stage}{i}": self.trivial(stage, i) for i in range(count) for stage in TRIVIAL}
        write(folder, "trivial.jsonnet", json.dumps({"steps": config}))
        return []

    def trivial(self, stage: str, i: int) -> dict:
        before = previous(stage)
        return {"type": stage, "i": {"type": "ref", "ref": f"{before}{i}"} if before else i}

    def cold(self) -> list[str]:
        return self.tango("trivial.jsonnet")
