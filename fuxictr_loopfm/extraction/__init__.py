"""Runs a teacher once over the log and keeps a logit and an embedding of every impression.

The first stage of the pipeline: ``tap`` says which activations are read, ``extractor`` runs the
pass, ``parts`` cuts it into what is logged at once.
"""
