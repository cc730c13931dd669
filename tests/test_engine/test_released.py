"""The converter as a command: every reference file through it, its provenance, and what it refuses."""

import copy
import hashlib
import json
import os
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope

from mmaffnet.engine.errors import UserError
from mmaffnet.engine.released import convert_file, read_source
from mmaffnet.version import __version__

NORMS = {'layer_norm_2d': 'gn', 'layer_norm': 'channel'}
ACTS = {'swish': 'silu', 'relu': 'relu'}
ACT_CFGS = {'swish': dict(type='SiLU'), 'relu': dict(type='ReLU')}


def printed_config(text, folder):
    """The config that the command printed, as a user saves it."""
    path = folder / 'printed.py'
    path.write_text(text[text.index('_base_ = '):])
    return Config.fromfile(path)


def build(cfg, checkpoint):
    scope = cfg.default_scope
    pytest.importorskip(scope)
    init_default_scope(scope)
    if scope == 'mmpretrain':
        from mmpretrain.registry import MODELS
    elif scope == 'mmdet':
        from mmdet.registry import MODELS
    else:
        from mmseg.registry import MODELS
    model = revert_sync_batchnorm(MODELS.build(copy.deepcopy(cfg.model))).eval()   # hosts change lists in place
    model.load_state_dict(torch.load(checkpoint, weights_only=True)['state_dict'], strict=True)
    return model


def close(case, got):
    assert set(got) == set(case['outputs']) - {'anchors'}   # which no weight touches
    for key in got:
        want = case['outputs'][key]
        steps = case['steps'][key]
        value = got[key] if steps is None else got[key][tuple(slice(None, None, step) for step in steps)]
        torch.testing.assert_close(value, want, rtol=case['rtol'], atol=case['atol'][key])


def by_choice(cases):
    """Cases by what the user chooses (norm, activation); the second where both activations of the release agree."""
    groups = {}
    for case in cases:
        options = case['options']
        act = options.get('activation', options.get('encoder_activation'))
        groups.setdefault((options['attn_norm_layer'], act), []).append(case)
    return groups


@pytest.fixture
def convert(tmp_path, capsys):
    """convert(state, norm, act) -> (config that was printed, file): through the command's function."""
    def run(state, norm='layer_norm_2d', act='swish'):
        torch.save(state, tmp_path / 'source.pt')
        capsys.readouterr()
        convert_file(tmp_path / 'source.pt', tmp_path / 'out.pth', NORMS[norm], ACTS[act])
        return printed_config(capsys.readouterr().out, tmp_path), tmp_path / 'out.pth'

    return run


@pytest.mark.slow
@pytest.mark.parametrize('name', ['et', 't', 'base'])
def test_classifiers_of_the_reference(name, convert, reference, reference_weights):
    data = reference(f'cls_{name}.pt')
    state = reference_weights.state_dict(data['spec'])
    done = 0
    for (norm, act), cases in by_choice(data['cases']).items():
        cfg, file = convert(state, norm, act)
        assert cfg.model.backbone.arch == name and cfg.model.backbone.variant == 'release'
        for case in cases:
            options = case['options']
            if options['variant'] == 'paper':   # what no release has: cases of edited code
                cfg.model.backbone.variant = 'paper'
            cfg.model.backbone.token_mixer.act_cfg = ACT_CFGS[options['filter_activation']]
            model = build(cfg, file)
            cfg.model.backbone.variant = 'release'
            x = reference_weights.image(case['input']['shape'], case['input']['seed'])
            with torch.no_grad():
                close(case, dict(logits=model(x)))
            done += 1
    assert done == len(data['cases']) == 16


def test_the_released_configs_are_what_the_command_prints(convert, reference, reference_weights, config_root):
    for name in ('et', 't', 'base'):
        cfg, file = convert(reference_weights.state_dict(reference(f'cls_{name}.pt')['spec']))
        shipped = Config.fromfile(config_root / 'imagenet' / f'affnet-{name}_release_3rdparty_in1k-256px.py')
        assert shipped.model.to_dict() == cfg.model.to_dict()
        build(shipped, file)


