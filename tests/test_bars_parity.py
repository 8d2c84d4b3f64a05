"""Parameter counts of the 21 committed BARS configurations, built at the size of the BARS logs.

How BARS counts, wherever it is not plain: a table counts once however many fields share it; the
first-order terms of FM, FmFM and DeepFM share nothing and ignore pretrained tables, so each field
has a column of its own there; frozen tables do not count. FM on KuaiVideo, by hand:

    10,002 x 64 + 632,406 x 64         user_id; item_id with pos_items and neg_items   41,114,112
    3 x 64 x 64                        encoders of the three visual fields                 12,288
    10,002 + 3 x 632,406               first order, ids                                 1,907,220
    3 x 3,242,317                      first order, visual fields                       9,726,951
    1                                  bias                                                     1
                                       (item_emb, 3,242,317 x 64, is frozen)           52,760,572
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("fuxictr")
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers.embeddings.pretrained_embedding import PretrainedEmbedding
from fuxictr.pytorch.models import BaseModel

from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.config.folders import expids
from fuxictr_loopfm.config.zoo import load_model_class
from fuxictr_loopfm.data.columns import ColumnPlan
from fuxictr_loopfm.host.model import count_parameters

ROOT = Path(__file__).resolve().parents[1]
ZOO = ROOT / "model_zoo"

# Vocabularies of the BARS logs, padding and unknown included.
VOCABULARIES: dict[str, dict[str, int]] = {
    "TaobaoAd_x1": {
        "userid": 403_958, "cms_segid": 99, "cms_group_id": 15, "final_gender_code": 4,
        "age_level": 9, "pvalue_level": 6, "shopping_level": 5, "occupation": 4,
        "new_user_class_level": 7, "adgroup_id": 246_851, "cate_id": 11_330,
        "campaign_id": 191_771, "customer": 132_136, "brand": 308_870, "pid": 4, "btag": 6,
    },
    "KuaiVideo_x1": {"user_id": 10_002, "item_id": 632_406, "item_emb": 3_242_317},
    "AmazonElectronics_x1": {"item_id": 63_003, "cate_id": 803},
}  # fmt: skip
PARAMETERS = {
    "TaobaoAd_x1": {
        "FM": ("FM_taobaoad_x1_009_a28e6634", 43_057_715),
        "FmFM": ("FmFM_taobaoad_x1_012_d3d0ca94", 43_063_795),
        "DeepFM": ("DeepFM_taobaoad_x1_009_afab5940", 43_550_260),
        "DIN": ("DIN_taobaoad_x1_012_13c23a36", 42_263_682),
        "DIEN": ("DIEN_taobaoad_x1_019_5d9b3874", 42_376_194),
        # With (11,330 + 308,870 + 6) x 32 = 10,246,592 weights of output tables nobody reads.
        "DMR": ("DMR_taobaoad_x1_014_62a4965f", 52_528_930),
        "DMIN": ("DMIN_taobaoad_x1_011_0be611e8", 42_347_786),
    },
    "KuaiVideo_x1": {
        "FM": ("FM_kuaivideo_x1_012_35007647", 52_760_572),
        "FmFM": ("FmFM_kuaivideo_x1_007_a04f176e", 52_846_588),
        "DeepFM": ("DeepFM_kuaivideo_x1_003_a7784cdb", 53_876_733),
        "DIN": ("DIN_kuaivideo_x1_013_fc4bf206", 43_032_835),
        "DIEN": ("DIEN_kuaivideo_x1_009_657021a9", 43_034_627),
        # With (632,406 + 3,242,317) x 64 = 247,982,272 weights of output tables nobody reads.
        "DMR": ("DMR_kuaivideo_x1_003_e9fb63c2", 291_051_779),
        "DMIN": ("DMIN_kuaivideo_x1_020_d155f57e", 44_479_237),
    },
    "AmazonElectronics_x1": {
        "FM": ("FM_amazonelectronics_x1_009_a87f4871", 4_211_197),
        "FmFM": ("FmFM_amazonelectronics_x1_011_eb015129", 4_235_773),
        "DeepFM": ("DeepFM_amazonelectronics_x1_014_68eadb7e", 5_134_334),
        "DIN": ("DIN_amazonelectronics_x1_015_8539c013", 5_403_522),
        "DIEN": ("DIEN_amazonelectronics_x1_022_a22ee885", 5_369_602),
        "DMR": ("DMR_amazonelectronics_x1_002_bc859be0", 9_918_147),
        "DMIN": ("DMIN_amazonelectronics_x1_007_2401549e", 8_107_401),
    },
}  # fmt: skip
# Read by FuxiCTR's base model, feature map, loaders and training loop, or by the plugin itself.
HOST_KEYS = {
    "model", "dataset_id", "model_root", "data_root", "train_data", "valid_data", "test_data",
    "num_workers", "verbose", "debug_mode", "group_id", "use_features", "feature_specs", "loss",
    "metrics", "optimizer", "batch_size", "epochs", "shuffle", "seed",
}  # fmt: skip
ENTRIES = [
    pytest.param(dataset, model, expid, count, id=f"{model}-{dataset}")
    for dataset, models in PARAMETERS.items()
    for model, (expid, count) in models.items()
]


def folder_of(dataset: str, model: str) -> Path:
    return ROOT / "benchmark_configs" / dataset / f"{model}_{dataset}"


def load(dataset: str, model: str, expid: str, **overrides: Any) -> Experiment:
    folder = folder_of(dataset, model)
    return Experiment.load(folder, expid, base_dir=ZOO / model, zoo=ZOO, overrides=overrides)


def fitted_feature_map(dataset: str, params: dict[str, Any]) -> FeatureMap:
    """What FuxiCTR's processor leaves behind once it has seen the whole log."""
    vocabulary = VOCABULARIES[dataset]
    features: OrderedDict[str, dict[str, Any]] = OrderedDict()
    for column in ColumnPlan.from_params(params).encoded:
        name, kind = column["name"], column["type"]
        spec = {"source": "", "type": kind}
        if kind in ("categorical", "sequence"):
            size = vocabulary[column.get("share_embedding", name)]
            spec |= {"vocab_size": size, "padding_idx": 0, "oov_idx": size - 1}
        if kind == "sequence":
            spec |= {
                "max_len": column["max_len"],
                "feature_encoder": "layers.MaskedAveragePooling()",
            }
        if "pretrained_emb" in column:
            spec |= {"freeze_emb": column.get("freeze_emb", True)}
        copied = ("embedding_dim", "feature_encoder", "share_embedding", "pretrained_emb")
        features[name] = spec | {key: column[key] for key in copied if key in column}
    result = FeatureMap(params["dataset_id"], "./")
    result.features, result.labels = features, [params["label_col"]["name"]]
    result.default_emb_dim = params["embedding_dim"]
    result.update_feature_specs(params["feature_specs"] or [])
    result.num_fields = result.get_num_fields()
    return result


