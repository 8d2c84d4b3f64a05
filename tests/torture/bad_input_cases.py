"""``bad_input.yaml`` as cases, and whether an answer is what a case demands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).with_name("bad_input.yaml")
DONE, MENDABLE, USAGE = 0, 1, 2
_MESSAGE = re.compile(r"^(?:[\w.]+(?: \w+)?: )?error: ", flags=re.MULTILINE)


@dataclass(frozen=True)
class Case:
    """A wrong input and the answer it must get.

    Attributes:
        id: unique, for reports.
        what: what is wrong, in words.
        command: as it would be typed; ``{config}`` and the like are paths of the checkout.
        says: parts of the one message: file, key, expected, found, remedy. Each is literal.
        spoil: what is done to the checkout before.
        code: exit code; 0 for an input that only looks wrong.
        leaves: beginnings of paths that may be new: whole artifacts of the stages before the error.
        makes: files that must be there afterwards.
        folder: name of the folder that the checkout stands in.
    """

    id: str
    what: str
    command: str
    says: Mapping[str, str] = field(default_factory=dict)
    spoil: list[Mapping[str, Any]] = field(default_factory=list)
    code: int = MENDABLE
    leaves: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    folder: str = "checkout"

    @property
    def program(self) -> str:
        """``run_expid.py``, ``loopfm extract`` and so on."""
        words = self.command.split()
        return " ".join(words[:2]) if words[0] == "loopfm" else words[0]


def load_cases() -> list[Case]:
    """Every case, in the order of the file."""
    cases = []
    for entry in yaml.safe_load(DATA.read_text(encoding="utf-8")):
        lists = {key: tuple(entry[key]) for key in ("leaves", "makes") if key in entry}
        cases.append(Case(**{**entry, **lists}))
    return cases


def complaints(case: Case, answer: Mapping[str, Any]) -> list[str]:
    """What is wrong with an answer; nothing if it is what the case demands."""
    error = answer["error"]
    wrong = []
    if answer["code"] != case.code:
        wrong.append(f"exit code: expected {case.code}, found {answer['code']}")
    if "Traceback" in error:
        wrong.append("a traceback")
    starts = list(_MESSAGE.finditer(error))
    if len(starts) != int(case.code != DONE):
        wrong.append(f"messages: expected {int(case.code != DONE)}, found {len(starts)}")
    message = " ".join(error[starts[0].start() :].split()) if starts else ""
    # argparse says first how the command is used.
    message = " ".join(error.split()) if case.code == USAGE else message
    wrong += [
        f"{part}: expected {text!r} in the message"
        for part, text in case.says.items()
        if text not in message
    ]
    if case.code != DONE:
        debris = [name for name in answer["changed"] if not name.startswith(case.leaves or ("\0",))]
        wrong += [f"left behind: {name}" for name in debris]
        wrong += [f"left behind: {n}" for n in answer["changed"] if ".loopfm-tmp-" in n]
    wrong += [f"not made: {name}" for name in case.makes if name not in answer["changed"]]
    return wrong
