"""Usage: python run_expid.py --config CONFIG_FOLDER --expid EXPID --gpu -1"""

import sys

from fuxictr_loopfm.runs.run_expid import main

if __name__ == "__main__":
    main(__file__, sys.argv[1:])
