"""The histories of an experiment: which features they are, their encoder, and their rows."""

from __future__ import annotations

from fuxictr_loopfm.compression.quantizer import codec_from_dict
from fuxictr_loopfm.config.early_checks import ALL_COLUMNS
from fuxictr_loopfm.config.keys import LoopFMKeys
from fuxictr_loopfm.config.names import split_names
from fuxictr_loopfm.data.column_rules import HISTORY_TYPE
from fuxictr_loopfm.data.current_source import CurrentSource
from fuxictr_loopfm.data.dataloader import BatchSource
from fuxictr_loopfm.data.history_source import HistorySource
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.host.shared_history import HistoryField
from fuxictr_loopfm.layers.base import EncoderSpec
from fuxictr_loopfm.layers.registry import ENCODERS
from fuxictr_loopfm.pipeline.history_workspace import HistoryWorkspace
from fuxictr_loopfm.store.event_store import EventStore

CURRENT_FEATURE = "loopfm_current"
ID_BYTES = 4
LABEL_BYTES = 1


class Histories:
    """The history fields of a run, and for each file of the view what fills them."""

    def __init__(self, workspace: HistoryWorkspace) -> None:
        self.workspace = workspace
        self._entities = history_features(workspace)
        self._stores = {name: workspace.store(each) for name, each in self._entities.items()}
        self.fields = [
            history_field(workspace, name, store.manifest.dim)
            for name, store in self._stores.items()
        ]
        self._current: CurrentSource | None = None
        values = workspace.current_values
        if values is not None:
            self._current = CurrentSource(values)
            self.fields.append(_current_field(workspace.keys, values.shape[1]))

    def sources(self, file: str) -> dict[str, BatchSource]:
        """Source of each history field for the samples of a file."""
        found: dict[str, BatchSource] = {
            name: history_source(self.workspace, field, self._stores[name], entity, file)
            for (name, entity), field in zip(self._entities.items(), self.fields, strict=False)
        }
        if self._current is not None:
            found[CURRENT_FEATURE] = self._current
        return found


def _current_field(keys: LoopFMKeys, embedding_dim: int) -> HistoryField:
    """The current impression's own vector: a history of one event, which the mean leaves as is."""
    return HistoryField(
        name=CURRENT_FEATURE,
        columns=("embedding",),
        embedding_dim=embedding_dim,
        id_columns=(),
        query_columns=(),
        encoder=EncoderSpec("mean", keys.encoder_dim, max_len=1),
    )


def history_features(workspace: HistoryWorkspace) -> dict[str, str]:
    """Name of each ``loopfm_sequence`` feature in use, and the column of its entity ids.

    Raises:
        ConfigError: ``loopfm_history`` is set and the data set has no such feature.
    """
    if not workspace.keys.columns:
        return {}
    default = workspace.keys.key or workspace.prepared.spec.user
    found = workspace.experiment.columns.history_entities(default)
    if not found:
        raise ConfigError(
            f"{workspace.params['model_id']}: loopfm_history={workspace.keys.history}: expected a "
            f"feature of type {HISTORY_TYPE} in feature_cols of "
            f"{workspace.params['dataset_id']}, found none. Add {{name: loopfm_history, "
            f"active: True, dtype: float, type: {HISTORY_TYPE}}}."
        )
    return found


def item_columns(workspace: HistoryWorkspace, named: str | None) -> tuple[str, ...]:
    """Columns named by a key, else the data set's item columns that this view has."""
    if named is not None and named != ALL_COLUMNS:
        return split_names(named)
    features = workspace.experiment.columns.names("categorical")
    if named == ALL_COLUMNS:
        return features
    return tuple(c for c in workspace.prepared.spec.item_columns if c in features)


def history_field(workspace: HistoryWorkspace, name: str, embedding_dim: int) -> HistoryField:
    """The model-side description of a history."""
    keys = workspace.keys
    return HistoryField(
        name=name,
        columns=keys.columns,
        embedding_dim=min(embedding_dim, keys.prefix_dim or embedding_dim),
        id_columns=item_columns(workspace, keys.id_columns) if "ids" in keys.columns else (),
        query_columns=item_columns(workspace, keys.query_columns) if keys.uses_query else (),
        encoder=keys.encoder_spec,
    )


def history_source(
    workspace: HistoryWorkspace,
    field: HistoryField,
    store: EventStore,
    entity: str,
    split: str,
    delivery: str | None = None,
) -> HistorySource:
    """What the loader gathers for a split; delivered as ``loopfm_delivery`` says if not named."""
    view = workspace.view
    return HistorySource(
        store,
        workspace.pointers(store, entity, split),
        codec=codec_from_dict(store.manifest.codec),
        columns=field.columns,
        spec=workspace.keys.sequence_spec(
            store.manifest.time_unit, workspace.prepared.spec.known_columns
        ),
        sample_time=workspace.prepared.timestamp[view.rows(split)],
        ids={name: view.column(name) for name in field.id_columns},
        first_event=view.rows(split).start,
        prefix_dim=workspace.keys.prefix_dim,
        delivery=delivery or workspace.keys.delivery,
        share=ENCODERS[field.encoder.kind].uses_query,
    )


def bytes_per_event(workspace: HistoryWorkspace) -> float:
    """Stored bytes that one past event adds to a history under this run's keys."""
    columns = workspace.keys.columns
    total = 0.0
    if "embedding" in columns:
        entity = next(iter(history_features(workspace).values()))
        total += workspace.store_manifest(entity).row_bytes
    if "ids" in columns:
        total += ID_BYTES * len(item_columns(workspace, workspace.keys.id_columns))
    return total + (LABEL_BYTES if "label" in columns else 0.0)
