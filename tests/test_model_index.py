"""model-index.yml and the metafiles: OpenMMLab's schema, and what they claim beside what is counted."""

from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
METAFILES = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
ENTRIES = [entry for file in METAFILES for entry in yaml.safe_load((ROOT / file).read_text())['Models']]

# Tables 2, 3 and 11 of the paper
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
    'yolox_affnet-base_8xb8-300e_coco': 35.9, 'efficientdet-d1_affnet-base_8xb16-300e_coco': 41.6,
    'semantic-fpn_affnet-base_8xb4-40k_ade20k-512x512': 43.2,
    'deeplabv3plus_affnet-base_8xb2-120e_ade20k-512x512': 41.5,
}
TABLE_11 = {'yolox', 'efficientdet', 'semantic_fpn', 'deeplabv3plus'}   # folders
# Sizes of AFFNet for which Table 11 prints no figure.
UNPRINTED = {
    'yolox_affnet-et_8xb8-300e_coco', 'yolox_affnet-t_8xb8-300e_coco', 'efficientdet-d1_affnet-t_8xb16-300e_coco',
    'semantic-fpn_affnet-t_8xb4-40k_ade20k-512x512', 'deeplabv3plus_affnet-t_8xb2-120e_ade20k-512x512'}
# Frameworks that the paper does not have; their pictures have no size, or their heads no count.
EXAMPLES = {
    'retinanet_affnet-t_fpn_8xb2-1x_coco', 'fcos_affnet-t_fpn_8xb2-1x_coco', 'mask-rcnn_affnet-t_fpn_8xb2-1x_coco',
    'upernet_affnet-t_8xb2-160k_ade20k-512x512'}


def test_schema():
    load = pytest.importorskip('modelindex.load_model_index').load
    index = load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert index.check(silent=True) == []
    assert sorted(model.name for model in index.models) == sorted([*PRINTED, *UNPRINTED, *EXAMPLES])
    assert len(index.models) == len(ENTRIES)
    assert {model.in_collection for model in index.models} == {collection.name for collection in index.collections}


def test_every_metafile_is_imported():
    there = {path.relative_to(ROOT).as_posix() for path in ROOT.glob('configs/*/metafile.yml')}
    assert len(METAFILES) == len(there) and set(METAFILES) == there


@pytest.mark.parametrize('entry', ENTRIES, ids=[entry['Name'] for entry in ENTRIES])
def test_entry_agrees_with_its_config(entry):
    cfg = Config.fromfile(ROOT / entry['Config'])
    assert Path(entry['Config']).stem == entry['Name']
    said = entry['Metadata']
    for key, length in (('Epochs', 'max_epochs'), ('Iterations', 'max_iters')):
        assert said.get(key) == cfg.train_cfg.get(length), key
    assert ('Epochs' in said) != ('Iterations' in said)
    assert said['Batch Size'] == cfg.auto_scale_lr.base_batch_size == 8 * cfg.train_dataloader.batch_size
    assert 'Weights' not in entry
    if entry['Name'] not in PRINTED:
        assert 'Results' not in entry, 'nobody printed or measured one'
        return
    result, = entry['Results']
    assert 'figure of the paper' in result['Dataset']
    assert ('our reading' in result['Dataset']) == (Path(entry['Config']).parts[1] in TABLE_11)
    assert list(result['Metrics'].values()) == [PRINTED[entry['Name']]]


@pytest.mark.parametrize('entry', ENTRIES, ids=[entry['Name'] for entry in ENTRIES])
def test_entry_has_the_counted_figures(entry):
    pytest.importorskip(Config.fromfile(ROOT / entry['Config']).default_scope)
    from mmaffnet.analysis.counting import count_parameters
    from mmaffnet.analysis.models import build, count_config, read_config
    said = entry['Metadata']
    if entry['Name'] in EXAMPLES:
        assert 'FLOPs' not in said
        assert said['Parameters'] == count_parameters(build(*read_config(ROOT / entry['Config'])))
        return
    found = count_config(ROOT / entry['Config'], counter='mmengine')
    assert (said['Parameters'], said['FLOPs']) == (found.parameters, found.multiply_adds)


def test_every_config_of_a_size_of_affnet_is_in_the_index():
    there = {path.stem for file in METAFILES for path in (ROOT / file).parent.glob('*affnet-*.py')}
    # another data set, and weights of somebody else
    others = {name for name in there if name.endswith('_shapes') or '_3rdparty_' in name}
    assert {entry['Name'] for entry in ENTRIES} == there - others
