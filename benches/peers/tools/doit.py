"""doit: tasks in `dodo.py`."""

from pathlib import Path

from kit.project import Project, Stage

from .tool import Tool, settings, write

TASK = '''

def task_{name}():
    params = {params}
    return {{
        "actions": ["python3 {code}.py {read} {name}.txt " + "{settings}".format(**params)],
        "file_dep": ["{code}.py", "{read}"],
        "targets": ["{name}.txt"],
        "uptodate": [config_changed(params)],
    }}
'''

TRIVIAL = '''
def task_trivial():
    for i in range({count}):
        for before, stage in zip([None, "a", "b", "c"], "abcd"):
            yield {{
                "name": f"{{stage}}{{i}}",
                "actions": [f"echo {{i}} > out/{{stage}}{{i}}"],
                "file_dep": [f"out/{{before}}{{i}}"] if before else [],
                "targets": [f"out/{{stage}}{{i}}"],
                # A task without inputs always runs unless it says that once is enough.
                "uptodate": [] if before else [run_once],
            }}
'''


class Doit(Tool):
    name = "doit"
    package = "doit==0.37.0"

    def write(self, project: Project) -> None:
        project.write_scripts()
        text = "from doit.tools import config_changed\n"
        text += "".join(map(self.task, project.stages + project.second))
        read = {stage.reads for stage in project.stages}
        goals = [stage.name for stage in project.stages if stage.name not in read]
        text += f'\n\nDOIT_CONFIG = {{"default_tasks": {goals}}}\n'
        remark = f"# {project.remark}\n\n" if project.remark else ""
        project.write("dodo.py", remark + text)

    def task(self, stage: Stage) -> str:
        return TASK.format(
            name=stage.name,
            code=stage.code,
            params=stage.params,
            read=stage.reads if stage.is_first else f"{stage.reads}.txt",
            settings=settings(stage, "{{{key}}}"),
        )

    def run(self, second: bool = False, keep_going: bool = False) -> list[str]:
        goal = ["dense"] if second else []
        return [self.program(), "run", *(["--continue"] if keep_going else []), *goal]

    def write_trivial(self, folder: Path, count: int) -> list[list[str]]:
        (folder / "out").mkdir()
        write(folder, "dodo.py", "from doit.tools import run_once\n\n" + TRIVIAL.format(count=count))
        return []

    def cold(self) -> list[str]:
        return [self.program(), "run"]

    def plan(self) -> list[str]:
        return [self.program(), "list", "--all", "--status"]
