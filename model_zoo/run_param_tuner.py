"""Sweep a FuxiCTR tuner file; artifacts that the points share are built once.

Usage: python model_zoo/run_param_tuner.py --config TUNER.yaml --gpu -1 -1
"""

import argparse
from pathlib import Path

from fuxictr_loopfm.config.paths import user_path
from fuxictr_loopfm.evidence.benchmark.sweep import sweep
from fuxictr_loopfm.exits import one_message


def main() -> None:
    """Parse FuxiCTR's tuner options and run the sweep."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.splitlines()[2]
    )
    parser.add_argument("--config", type=user_path, required=True, help="tuner YAML or its folder")
    parser.add_argument("--tag", default=None, help="run only expids that contain this text")
    parser.add_argument(
        "--gpu", nargs="+", type=int, default=[-1], help="one process per entry; -1 is the CPU"
    )
    parser.add_argument(
        "--dev",
        action="store_true",
        help="leave the test period out and test on the last training period: for choosing "
        "hyper-parameters",
    )
    with one_message():
        options = parser.parse_args()
        zoo = Path(__file__).resolve().parent
        sweep(options.config, options.gpu, options.tag, zoo, dev=options.dev)


if __name__ == "__main__":
    main()