def test_detectors_of_the_reference(convert, reference, reference_weights):
    data = reference('ssd_et.pt')
    state = reference_weights.state_dict(data['spec'])
    for (norm, act), cases in by_choice(data['cases']).items():
        cfg, file = convert(state, norm, act)
        for case in cases:
            cfg.model.neck.act_cfg = cfg.model.bbox_head.act_cfg = ACT_CFGS[case['options']['head_activation']]
            model = build(cfg, file)
            x = reference_weights.image(case['input']['shape'], case['input']['seed'])
            with torch.no_grad():
                scores, deltas = model.bbox_head(model.extract_feat(x))
            scores, deltas = (torch.cat([m.permute(0, 2, 3, 1).reshape(1, -1, last) for m in maps], dim=1)
                              for maps, last in ((scores, 81), (deltas, 4)))
            close(case, dict(scores=scores.roll(1, dims=-1), boxes=deltas))


def test_segmentors_of_the_reference(convert, reference, reference_weights):
    data = reference('seg_et.pt')
    for case in data['cases']:
        options = case['options']
        cfg, file = convert(reference_weights.state_dict(options['spec']), options['attn_norm_layer'],
                            options['encoder_activation'])
        cfg.model.backbone.output_stride = options['output_stride']   # the tensors do not tell
        cfg.model.decode_head.dilations = (1, *options['aspp_rates'])
        model = build(cfg, file)
        x = reference_weights.image(case['input']['shape'], case['input']['seed'])
        with torch.no_grad():
            maps = model.extract_feat(x)
            close(case, dict(lowres=model.decode_head(maps), aux=model.auxiliary_head(maps),
                             out=model.encode_decode(x, [dict(img_shape=x.shape[2:])])))


@pytest.fixture
def source(tmp_path, reference, reference_weights):
    """A trainer's checkpoint of the et classifier."""
    state = reference_weights.state_dict(reference('cls_et.pt')['spec'])
    path = tmp_path / 'checkpoint.pt'
    torch.save(dict(epoch=1, model_state_dict={f'module.{key}': torch.zeros_like(v) for key, v in state.items()},
                    ema_state_dict=state, optim_state_dict=dict(state={}, param_groups=[])), path)
    return path


def test_provenance(source, tmp_path, capsys):
    convert_file(source, tmp_path / 'new' / 'et.pth', 'channel', 'relu')
    said = capsys.readouterr().out
    assert 'taken: ema_state_dict (the averaged model, EMA); left: model_state_dict' in said
    assert 'classification, AFFNet et, 1000 classes, 416 tensors; norm channel, activation relu' in said
    meta = torch.load(tmp_path / 'new' / 'et.pth', weights_only=True)['meta']
    assert len(meta.pop('dataset_meta')['classes']) == 1000
    assert meta.pop('model')['backbone']['token_norm_cfg'] == dict(type='mmaffnet.ChannelNorm')
    assert meta == dict(
        source='checkpoint.pt', source_sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
        source_part='ema_state_dict', variant='release', norm='channel', activation='relu', task='classification',
        arch='et', num_classes=1000, mmaffnet_version=__version__)
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['et.pth']


@pytest.mark.parametrize(('task', 'num', 'host', 'first', 'last'), [
    ('classification', 1000, 'mmpretrain', 'tench', 'toilet'), ('detection', 80, 'mmdet', 'person', 'toothbrush'),
    ('segmentation', 21, 'mmseg', 'background', 'tvmonitor'), ('segmentation', 150, 'mmseg', 'wall', 'flag')])
def test_classes_of_the_sets_of_the_release(task, num, host, first, last):
    from mmaffnet.engine.released import known_classes
    pytest.importorskip(host)
    meta = known_classes(task, num)
    assert len(meta['classes']) == num and meta['classes'][0].startswith(first) and meta['classes'][-1].startswith(last)
    assert ('palette' in meta) == (task != 'classification') and len(meta.get('palette', meta['classes'])) == num
    assert known_classes(task, num + 1) is None, 'another number of classes is another set, whose names are not known'


