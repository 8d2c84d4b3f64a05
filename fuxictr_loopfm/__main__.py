"""``python -m fuxictr_loopfm`` is the ``loopfm`` command."""

from fuxictr_loopfm.cli import main

main()
