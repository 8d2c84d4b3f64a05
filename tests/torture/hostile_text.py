"""Attacks by YAML and JSON: tags, bombs, names that are paths, texts that FuxiCTR evaluates."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import _custom_spec
import yaml

from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.folders import expids, read_yaml
from fuxictr_loopfm.config.zoo import find_model
from fuxictr_loopfm.evidence.benchmark.sweep import sweep
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import read_records
from tests.integration.planted import DEEPFM_ZOO, write_configs, write_log
from tests.torture.hostile_attack import Attack, offered

TAGS, BOMBS, NAMES, CODE = "yaml tags", "yaml and json bombs", "names that are paths", "code"

_PATHS = (
    *("../../evil", "/tmp/evil", "..", "a\0b", "-x"),
    *("a --gpu 0", "a\nb", "a\\b", "x" * 999),
)
_NAMES = (
    *('a"b', "a'b", "a[0]", "{a}", "a\nb", "*", "^.*$"),
    *("a.b", "a/b", "a(b)", "a;b", "a\0b"),
)


def attacks(folder: Path) -> Iterator[Attack]:
    """All attacks by text."""
    prepared = folder / "prepared"
    write_log(prepared)
    configs = write_configs(folder / "configs", folder, prepared)
    yield from _documents(folder, configs, prepared)
    yield from _sections(folder, configs)
    yield from _records(folder)


def _payloads(canary: Path) -> dict[str, str]:
    return {
        "apply os.system": f"!!python/object/apply:os.system ['touch {canary}']",
        "new subprocess": f"!!python/object/new:subprocess.Popen [[touch, {canary}]]",
        "object": "!!python/object:os.stat_result {}",
        "name": "!!python/name:os.system ''",
        "module": "!!python/module:os ''",
        "nested in a tuple": f"!!python/tuple [!!python/object/apply:os.system ['touch {canary}']]",
        "as a key": f"{{? !!python/object/apply:os.system ['touch {canary}'] : 1}}",
        "own tag": "!Danger {}",
    }


def _bombs() -> dict[str, str]:
    laughs = "a0: &a0 [lol, lol]\n"
    laughs += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    merges = "m0: &m0 {k: v}\n"
    merges += "".join(
        f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}\n" for i in range(1, 12)
    )
    chain = "c0: &c0 [x]\n" + "".join(f"c{i}: &c{i} [[[[*c{i - 1}]]]]\n" for i in range(1, 400))
    return {
        "billion laughs": laughs,
        "billion merges": merges,
        "deep flow lists": "deep: " + "[" * 100_000,
        "deep block lists": "deep:\n" + "- " * 5_000 + "x\n",
        "deep through aliases": chain,
        "one text ten thousand times": f"a: &a {'x' * 10_000}\nb: [{', '.join(['*a'] * 10_000)}]\n",
        "an alias inside itself": "a: &a [*a]\n",
        "a key twice": "a: 1\na: 2\n",
        "a key twice, deeper": "a: {b: {seed: 1, seed: 2}}\n",
        "a list as a key": "? [1, 2]\n: x\n",
        "an endless number": f"a: {'9' * 100_000}\n",
        "a 13th month": "a: 2024-13-01\n",
        "a wrong int": "a: !!int abc\n",
        "a wrong bool": "a: !!bool maybe\n",
        "five megabytes": "a: |\n" + " x\n" * 1_700_000,
        "two documents": "a: 1\n---\nb: 2\n",
        "NUL": "a: \0\n",
    }


def _documents(folder: Path, configs: Path, prepared: Path) -> Iterator[Attack]:
    """Every payload and bomb, offered as every kind of document."""
    places: dict[str, tuple[Path, Callable[[Path], object]]] = {
        "configuration": (folder / "any.yaml", read_yaml),
        "model_config": (folder / "c1" / "model_config.yaml", lambda p: expids(p.parent)),
        "dataset_config": (folder / "c2" / "dataset_config.yaml", lambda p: expids(p.parent)),
        "dataset.yaml": (folder / "p1" / "dataset.yaml", lambda p: PreparedDataset.load(p.parent)),
        "custom spec": (folder / "spec.yaml", _custom_spec.load_spec),
        "tuner": (folder / "tuner.yaml", lambda p: sweep(p, [-1], None, DEEPFM_ZOO)),
        "tuner's base": (folder / "c3" / "model_config.yaml", partial(_sweep_beside)),
    }
    for path, _ in places.values():
        path.parent.mkdir(exist_ok=True)
    for other in ("c1", "c2", "c3"):
        for name in ("model_config.yaml", "dataset_config.yaml"):
            (folder / other / name).write_text((configs / name).read_text())
    for where, (path, read) in places.items():
        start = path.read_text() if path.is_file() else ""
        canary = folder / "canary"
        for name, text in _payloads(canary).items():
            yield offered(TAGS, f"{name} in {where}", path, f"{start}\nevil: {text}\n", read)
        for name, text in _bombs().items():
            if where in ("configuration", "dataset.yaml", "custom spec"):
                yield offered(BOMBS, f"{name} in {where}", path, text, read)
        path.write_text(start)
    yield offered(
        BOMBS, "not UTF-8", folder / "latin.yaml", "a: é\n", read_yaml, encoding="latin-1"
    )
    merged = (
        "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [{<<: [*a, {z: 1}]}]\nt: !!python/tuple [1]\n"
    )
    path = folder / "merge.yaml"
    yield offered(BOMBS, "merge keys and tuples", path, merged, read_yaml, harmless=True)


def _sweep_beside(path: Path) -> object:
    tuner = path.parent / "t.yaml"
    tuner.write_text(yaml.safe_dump({"tuner_space": {"seed": [1]}, "base_expid": "base"}))
    return sweep(tuner, [-1], None, DEEPFM_ZOO)


def _sections(folder: Path, configs: Path) -> Iterator[Attack]:
    """Values inside of well-formed configurations."""
    models = yaml.safe_load((configs / "model_config.yaml").read_text())
    datasets = yaml.safe_load((configs / "dataset_config.yaml").read_text())

    def changed(name: str, kind: str, names: str, expid: str = "base", **params: Any) -> Attack:
        own = folder / f"s-{len(list(folder.glob('s-*')))}"
        own.mkdir()
        dataset_id = params.get("dataset_id", models["base"]["dataset_id"])
        columns = params.pop("columns", None)
        dataset = dict(datasets[models["base"]["dataset_id"]])
        if columns is not None:
            dataset["feature_cols"] = [*dataset["feature_cols"], columns]
        (own / "model_config.yaml").write_text(
            yaml.safe_dump({"Base": models["Base"], expid: {**models["base"], **params}})
        )
        (own / "dataset_config.yaml").write_text(yaml.safe_dump({dataset_id: dataset}))
        load = partial(Experiment.load, own, expid, base_dir=own, zoo=DEEPFM_ZOO)
        return Attack(kind, name, load, names)

    for bad in _PATHS:
        yield changed(f"expid {bad[:20]!r}", NAMES, "expid", expid=bad)
        yield changed(f"dataset_id {bad[:20]!r}", NAMES, "dataset_id", dataset_id=bad)
        yield Attack(NAMES, f"model {bad[:20]!r}", partial(find_model, bad, [DEEPFM_ZOO]), "model")
    touch = f"__import__('os').system('touch {folder / 'canary'}')"
    for key in ("embedding_initializer", "loss", "optimizer", "metrics"):
        yield changed(
            f"{key} runs code", CODE, key, **{key: [touch] if key == "metrics" else touch}
        )
    yield changed(
        "embedding_initializer in partial",
        CODE,
        "embedding_initializer",
        embedding_initializer=f"partial(nn.init.normal_, std={touch})",
    )
    column = {"name": "extra", "dtype": "str", "type": "categorical", "active": True}
    for encoder in (touch, f"layers.MaskedSumPooling({touch})", [f"nn.Linear(**{touch})"],
                    f"layers.get_initializer({touch!r})", "nn.modules.os.system('x')"):  # fmt: skip
        yield changed("feature_encoder", CODE, "feature_encoder", columns={**column, "feature_encoder": encoder})  # fmt: skip  # noqa: E501
    yield changed("dtype", CODE, "dtype", columns={**column, "dtype": touch})
    yield changed(
        "preprocess", CODE, "preprocess", columns={**column, "preprocess": "load_pickle(x)"}
    )
    for bad in _NAMES:
        yield changed(f"feature name {bad!r}", CODE, "a name of", columns={**column, "name": bad})
    # Our own keys are compared with lists of known values; nothing looks them up as code.
    for key in ("loopfm_encoder", "loopfm_codec", "loopfm_kd", "loopfm_history", "loopfm_delivery"):
        yield changed(f"{key} runs code", CODE, key, **{key: touch})


def _records(folder: Path) -> Iterator[Attack]:
    texts = {
        "deep lists": "[" * 200_000,
        "an endless number": '{"seed": ' + "9" * 100_000 + "}",
        "half a character": '{"expid": "\\ud800"}',
        "no mapping": "[]",
        "a header of nonsense": '{"schema": "loopfm.runs", "version": 1, "shared": {"a": 3}}\n{}',
    }
    for name, text in texts.items():
        for file in ("x-seed1.json", "all.jsonl"):
            path = folder / file
            yield offered(BOMBS, f"{name} as {file}", path, text, lambda p: read_records([p]))
    bad = {"schema": "loopfm.run", "version": 1, "expid": "../../evil"}
    path = folder / "y-seed1.json"
    yield offered(NAMES, "a record's expid", path, json.dumps(bad), lambda p: read_records([p]))
