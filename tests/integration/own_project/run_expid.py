import os

os.chdir(os.path.dirname(os.path.realpath(__file__)))

from fuxictr_loopfm import main  # noqa: E402

if __name__ == "__main__":
    main(__file__)
