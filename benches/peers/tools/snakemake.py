"""Snakemake: rules in a Snakefile."""

from pathlib import Path

from kit.project import SOURCE, Project, Stage

from .tool import TRIVIAL, Tool, previous, settings, write

RULE = """
rule {name}:
    input: "{read}", script="{code}.py"
    output: "{name}.txt"
    params: {params}
    shell: "python3 {{input.script}} {{input[0]}} {{output}} {settings}"
"""

TRIVIAL_RULE = """
rule {name}:
{input}    output: "out/{name}{{i}}"
    shell: "echo {{wildcards.i}} > {{output}}"
"""


class Snakemake(Tool):
    name = "snakemake"
    package = "snakemake==9.27.1"

    def write(self, project: Project) -> None:
        project.write_scripts()
        stages = project.stages + project.second
        read = {stage.reads for stage in project.stages}
        goals = [f'"{stage.name}.txt"' for stage in project.stages if stage.name not in read]
        text = f"rule all:\n    input: {', '.join(goals)}\n" + "".join(map(self.rule, stages))
        remark = f"# {project.remark}\n\n" if project.remark else ""
        project.write("Snakefile", remark + text)

    def rule(self, stage: Stage) -> str:
        return RULE.format(
            name=stage.name,
            code=stage.code,
            read=SOURCE if stage.is_first else f"{stage.reads}.txt",
            params=", ".join(f"{key}={value!r}" for key, value in stage.params.items()),
            settings=settings(stage, "{{params.{key}}}"),
        )

    def run(self, second: bool = False, keep_going: bool = False) -> list[str]:
        goal = ["dense.txt"] if second else []
        keep = ["--keep-going"] if keep_going else []
        return [self.program(), "--cores", "1", *keep, *goal]

    def write_trivial(self, folder: Path, count: int) -> list[list[str]]:
        text = f'rule all:\n    input: expand("out/d{{i}}", i=range({count}))\n'
        for stage in TRIVIAL:
            before = previous(stage)
            read = f'    input: "out/{before}{{i}}"\n' if before else ""
            text += TRIVIAL_RULE.format(name=stage, input=read)
        write(folder, "Snakefile", text)
        return []

    def cold(self) -> list[str]:
        return [self.program(), "--cores", "1"]

    def plan(self) -> list[str]:
        return [self.program(), "--dry-run"]
