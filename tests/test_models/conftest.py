"""EfficientDet of the package effdet, and ours with the same weights."""
import re
from types import SimpleNamespace

import pytest
import torch

# Of one repeat, in effdet's order: our node, and the numbers of its inputs. 0 to 4 are the levels that come in, from
# the largest map to the smallest, 5 to 12 the nodes.
NODES = [
    ('top_down.3', (3, 4)), ('top_down.2', (2, 5)), ('top_down.1', (1, 6)), ('top_down.0', (0, 7)),
    ('bottom_up.1', (1, 7, 8)), ('bottom_up.2', (2, 6, 9)), ('bottom_up.3', (3, 5, 10)), ('bottom_up.4', (4, 11)),
]
# effdet's names (a pattern) and ours, for what differs in more than the next table.
NAMES = [
    (r'fpn\.resample\.3\.conv\.', lambda m: 'neck.extra_conv.'),
    (r'fpn\.cell\.(\d+)\.fnode\.(\d+)\.combine\.edge_weights', lambda m: f'{_node(m)}.fusion_weights'),
    (r'fpn\.cell\.(\d+)\.fnode\.(\d+)\.combine\.resample\.(\d+)\.conv\.',
     lambda m: f'{_node(m)}.projs.{NODES[int(m[2])][1].index(int(m[3]))}.'),
    (r'fpn\.cell\.(\d+)\.fnode\.(\d+)\.after_combine\.conv\.', lambda m: f'{_node(m)}.conv.'),
    (r'class_net\.conv_rep\.', lambda m: 'bbox_head.cls_tower.convs.'),
    (r'box_net\.conv_rep\.', lambda m: 'bbox_head.reg_tower.convs.'),
    (r'class_net\.bn_rep\.(\d+)\.(\d+)\.bn\.', lambda m: f'bbox_head.cls_tower.norms.{m[2]}.{m[1]}.'),
    (r'box_net\.bn_rep\.(\d+)\.(\d+)\.bn\.', lambda m: f'bbox_head.reg_tower.norms.{m[2]}.{m[1]}.'),
    (r'class_net\.predict\.', lambda m: 'bbox_head.cls_predict.'),
    (r'box_net\.predict\.', lambda m: 'bbox_head.reg_predict.'),
]
PARTS = {'conv_dw.': 'depthwise.', 'conv_pw.': 'pointwise.', 'bn.': 'norm.'}
WIDTHS = {'d0': 64, 'd1': 88, 'd2': 112, 'd3': 160}
REPEATS = {'d0': 3, 'd1': 4, 'd2': 5, 'd3': 6}
DEPTH = {'d0': 3, 'd1': 3, 'd2': 3, 'd3': 4}
BACKBONE = {'d0': (40, 112, 320), 'd1': (40, 112, 320), 'd2': (48, 120, 352), 'd3': (48, 136, 384)}


def _node(match):
    return f'neck.layers.{match[1]}.{NODES[int(match[2])][0]}'


def our_name(name):
    for pattern, ours in NAMES:
        if found := re.match(pattern, name):
            rest = name[found.end():]
            for theirs, part in PARTS.items():
                rest = part + rest[len(theirs):] if rest.startswith(theirs) else re.sub(
                    rf'^(\d+)\.{re.escape(theirs)}', rf'\1.{part}', rest)
            return ours(found) + rest
    raise KeyError(name)


def converted(state):
    """Neck and head of effdet's state dict under our names; its boxes are coded (y, x, h, w), ours (x, y, w, h)."""
    out = {}
    for name, value in state.items():
        if not name.startswith('backbone.'):
            if name.startswith('box_net.predict.conv_pw'):
                value = value.unflatten(0, (-1, 4))[:, [1, 0, 3, 2]].flatten(0, 1)
            out[our_name(name)] = value
    return out


def randomize(model, seed=0):
    """Values that no initialisation gives: statistics and affine parts of norms, fusion weights of both signs."""
    rng = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if 'edge_weights' in name or 'fusion_weights' in name:
            tensor.uniform_(-0.5, 2, generator=rng)
        elif 'running_var' in name or (tensor.dim() == 1 and name.endswith('weight')):
            tensor.uniform_(0.5, 1.5, generator=rng)
        elif tensor.dim() == 4:
            tensor.normal_(0, tensor[0].numel()**-0.5, generator=rng)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.3, generator=rng)


@pytest.fixture(scope='session')
def randomize_weights():
    """randomize_weights(model): draw all weights and statistics."""
    return randomize


@pytest.fixture
def build_efficientdet():
    """build_efficientdet('d0', conv_bias=…, pool_padding=…, num_classes=…, with_backbone=…) -> a namespace of parts
    with the settings of EfficientDet-D0 to D3."""
    pytest.importorskip('mmdet')
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope
    init_default_scope('mmdet')

    def build(size, conv_bias=False, pool_padding='same', num_classes=80, with_backbone=False, **head):
        neck = dict(type='mmaffnet.BiFPN', in_channels=BACKBONE[size], out_channels=WIDTHS[size],
                    num_repeats=REPEATS[size], conv_bias=conv_bias, pool_padding=pool_padding)
        head = dict(type='mmaffnet.EfficientDetHead', num_classes=num_classes, in_channels=WIDTHS[size],
                    stacked_convs=DEPTH[size], conv_bias=conv_bias, **head)
        backbone = dict(type='EfficientNet', arch=f'b{size[1]}', out_indices=(3, 4, 5))
        return SimpleNamespace(
            backbone=MODELS.build(backbone) if with_backbone else None,
            neck=MODELS.build(neck),
            bbox_head=MODELS.build(head))

    return build


@pytest.fixture
def effdet_pair(build_efficientdet):
    """effdet_pair('tf_efficientdet_d0', image_size=…, …) -> (effdet's model, our parts) with the same random weights,
    for evaluation. The test is skipped where effdet is not installed."""
    effdet = pytest.importorskip('effdet')

    def build(name, num_classes=90, with_backbone=False, **overrides):
        theirs = effdet.create_model(name, num_classes=num_classes, pretrained_backbone=False, **overrides)
        randomize(theirs)
        ours = build_efficientdet(
            name[-2:],
            conv_bias=theirs.config.redundant_bias,
            pool_padding=theirs.config.pad_type or 'symmetric',
            num_classes=num_classes,
            with_backbone=with_backbone)
        state = converted(theirs.state_dict())
        for part in ('neck', 'bbox_head'):
            module = getattr(ours, part)
            module.load_state_dict({key[len(part) + 1:]: state.pop(key) for key in list(state)
                                    if key.startswith(f'{part}.')})
            module.eval()
        assert not state
        if with_backbone:  # the same layers in the same order
            values = theirs.backbone.state_dict().values()
            ours.backbone.load_state_dict(dict(zip(ours.backbone.state_dict(), values, strict=True)))
            ours.backbone.eval()
        return theirs.eval(), ours

    return build
