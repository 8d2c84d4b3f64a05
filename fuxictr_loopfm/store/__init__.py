"""On-disk artifacts in h5: the event store, its pointers and the extraction log.

The byte layout is normative in ``docs/store_format.md``.
"""
