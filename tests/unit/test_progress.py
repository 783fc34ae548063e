"""Progress: plain lines in a log, a live display on a terminal, and a whole screen however the run ends."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from cirn_dist.display.progress import Progress, place
from cirn_dist.errors import Stopped

STAGES = [("source", "Source only"), ("cir", "CIR"), ("adapt", "CIR + ASS")]
SHOW, HIDE = "\x1b[?25h", "\x1b[?25l"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def console(terminal: bool, width: int = 100) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=width, height=30, _environ={"TERM": "xterm"}), file


def run_until(error: type[BaseException], out: Console, inside_a_stage: bool = True) -> None:
    with Progress(STAGES, console=out) as progress:
        progress.start("cir", 10)
        if not inside_a_stage:
            progress.finish("cir")
        raise error


def test_a_log_gets_plain_lines() -> None:
    (out, file), clock = console(terminal=False), Clock()
    with Progress(STAGES, console=out, clock=clock) as progress:
        progress.finish("source", note="mIoU 28.0")
        progress.start("cir", 1000, done=200)
        for iteration in range(210, 1001, 10):
            clock.now += 0.5
            progress.update(iteration, {"seg": 0.25}, 20.0)
        progress.finish("cir", note="mIoU 35.3 [best]")
    assert file.getvalue().splitlines() == [
        "[0:00] Source only: done before, mIoU 28.0",
        "[0:00] CIR: started, 1,000 iterations, 200 done",
        "[0:10] CIR: 400/1,000 (40%)  20.0 images/s   ETA 0:30  seg 0.25",
        "[0:20] CIR: 600/1,000 (60%)  20.0 images/s   ETA 0:20  seg 0.25",
        "[0:30] CIR: 800/1,000 (80%)  20.0 images/s   ETA 0:10  seg 0.25",
        "[0:40] CIR: 1,000/1,000 (100%)  20.0 images/s   ETA 0:00  seg 0.25",
        "[0:40] CIR: done in 0:40, mIoU 35.3 [best]",
    ]


def test_iterations_count_images_and_steps_stand_beside_them() -> None:
    (out, file), clock = console(terminal=False), Clock()
    with Progress(STAGES, console=out, clock=clock) as progress:
        progress.start("cir", 150, per_step=4)
        clock.now = 10
        progress.update(76, {}, 7.6)
    assert file.getvalue().splitlines() == [
        "[0:00] CIR: started, 150 iterations (38 steps of 4 images)",
        "[0:10] CIR: 76/150 (51%, step 19)  7.6 images/s   ETA 0:10",
    ]
    (out, file), clock = console(terminal=True), Clock()
    with Progress(STAGES, console=out, clock=clock) as progress:
        progress.start("cir", 12000, per_step=4)
        progress.update(3000, {}, 99.5)
        out.print(progress._display())
    assert "3,000 / 12,000 (step 750)" in re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    assert [place(152, 4), place(152, 1)] == ["iteration 152 (step 38)", "iteration 152"]


def test_a_log_line_is_never_wrapped() -> None:
    (out, file), clock = console(terminal=False, width=40), Clock()
    with Progress(STAGES, console=out, clock=clock) as progress:
        progress.start("adapt", 100)
        clock.now = 11
        progress.update(10, {f"loss_{i}": 0.5 for i in range(9)}, 1.0)
    assert len(file.getvalue().splitlines()) == 2


def test_standard_output_that_is_no_terminal_stays_plain(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Progress(STAGES) as progress:
        progress.start("cir", 10)
        progress.print("[bold]table[/bold]")
        progress.finish("cir")
    text = capsys.readouterr().out
    assert "table" in text
    assert all(character.isprintable() or character == "\n" for character in text)


def test_quiet_shows_nothing() -> None:
    for terminal in (True, False):
        out, file = console(terminal)
        with Progress(STAGES, quiet=True, console=out) as progress:
            progress.start("cir", 10)
            progress.update(5, {"seg": 1.0}, 1.0)
            progress.print("table")
            progress.finish("cir")
        assert file.getvalue() == ""


def test_the_display_shows_stages_pace_and_losses() -> None:
    (out, file), clock = console(terminal=True), Clock()
    with Progress(STAGES, console=out, clock=clock) as progress:
        progress.finish("source", note="mIoU 28.0")
        progress.start("cir", 12000)
        clock.now = 30
        progress.update(3000, {"seg": 0.25, "adv": float("nan")}, 99.5)
        out.print(progress._display())
    text = file.getvalue()
    for piece in ("✓", "mIoU 28.0", "3,000 / 12,000", "99.5 images/s", "ETA 1:30", "0.2500", "nan", "CIR + ASS"):
        assert piece in text


@pytest.mark.parametrize(("error", "mark"), [(KeyboardInterrupt, "■"), (RuntimeError, "✗")])
def test_the_screen_is_whole_however_it_ends(error: type[BaseException], mark: str) -> None:
    out, file = console(terminal=True)
    with pytest.raises(error):
        run_until(error, out)
    text = file.getvalue()
    assert text.rindex(SHOW) > text.rindex(HIDE)
    assert mark in text
    assert text.removesuffix(SHOW).endswith("\n")


def test_a_stop_is_announced_and_is_no_failure() -> None:
    (out, file), said = console(terminal=True), [""]

    def run() -> None:
        with Progress(STAGES, console=out, notice=lambda: said[0]) as progress:
            progress.start("cir", 10)
            out.print(progress._display())
            assert "stops soon" not in file.getvalue()
            said[0] = "SIGTERM: it stops soon"
            out.print(progress._display())
            raise Stopped("stopped and saved", "cir", "SIGTERM")

    with pytest.raises(Stopped):
        run()
    assert "stops soon" in file.getvalue()
    assert "■" in file.getvalue()
    assert "✗" not in file.getvalue()


def test_a_failure_between_stages_marks_none() -> None:
    out, file = console(terminal=True)
    with pytest.raises(RuntimeError):
        run_until(RuntimeError, out, inside_a_stage=False)
    assert "✗" not in file.getvalue()


def test_a_terminal_that_cannot_move_its_cursor_gets_lines() -> None:
    file = io.StringIO()
    out = Console(file=file, force_terminal=True, _environ={"TERM": "dumb"})
    with Progress(STAGES, console=out) as progress:
        progress.start("cir", 10)
    assert "CIR: started" in file.getvalue()
    assert HIDE not in file.getvalue()
