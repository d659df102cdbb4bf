"""DVC: `dvc.yaml` and `params.yaml` (both written as JSON, which is YAML too)."""

import hashlib
import json
from pathlib import Path

from kit.project import Project, Stage

from .tool import TRIVIAL, Tool, previous, settings, write


class Dvc(Tool):
    name = "dvc"
    package = "dvc==3.67.1"

    def init(self) -> list[list[str]]:
        return [[self.program(), "init", "--no-scm", "--quiet"]]

    def prepare(self, project: Project) -> list[list[str]]:
        return self.init()

    def write(self, project: Project) -> None:
        project.write_scripts()
        stages = project.stages + project.second
        params = {stage.name: stage.params for stage in stages}
        project.write("params.yaml", json.dumps(params, indent=1) + "\n")
        remark = f"# {project.remark}\n\n" if project.remark else ""
        text = json.dumps({"stages": {stage.name: self.stage(stage) for stage in stages}}, indent=1)
        project.write("dvc.yaml", remark + text + "\n")

    def stage(self, stage: Stage) -> dict:
        read = stage.reads if stage.is_first else f"{stage.reads}.txt"
        values = settings(stage, "${{{stage}.{key}}}")
        return {
            "cmd": f"python3 {stage.code}.py {read} {stage.name}.txt {values}",
            "deps": [f"{stage.code}.py", read],
            "params": [f"{stage.name}.{key}" for key in stage.params],
            "outs": [f"{stage.name}.txt"],
        }

    def run(self, second: bool = False, keep_going: bool = False) -> list[str]:
        goal = ["dense"] if second else []
        return [self.program(), "repro", *(["--keep-going"] if keep_going else []), *goal]

    def write_trivial(self, folder: Path, count: int) -> list[list[str]]:
        (folder / "out").mkdir()
        stages = {f"{stage}{i}": self.trivial(stage, i) for i in range(count) for stage in TRIVIAL}
        write(folder, "dvc.yaml", json.dumps({"stages": stages}, indent=1))
        return self.init()

    def trivial(self, stage: str, i: int) -> dict:
        before = previous(stage)
        deps = {"deps": [f"out/{before}{i}"]} if before else {}
        return {"cmd": f"echo {i} > out/{stage}{i}", **deps, "outs": [f"out/{stage}{i}"]}

    def cold(self) -> list[str]:
        return [self.program(), "repro"]

    def plan(self) -> list[str]:
        return [self.program(), "repro", "--dry"]

    def prebuild(self, folder: Path, count: int) -> bool:
        """Writes the outputs, their copies in the cache, and `dvc.lock`: the cold run is quadratic."""
        lock = {"schema": "2.0", "stages": {}}
        for i in range(count):
            text = f"{i}\n".encode()
            md5 = hashlib.md5(text).hexdigest()
            entry = {"hash": "md5", "md5": md5, "size": len(text)}
            kept = folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
            kept.parent.mkdir(parents=True, exist_ok=True)
            if not kept.exists():
                kept.write_bytes(text)
            for stage in TRIVIAL:
                (folder / f"out/{stage}{i}").write_bytes(text)
                before = previous(stage)
                deps = {"deps": [{"path": f"out/{before}{i}", **entry}]} if before else {}
                outs = [{"path": f"out/{stage}{i}", **entry}]
                cmd = self.trivial(stage, i)["cmd"]
                lock["stages"][f"{stage}{i}"] = {"cmd": cmd, **deps, "outs": outs}
        write(folder, "dvc.lock", json.dumps(lock, indent=1))
        return True
