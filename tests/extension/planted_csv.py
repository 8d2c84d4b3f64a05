"""A preparation script: one file in ``data_prep/``, found by the next line but one."""

DATASET_ID = "Planted_s1"

import argparse  # noqa: E402
from pathlib import Path  # noqa: E402

import pandas as pd  # noqa: E402

from tests.integration.planted import write_log  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--data", type=Path, required=True)
options = parser.parse_args()
write_log(options.out, pd.read_csv(options.data / "log.csv", dtype={"hour": str}))
