"""The loopfm command line, one file per command."""
