"""The file of a compressor: tensors, and a header that says what they are of."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fuxictr_loopfm.errors import ProvenanceError
from fuxictr_loopfm.files.atomic import atomic_path
from fuxictr_loopfm.files.description import Format


def write_weights(
    path: Path | str,
    schema: str,
    version: int,
    spec: Mapping[str, Any],
    state: Mapping[str, Tensor],
) -> None:
    """Write a compressor, atomically; equal contents give equal bytes.

    Args:
        path: of the file.
        schema, version: what ``read_weights`` will ask for.
        spec: all but the tensors: numbers, texts, and tuples, lists and dicts of them.
        state: the tensors by name.
    """
    buffer = io.BytesIO()
    on_cpu = {name: tensor.cpu() for name, tensor in state.items()}
    # Through a buffer: torch writes the file's own name, a temporary one, into the archive.
    torch.save({"schema": schema, "version": version, "spec": dict(spec), "state": on_cpu}, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def read_weights(path: Path | str, schema: str, version: int) -> dict[str, Any]:
    """``spec`` and ``state`` of a file that ``write_weights`` wrote; no code in it is run.

    Raises:
        ProvenanceError: the file is missing, damaged, or of another schema or version.
    """
    path = Path(path)
    if not path.is_file():
        raise ProvenanceError(f"{path}: no such file; train the compressor first")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for damaged files
        raise ProvenanceError(
            f"{path}: expected a saved compressor, found a damaged or foreign file ({error}); "
            "train the compressor again"
        ) from error
    rebuild = "Delete the teacher's folder to train the compressor again."
    Format(schema, version, ProvenanceError, rebuild).check(content, str(path))
    return dict(content)
