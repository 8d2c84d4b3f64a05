"""Usage: python run_expid.py --config CONFIG_FOLDER --expid EXPID --gpu -1"""

import os
import sys

from fuxictr_loopfm.runs.run_expid import main

if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.realpath(__file__)))
    main(__file__, sys.argv[1:])
