"""The report of a torture: a table of sections, then a chapter for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fuxictr_loopfm.records.environment import collect_environment, utc_now
from tests.torture.section import Profile, Section


@dataclass(frozen=True)
class Result:
    """A section that ended, after that many minutes of wall time."""

    name: str
    section: Section
    minutes: float


def render(results: list[Result], minutes: float, *, short: bool) -> str:
    """The report as Markdown."""
    found = collect_environment()
    tried = sum(sum(result.section.tried.values()) for result in results)
    survivors = sum(len(result.section.survivors) for result in results)
    lines = [
        "# Torture",
        "",
        f"{utc_now()}, commit {found['git_commit']}, "
        f"{'the short' if short else 'the long'} profile, seed {Profile(Path()).seed}: "
        f"{tried:,} attempts in {len(results)} sections, "
        f"{minutes:.1f} minutes on {found['cores']} cores. **Survivors: {survivors or 'none'}.**",
        "",
        ", ".join(f"{name} {found[name]}" for name in ("python", "torch", "numpy", "fuxictr")),
        "",
        "| section | attempts | survivors | minutes |",
        "| :-- | --: | --: | --: |",
    ]
    for result in results:
        attempts = sum(result.section.tried.values())
        lines.append(
            f"| {result.section.title} | {attempts:,} | {len(result.section.survivors)} | "
            f"{result.minutes:.1f} |"
        )
    for result in results:
        lines += ["", *_chapter(result.section)]
    return "\n".join(lines) + "\n"


def _chapter(section: Section) -> list[str]:
    lines = [f"## {section.title}", ""]
    lines += [f"- {what}: {number:,}" for what, number in section.tried.items()]
    lines += [f"- {note}" for note in section.notes]
    lines += [f"- **survived:** {survivor}" for survivor in section.survivors]
    return lines
