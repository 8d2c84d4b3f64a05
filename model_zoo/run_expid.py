"""Run one expid of any model, ours or one of ``loopfm_model_zoo``.

Usage: python run_expid.py --config CONFIG_FOLDER --expid EXPID --gpu -1
Paths inside the configuration count from a folder below model_zoo/, as for a model's script.
"""

import sys

from fuxictr_loopfm.runs.run_expid import main

if __name__ == "__main__":
    main(__file__, sys.argv[1:])
