"""Section "bad input": every case of ``bad_input.yaml``, and the page of the docs made of it.

``python -m tests.torture.bad_input --write`` writes ``docs/bad_input.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tests.torture.bad_input_cases import DONE, USAGE, Case, complaints, load_cases
from tests.torture.bad_input_trial import answers
from tests.torture.forked import be_a_fork_server
from tests.torture.section import Profile, Section

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "bad_input.md"
_PLACEHOLDERS = {
    "{config}": "CONFIG",
    "{plain}": "CONFIG",
    "{prepared}": "PREPARED",
    "{records}": "RECORDS",
    "{store}": "STORE",
    "{tuner}": "TUNER.yaml",
    "{spec}": "SPEC.yaml",
    "{out}": "OUT",
}
_HEAD = """# What is said to a wrong input

Made from `tests/torture/bad_input.yaml` by `python -m tests.torture.bad_input --write`; do not
edit. Each line is tried by `make torture`, every second one of each command by `make test`: the
exit code must be the one given, the one message must hold the parts in quotes, no traceback may be
shown, and no file may be new or changed (but locks and logs, and artifacts of earlier stages, which
are whole).

Exit codes: 0 done, 1 something to mend, 2 a wrong command line, 130 and 143 stopped. After a stop
the same command goes on.
"""
_TABLE = """| what is wrong | exit code | the message says | what to do |
| :-- | --: | :-- | :-- |"""


def torture(profile: Profile) -> Section:
    """Try the cases: all of them, or in the tests every second one of each command."""
    section = Section("Bad input")
    cases = load_cases()
    chosen = cases if profile.long else half(cases)
    be_a_fork_server()
    for case, answer in zip(chosen, answers(profile.folder, chosen), strict=True):
        section.count(case.program)
        section.survivors += [f"{case.id}: {text}" for text in complaints(case, answer)]
    if len(chosen) < len(cases):
        section.notes.append(f"{len(chosen)} of {len(cases)} cases, every second of each command")
    section.notes.append("what each case is answered: docs/bad_input.md")
    return section


def half(cases: Sequence[Case]) -> list[Case]:
    """The first, third, fifth ... case of each command."""
    seen: dict[str, int] = {}
    chosen = []
    for case in cases:
        number = seen[case.program] = seen.get(case.program, 0) + 1
        if number % 2:
            chosen.append(case)
    return chosen


def page(cases: Sequence[Case]) -> str:
    """The page of the docs: a table for each command."""
    parts = [_HEAD]
    for program in dict.fromkeys(case.program for case in cases):
        parts.append(f"\n## {program}\n\n{_TABLE}\n")
        parts += [_line(case) for case in cases if case.program == program]
    return "".join(parts)


def _line(case: Case) -> str:
    says = [f"“{text}”" for part, text in case.says.items() if part != "remedy"]
    if case.code == DONE:
        message, remedy = "nothing: it works", "nothing"
    else:
        message, remedy = " ... ".join(says), case.says["remedy"]
    what = f"{case.what}<br>`{_shown(case)}`"
    if case.code == USAGE:
        remedy = "see the usage that is shown above the message"
    cells = [what, str(case.code), message, remedy]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _shown(case: Case) -> str:
    text = case.command
    for placeholder, name in _PLACEHOLDERS.items():
        text = text.replace(placeholder, name)
    return text


def main() -> None:
    """Write the page, or fail if it is not what the cases give."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.bad_input", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/bad_input.md")
    text = page(load_cases())
    if parser.parse_args().write:
        PAGE.write_text(text, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{PAGE}: differs from what the cases give; run with --write")


if __name__ == "__main__":
    main()