@pytest.fixture(autouse=True)
def no_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Weights have shapes only; the visual table is as the published file would make it."""

    def table(_self: Any, size: int, dim: int, *_paths: Any, freeze: bool, **_: Any) -> nn.Module:
        made = nn.Embedding(size, dim)
        made.weight.requires_grad_(not freeze)
        return made

    monkeypatch.setattr(PretrainedEmbedding, "load_pretrained_embedding", table)
    monkeypatch.setattr(BaseModel, "model_to_device", lambda self: None)
    with torch.device("meta"):
        yield


def build(dataset: str, experiment: Experiment) -> BaseModel:
    params = experiment.params
    model_class, _ = load_model_class(params["model"], [ZOO])
    return model_class(fitted_feature_map(dataset, params), **params)


@pytest.mark.parametrize(("dataset", "model", "expid", "count"), ENTRIES)
def test_count_equals_the_bars_log(dataset: str, model: str, expid: str, count: int) -> None:
    assert count_parameters(build(dataset, load(dataset, model, expid))) == count


@pytest.mark.parametrize(
    ("dataset", "unread"), [("TaobaoAd_x1", 10_246_592), ("KuaiVideo_x1", 247_982_272)]
)
def test_dmr_without_tables_nobody_reads(dataset: str, unread: int) -> None:
    expid, count = PARAMETERS[dataset]["DMR"]
    experiment = load(dataset, "DMR", expid, legacy_output_tables=False)
    assert count_parameters(build(dataset, experiment)) == count - unread


@pytest.mark.parametrize(("dataset", "model", "expid", "count"), ENTRIES)
def test_configuration_holds_one_expid_and_its_header_the_bars_facts(
    dataset: str, model: str, expid: str, count: int
) -> None:
    folder = folder_of(dataset, model)
    assert expids(folder) == [expid]
    header = (folder / "model_config.yaml").read_text(encoding="utf-8").split("\nBase:")[0]
    command = f"--config ../../benchmark_configs/{dataset}/{folder.name} --expid {expid} "
    assert command in header
    assert f"with {count:,} parameters" in header
    assert "BARS validates on the test file" in header
    params = load(dataset, model, expid).params
    assert params["valid_data"] == params["test_data"]


@pytest.mark.parametrize(("dataset", "model", "expid", "count"), ENTRIES)
def test_no_key_is_swallowed(dataset: str, model: str, expid: str, count: int) -> None:
    """FuxiCTR's models take unknown keywords without a word, so a misspelt one would be lost."""
    params = load(dataset, model, expid).params
    model_class, _ = load_model_class(model, [ZOO])
    known = {name for c in (model_class, BaseModel) for name in inspect.signature(c).parameters}
    description = {"data_format", "feature_cols", "label_col", "min_categr_count"}
    assert set(params) - known - HOST_KEYS - description == set()


def test_every_committed_bars_configuration_is_counted() -> None:
    configured = {
        p.parent.relative_to(ROOT / "benchmark_configs").as_posix()
        for p in (ROOT / "benchmark_configs").glob("*_x1/*/model_config.yaml")
    }
    counted = {f"{d}/{m}_{d}" for d, models in PARAMETERS.items() for m in models}
    assert configured == counted
    assert len(counted) == 21
