"""model-index.yml and the metafiles: OpenMMLab's schema, and what they claim beside what is counted."""

from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
METAFILES = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
ENTRIES = [entry for file in METAFILES for entry in yaml.safe_load((ROOT / file).read_text())['Models']]

# Tables 2 and 3 of the paper
PRINTED = {
    'affnet-et_8xb128-300e_in1k-256px': 73.0, 'affnet-t_8xb128-300e_in1k-256px': 77.0,
    'affnet-base_8xb128-300e_in1k-256px': 79.8,
    'ssdlite_affnet-et_8xb16-200e_coco': 21.8, 'ssdlite_affnet-t_8xb16-200e_coco': 25.3,
    'ssdlite_affnet-base_8xb16-200e_coco': 28.4,
    'deeplabv3_affnet-et_8xb2-120e_ade20k-512x512': 33.0, 'deeplabv3_affnet-t_8xb2-120e_ade20k-512x512': 36.9,
    'deeplabv3_affnet-base_8xb2-120e_ade20k-512x512': 38.4,
    'deeplabv3_affnet-et_8xb16-50e_voc12aug-coco-512x512': 76.1,
    'deeplabv3_affnet-t_8xb16-50e_voc12aug-coco-512x512': 77.8,
    'deeplabv3_affnet-base_8xb16-50e_voc12aug-coco-512x512': 80.5,
}


def test_schema():
    load = pytest.importorskip('modelindex.load_model_index').load
    index = load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert index.check(silent=True) == []
    assert len(index.models) == len(ENTRIES) == len(PRINTED)
    assert {model.in_collection for model in index.models} == {collection.name for collection in index.collections}


def test_every_metafile_is_imported():
    there = {path.relative_to(ROOT).as_posix() for path in ROOT.glob('configs/*/metafile.yml')}
    assert len(METAFILES) == len(there) and set(METAFILES) == there


@pytest.mark.parametrize('entry', ENTRIES, ids=[entry['Name'] for entry in ENTRIES])
def test_entry_agrees_with_its_config(entry):
    cfg = Config.fromfile(ROOT / entry['Config'])
    assert Path(entry['Config']).stem == entry['Name']
    said = entry['Metadata']
    assert said['Epochs'] == cfg.train_cfg.max_epochs
    assert said['Batch Size'] == cfg.auto_scale_lr.base_batch_size == 8 * cfg.train_dataloader.batch_size
    result, = entry['Results']
    assert 'figure of the paper' in result['Dataset'] and 'Weights' not in entry
    assert list(result['Metrics'].values()) == [PRINTED[entry['Name']]]


@pytest.mark.parametrize('entry', ENTRIES, ids=[entry['Name'] for entry in ENTRIES])
def test_entry_has_the_counted_figures(entry):
    pytest.importorskip(Config.fromfile(ROOT / entry['Config']).default_scope)
    from mmaffnet.analysis.models import count_config
    found = count_config(ROOT / entry['Config'], counter='mmengine')
    said = entry['Metadata']
    assert (said['Parameters'], said['FLOPs']) == (found.parameters, found.multiply_adds)
