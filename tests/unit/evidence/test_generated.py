"""Generated configurations: written anew while nobody edited them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fuxictr_loopfm.evidence.benchmark.generated import generate


def _writing(**texts: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name, text in texts.items():
            (folder / f"{name}.yaml").write_text(text)

    return write


def _texts(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.yaml"))}


def test_what_nobody_edited_is_written_anew(tmp_path: Path) -> None:
    generate(tmp_path / "configs", _writing(model="lr: 1", data="a"))
    generate(tmp_path / "configs", _writing(model="lr: 2", data="a"))
    assert _texts(tmp_path / "configs") == {"model": "lr: 2", "data": "a"}


def test_an_edited_file_stays_and_the_others_do_not_mind(tmp_path: Path) -> None:
    folder = tmp_path / "configs"
    generate(folder, _writing(model="lr: 1", data="a"))
    (folder / "model.yaml").write_text("lr: mine")
    for text in ("b", "c"):
        generate(folder, _writing(model="lr: 2", data=text))
        assert _texts(folder) == {"model": "lr: mine", "data": text}
    (folder / "model.yaml").unlink()
    generate(folder, _writing(model="lr: 2", data="c"))
    assert _texts(folder)["model"] == "lr: 2"


def test_files_of_an_earlier_release_count_as_edited_unless_they_are_the_same(
    tmp_path: Path,
) -> None:
    (tmp_path / "model.yaml").write_text("lr: 1")
    (tmp_path / "data.yaml").write_text("a")
    generate(tmp_path, _writing(model="lr: 2", data="a"))
    assert _texts(tmp_path) == {"model": "lr: 1", "data": "a"}
    generate(tmp_path, _writing(model="lr: 2", data="b"))
    assert _texts(tmp_path) == {"model": "lr: 1", "data": "b"}
