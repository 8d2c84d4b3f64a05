"""``python -m fuxictr_loopfm`` is the ``loopfm`` command."""

from fuxictr_loopfm.commands.cli import main

main()
