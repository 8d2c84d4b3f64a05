"""Train every model of a FuxiCTR ``model_zoo``, unmodified, and print a table of what came out.

    python tests/zoo/run_fuxictr_zoo.py --zoo ../FuxiCTR/model_zoo --data PREPARED_FOLDER

Each model is trained twice, as ``base`` and as ``KD+LoopFM``, with one seed and the configuration
that ``loopfm benchmark`` writes for it. A model that cannot run says why in its row. Finished runs
are found again by their records.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.errors import LoopFMError
from fuxictr_loopfm.evidence.benchmark.benchmark import Benchmark, BenchmarkPlan
from fuxictr_loopfm.evidence.benchmark.runner import log_to_file
from fuxictr_loopfm.evidence.benchmark.teacher_config import TEACHER_MODEL
from fuxictr_loopfm.evidence.leaderboard.context import environment_text
from fuxictr_loopfm.evidence.methods import BASE
from fuxictr_loopfm.evidence.tables import markdown_table
from fuxictr_loopfm.files.atomic import write_text
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import RunRecord

MODELS = (
    *("DCNv2", "AutoInt", "FinalMLP", "FiBiNET", "WuKong", "MaskNet", "xDeepFM", "PNN", "NFM"),
    *("AFM", "DCN", "DLRM", "FinalNet", "GDCN", "EDCN", "DIN", "DIEN", "BST", "DMIN", "TransAct"),
    *("FwFM", "HOFM", "AFN", "EulerNet", "WideDeep", "LR", "FM", "FmFM", "DeepFM"),
)
METHODS = (BASE, "KD+LoopFM")
HEADINGS = ("Model", *(f"{method} AUC" for method in METHODS), "Remarks")
_TABLE = re.compile(r"(<!-- zoo table -->\n).*?(<!-- end -->)", flags=re.DOTALL)


@dataclass
class Trained:
    """What came of one model.

    Attributes:
        model: its class.
        records: by method, of the runs that finished.
        reason: why a run did not, in one line; empty if all did.
        explained: whether the reason is a message of the package and no traceback.
    """

    model: str
    records: dict[str, RunRecord] = field(default_factory=dict)
    reason: str = ""
    explained: bool = True

    def cells(self) -> list[str]:
        """The texts of its row under ``HEADINGS``."""
        found = [self.records.get(method) for method in METHODS]
        remarks = [f"{r.method}: {text}" for r in found if r is not None for text in r.warnings]
        if any(r is not None and r.config.get("loopfm_own_sequences") for r in found):
            remarks.append("reads the teacher's sequences")
        remarks += [self.reason] if self.reason else []
        aucs = ["-" if r is None else f"{r.metrics['AUC']:.4f}" for r in found]
        return [self.model, *aucs, "; ".join(remarks)]


def train_zoo(
    checkout: Checkout,
    prepared: PreparedDataset,
    zoo: Path,
    models: Sequence[str],
    out: Path,
    teacher: str = TEACHER_MODEL,
) -> list[Trained]:
    """Train each model with each method, one after another; a failure is kept as the reason."""
    found = []
    for model in models:
        row = Trained(model)
        for method in METHODS:
            plan = BenchmarkPlan(
                models=(model,),
                methods=(method,),
                seeds=1,
                out=out,
                zoo=zoo,
                gpu=-1,
                command="python tests/zoo/run_fuxictr_zoo.py --zoo <model_zoo> --data <prepared>",
                teacher=teacher,
            )
            try:
                (row.records[method],) = Benchmark(checkout, prepared, plan).run()
            except LoopFMError as error:
                row.reason = " ".join(str(error).split())
                break
            except Exception as error:
                logging.exception("%s, %s", model, method)
                row.reason, row.explained = f"{type(error).__name__}: {error}", False
                break
        found.append(row)
        print(" | ".join(row.cells()), flush=True)
    return found


def to_markdown(rows: Sequence[Trained]) -> str:
    """The table, and above it when, on what and with which code its numbers were made."""
    records = [record for row in rows for record in row.records.values()]
    finished = sum(len(row.records) == len(METHODS) for row in rows)
    lines = [f"{finished} of {len(rows)} models trained with {' and '.join(METHODS)}.", ""]
    if records:
        facts = {
            "Data set": [f"{r.dataset_id}, {r.split}" for r in records],
            "Runs started": [r.started[:10] for r in records],
            "Environment": [environment_text(r.environment) for r in records],
            "Seed": [str(r.seed) for r in records],
        }
        lines += [*_facts(facts), ""]
    body = [row.cells() for row in rows]
    return "\n".join([*lines, markdown_table(HEADINGS, body, {"Model", "Remarks"}), ""])


def _facts(facts: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"- {name}: {' / '.join(dict.fromkeys(values))}" for name, values in facts.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if every model trained with every method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, required=True, help="a FuxiCTR clone's model_zoo")
    parser.add_argument("--data", type=Path, required=True, help="a prepared data set")
    parser.add_argument("--models", nargs="+", default=MODELS, help="default: all 29")
    parser.add_argument("--out", type=Path, default=Path("runs/zoo"), help="default runs/zoo")
    parser.add_argument("--write", type=Path, help="document whose marked table is replaced")
    options = parser.parse_args(arguments)
    log_to_file(options.out / "zoo.log")
    try:
        prepared = PreparedDataset.load(options.data)
        rows = train_zoo(Checkout.find(), prepared, options.zoo, options.models, options.out)
    except LoopFMError as error:
        print(error, file=sys.stderr)
        return 1
    table = to_markdown(rows)
    print(f"\n{table}")
    if options.write is not None:
        text = options.write.read_text(encoding="utf-8")
        write_text(options.write, _TABLE.sub(lambda m: f"{m[1]}{table}{m[2]}", text))
    return int(any(row.reason for row in rows))


if __name__ == "__main__":
    sys.exit(main())