def test_safetensors_hold_the_same(source, tmp_path):
    pytest.importorskip('safetensors')
    made = convert_file(source, tmp_path / 'et.pth', safetensors='')
    read = read_source(tmp_path / 'et.safetensors')
    assert set(read['state_dict']) == set(made['state_dict'])
    for key, value in torch.load(tmp_path / 'et.pth', weights_only=True)['state_dict'].items():
        assert torch.equal(read['state_dict'][key], value) and read['state_dict'][key].dtype == value.dtype
    assert read['meta']['source_sha256'] == made['meta']['source_sha256'] and read['meta']['norm'] == 'gn'
    assert json.loads(read['meta']['model'])['head'] == dict(in_channels=576, num_classes=1000)
    # as target, and as a source in the released layout
    convert_file(source, tmp_path / 'alone.safetensors')
    assert set(read_source(tmp_path / 'alone.safetensors')['state_dict']) == set(made['state_dict'])
    import safetensors.torch
    safetensors.torch.save_file(torch.load(source, weights_only=True)['ema_state_dict'], tmp_path / 's.safetensors')
    again = convert_file(tmp_path / 's.safetensors', tmp_path / 'again.pth')
    assert torch.equal(again['state_dict']['head.fc.bias'], made['state_dict']['head.fc.bias'])


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}', )


@pytest.mark.parametrize('place', ['beside', 'bare'])
def test_a_source_that_would_run_something_is_refused(place, source, tmp_path):
    trap = tmp_path / 'trap'
    torch.save(dict(torch.load(source, weights_only=True), opts=Evil(trap)) if place == 'beside' else Evil(trap),
               tmp_path / 'evil.pt')
    with pytest.raises(UserError, match=r'evil\.pt is refused, and nothing of it was run.*system.*whom you trust'):
        convert_file(tmp_path / 'evil.pt', tmp_path / 'out.pth')
    assert not trap.exists() and not (tmp_path / 'out.pth').exists()


@pytest.mark.parametrize(('content', 'hint'), [
    (None, 'not found'), (b'', 'is empty'), (b'PK\3\4 cut', 'is damaged'),
    ({'a.weight': torch.zeros(1)}, 'of no released model'), ({'epoch': 3}, 'epoch are no tensors')])
def test_other_files_are_named(content, hint, tmp_path):
    path = tmp_path / 'w.pt'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=rf'{re.escape(str(path))}.*{hint}'):
        convert_file(path, tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


def test_the_source_is_not_overwritten(source):
    with pytest.raises(UserError, match='source and target'):
        convert_file(source, source)


def test_a_size_of_its_own_prints_a_config_that_loads(convert, reference_weights):
    """The release's mode base: no name of ours, so that ``arch`` is a dict where the recipe has a name."""
    keys = json.loads((Path(__file__).resolve().parents[1] / 'data' / 'reference' / 'keys.json').read_text())
    state = {}
    for key, shape, dtype in (row.split() for row in keys['classification mode base']['keys']):
        size = () if shape == 'scalar' else tuple(map(int, shape.split('x')))
        state[key] = torch.zeros(size, dtype=getattr(torch, dtype))
    cfg, file = convert(state)
    model = build(cfg, file)
    assert sum(p.numel() for p in model.parameters()) == 17_178_104


def test_the_command(source, run_tool, tmp_path, config_root):
    done = run_tool(['model_converters/affnet_to_mmaffnet.py', source, tmp_path / 'et.pth', '--act', 'relu',
                     '--token-norm', 'channel'], cwd=tmp_path, env=dict(PYTHONPATH=str(config_root.parent)))
    assert done.returncode == 0, done.stderr
    assert 'norm channel, activation relu' in done.stdout and (tmp_path / 'et.pth').is_file()
    done = run_tool(['model_converters/affnet_to_mmaffnet.py', 'none.pt', 'et.pth'], cwd=tmp_path,
                    env=dict(PYTHONPATH=str(config_root.parent)))
    assert done.returncode == 2 and 'error: checkpoint none.pt not found' in done.stderr
