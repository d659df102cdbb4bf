"""What a tool must be able to do to be compared."""

from pathlib import Path

from kit import environment
from kit.project import Project, Stage


class Tool:
    name: str
    package = ""
    """The package and version that it comes from."""
    not_meaningful: dict[str, str] = {}
    """Cases that mean nothing for this tool, and why."""

    failure_code: int | None = None
    """The exit code that it promises when a stage failed; any but 0 where none is promised."""

    def version(self) -> str:
        return environment.version(self.package)

    def program(self) -> str:
        return environment.program(self.package, self.name)

    # The behaviour cases: the project of `kit.project`.

    def prepare(self, project: Project) -> list[list[str]]:
        """Commands that make a folder a project of this tool."""
        return []

    def write(self, project: Project) -> None:
        """Writes the tool's own files for a project, or writes what has changed of them."""
        raise NotImplementedError

    def run(self, second: bool = False, keep_going: bool = False) -> list[str]:
        """The command that brings a pipeline up to date."""
        raise NotImplementedError

    def output(self, project: Project, stage: Stage) -> Path | None:
        """The file that holds what a stage wrote, where the tool keeps it."""
        return project.folder / f"{stage.name}.txt"

    # The cost of trivial stages: `count` pipelines of four stages a, b, c, d.

    def write_trivial(self, folder: Path, count: int) -> list[list[str]]:
        """Writes the files; gives commands to run before the first run."""
        raise NotImplementedError

    def cold(self) -> list[str]:
        """Runs them one after the other; the same command again is the run with nothing to do."""
        raise NotImplementedError

    def plan(self) -> list[str] | None:
        """Says what would run."""
        return None

    def prebuild(self, folder: Path, count: int) -> bool:
        """Makes the state after a cold run without one, for a tool whose cold run ends too late."""
        return False


TRIVIAL = ["a", "b", "c", "d"]


def previous(stage: str) -> str | None:
    """The stage before a trivial one."""
    index = TRIVIAL.index(stage)
    return TRIVIAL[index - 1] if index else None


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


def settings(stage: Stage, form: str) -> str:
    """The parameters as a script takes them, each value in a form such as `{keep}`; sorted, so that
    their order in the file is all that changes when they are put in another."""
    return " ".join(f"{key}={form.format(stage=stage.name, key=key)}" for key in sorted(stage.params))
