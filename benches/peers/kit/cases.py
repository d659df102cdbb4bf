"""The 15 cases: what is done to a finished project, and what should run then."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tools.tool import Tool

from .process import Ended, Process, surroundings
from .project import SOURCE, Project, Stage


class Session:
    """A project in the hands of a tool."""

    def __init__(self, tool: Tool, project: Project, cap: float):
        self.tool, self.project, self.cap = tool, project, cap
        self.env = surroundings(project.folder)
        self.faults: list[str] = []
        for command in tool.prepare(project):
            self.start(command).wait()
        tool.write(project)

    def start(self, command: list[str]) -> Process:
        return Process(command, self.project.folder, self.env, self.cap)

    def first_run(self) -> None:
        """Everything runs once; the case begins after it."""
        ended = self.start(self.tool.run()).wait()
        names = [stage.name for stage in self.project.stages]
        if ended.code != 0 or self.project.ran() != names:
            raise RuntimeError(f"the first run of {self.tool.name} went wrong:\n{ended.said}")
        self.faults.clear()

    def update(self, second: bool = False) -> None:
        """Brings the pipeline up to date, and checks how that ended."""
        self.tool.write(self.project)
        self.check(self.start(self.tool.run(second)).wait())
        self.check_output((self.project.second if second else self.project.stages)[-1].name)

    def check(self, ended: Ended) -> None:
        if ended.code is None:
            self.faults.append(f"hangs for more than {self.cap:.0f} s")
        elif ended.code != 0:
            self.faults.append(f"exit code {ended.code}")

    def check_output(self, name: str) -> None:
        """The output of a stage, if the tool keeps it, is what the stages make now."""
        stage = self.project.stage(name)
        path = self.tool.output(self.project, stage)
        if path is None or not path.exists():
            self.faults.append(f"no output of {name}")
        elif self.project.expected(name).strip() not in unquote(path.read_text()):
            self.faults.append(f"output of {name} is wrong")

    def stage(self, name: str) -> Stage:
        return self.project.stage(name)

    def wait_for(self, name: str) -> None:
        """Waits until a stage has begun."""
        path = self.project.folder / "ran.txt"
        until = time.monotonic() + self.cap
        while name not in (path.read_text().split() if path.exists() else []):
            if time.monotonic() > until:
                raise RuntimeError(f"{name} does not begin")
            time.sleep(0.02)


def unquote(text: str) -> str:
    """Tango keeps texts as JSON."""
    return text.replace("\\n", "\n")


@dataclass
class Case:
    id: str
    title: str
    act: Callable[[Session], None]
    ideal: list[str] = field(default_factory=list)
    """What should run, in any order."""
    also: list[str] | None = None
    """What may run as well without being wrong."""
    is_fresh: bool = False
    """Whether the case begins before the first run."""


@dataclass
class Verdict:
    ran: list[str]
    faults: list[str]
    is_right: bool


def judge(case: Case, tool: Tool, project: Project, cap: float) -> Verdict:
    session = Session(tool, project, cap)
    if not case.is_fresh:
        session.first_run()
    case.act(session)
    ran = project.ran()
    is_ideal = sorted(ran) == sorted(case.ideal) or case.also is not None and ran == case.also
    return Verdict(ran, session.faults, is_ideal and not session.faults)


def touch_source(session: Session) -> None:
    (session.project.folder / SOURCE).touch()
    session.update()


def touch_intermediate(session: Session) -> None:
    session.tool.output(session.project, session.stage("prune")).touch()
    session.update()


def change_parameter(session: Session) -> None:
    session.stage("prune").params["keep"] = 0.9
    session.update()


def revert_parameter(session: Session) -> None:
    change_parameter(session)
    session.project.ran()
    session.stage("prune").params["keep"] = 0.5
    session.update()


def change_without_effect(session: Session) -> None:
    session.stage("prune").params["note"] = 2
    session.update()


def reorder_keys(session: Session) -> None:
    for stage in session.project.stages:
        stage.params = dict(reversed(stage.params.items()))
    session.update()


def exchange_values(session: Session) -> None:
    session.stage("finetune").params.update(a=2, b=1)
    session.update()


def edit_cosmetically(session: Session) -> None:
    session.project.remark = "A remark in the tool's own file."
    session.stage("prune").body.insert(0, "# A remark in the code.\n")
    session.update()


def edit_really(session: Session) -> None:
    session.stage("prune").body[0] = "strength = 2"
    session.update()


def delete_intermediate(session: Session) -> None:
    session.tool.output(session.project, session.stage("prune")).unlink()
    session.update()


def tamper(session: Session) -> None:
    path = session.tool.output(session.project, session.stage("prune"))
    path.chmod(0o644)
    path.write_text(path.read_text().replace("keep=0.5", "keep=0.7"))
    session.update()
    session.check_output("prune")


def second_pipeline(session: Session) -> None:
    first = session.stage("pretrain")
    session.project.second = [Stage("dense", SOURCE, dict(first.params), first.body, code="pretrain")]
    session.update(second=True)


def one_branch_fails(session: Session) -> None:
    session.stage("finetune").reads = "pretrain"
    # The failure comes while the other branch has a stage to go.
    session.project.control(fail=("prune",), slow={"finetune": 1.0})
    session.tool.write(session.project)
    ended = session.start(session.tool.run(keep_going=True)).wait()
    if ended.code is None:
        session.check(ended)
    elif ended.code == 0 or session.tool.failure_code not in (None, ended.code):
        session.faults.append(f"exit code {ended.code}")
    session.check_output("adapt")


def kill(session: Session) -> None:
    session.project.control(slow={"finetune": session.cap})
    running = session.start(session.tool.run())
    session.wait_for("finetune")
    running.kill()
    running.wait()
    session.project.ran()
    session.project.control()
    session.update()


def two_at_once(session: Session) -> None:
    session.project.control(slow={stage.name: 1.0 for stage in session.project.stages})
    for running in [session.start(session.tool.run()) for _ in range(2)]:
        session.check(running.wait())
    session.check_output("adapt")


ALL = ["pretrain", "prune", "finetune", "adapt"]

CASES = [
    Case("T1", "touch the source data", touch_source),
    Case("T2", "touch an intermediate file", touch_intermediate),
    Case("T3", "change a parameter of the 2nd stage", change_parameter, ALL[1:]),
    Case("T4", "change it back", revert_parameter),
    Case("T5", "change a parameter without effect on the output", change_without_effect, ["prune"]),
    Case("T6", "put parameters in another order", reorder_keys),
    Case("T7", "exchange the values of two parameters", exchange_values, ALL[2:]),
    Case("T8", "edit comments and blank lines", edit_cosmetically),
    Case("T8b", "edit the code of the 2nd stage", edit_really, ALL[1:]),
    Case("T9", "delete an intermediate file", delete_intermediate),
    Case("T10", "tamper with an intermediate file", tamper, also=["prune"]),
    Case("T11", "a second pipeline with the same 1st stage", second_pipeline),
    Case("T12", "one branch fails", one_branch_fails, ALL, is_fresh=True),
    Case("T13", "kill -9 in the 3rd stage, run again", kill, ALL[2:], is_fresh=True),
    Case("T14", "two invocations at once", two_at_once, ALL, is_fresh=True),
]
