"""The ``loopfm`` command line: a module for each command, under the command's name.

A command's module has ``SUMMARY`` and ``EXAMPLE`` for the help, ``add_options(parser)`` and
``run(options)``; :class:`fuxictr_loopfm.commands.registry.Command` says what each is.
"""
