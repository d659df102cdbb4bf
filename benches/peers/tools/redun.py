"""redun: Python tasks on files."""

from pathlib import Path

from kit.project import SOURCE, Project, Stage

from .tool import TRIVIAL, Tool, write

TASK = '''

@task()
def {name}(read: File, {params}, write: str) -> File:
    begin("{code}")
    text = read.read()
    {body}
    result = File(write)
    result.write(text)
    return result
'''

TRIVIAL_WORKFLOW = '''from redun import task

redun_namespace = "trivial"

{tasks}
@task()
def main():
    return [d(c(b(a(i)))) for i in range({count})]
'''


class Redun(Tool):
    name = "redun"
    package = "redun==0.44.1"

    def write(self, project: Project) -> None:
        text = 'from redun import File, task\n\nfrom common import begin\n\nredun_namespace = "peers"\n'
        # A second pipeline calls the same tasks, as a user would.
        text += "".join(map(self.task, project.stages))
        text += self.main("main", project.stages)
        if project.second:
            text += self.main("second", project.second)
        remark = f"# {project.remark}\n\n" if project.remark else ""
        project.write("workflow.py", remark + text)

    def task(self, stage: Stage) -> str:
        body = "\n    ".join(stage.body)
        return TASK.format(name=stage.name, code=stage.code, params=", ".join(sorted(stage.params)), body=body)

    def main(self, name: str, stages: list[Stage]) -> str:
        lines = []
        for stage in stages:
            read = f'File("{SOURCE}")' if stage.is_first else f"out_{stage.reads}"
            params = ", ".join(f"{key}={value!r}" for key, value in stage.params.items())
            call = f'{stage.code}({read}, {params}, write="{stage.name}.txt")'
            lines.append(f"    out_{stage.name} = {call}\n")
        outs = ", ".join(f"out_{stage.name}" for stage in stages)
        return f"\n\n@task()\ndef {name}():\n{''.join(lines)}    return [{outs}]\n"

    def run(self, second: bool = False, keep_going: bool = False) -> list[str]:
        return [self.program(), "run", "workflow.py", "second" if second else "main"]

    def write_trivial(self, folder: Path, count: int) -> list[list[str]]:
        tasks = "".join(f"@task()\ndef {stage}(i: int) -> int:\n    return i\n\n\n" for stage in TRIVIAL)
        write(folder, "workflow.py", TRIVIAL_WORKFLOW.format(tasks=tasks, count=count))
        return []

    def cold(self) -> list[str]:
        return [self.program(), "run", "workflow.py", "main"]

    def plan(self) -> list[str]:
        return [self.program(), "run", "--dryrun", "workflow.py", "main"]
