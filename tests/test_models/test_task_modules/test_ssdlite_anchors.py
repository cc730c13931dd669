import math

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

pytest.importorskip('mmdet')
from mmdet.registry import TASK_UTILS  # noqa: E402


def build(**kwargs):
    init_default_scope('mmdet')
    return TASK_UTILS.build(dict(type='mmaffnet.SSDLiteAnchorGenerator', **kwargs))


def map_sides(height, width):
    return [(math.ceil(height / s), math.ceil(width / s)) for s in (16, 32, 64, 128, 256)] + [(1, 1)]


def as_centre_and_size(corners):
    corners = corners.double()
    return torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], dim=1)


@pytest.mark.parametrize('size', ['320x320', '256x320', '300x300'])
def test_reference_anchors(reference, size):
    want = reference('ssd_train.pt')['anchors'][size]
    got = as_centre_and_size(torch.cat(build().grid_priors(map_sides(*map(int, size.split('x'))), device='cpu')))
    assert len(got) == want['count']
    torch.testing.assert_close(got[:7].float(), want['first'], rtol=0, atol=1e-6)
    torch.testing.assert_close(got[-7:].float(), want['last'], rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.sum(0), want['sum'], atol=1e-3)
    np.testing.assert_allclose((got**2).sum(0), want['sumsq'], atol=1e-3)


def test_reference_anchors_one_by_one(reference):
    want = reference('ssd_et.pt')['cases'][0]['outputs']['anchors'][0]
    got = as_centre_and_size(torch.cat(build().grid_priors(map_sides(320, 320), device='cpu')))
    torch.testing.assert_close(got.float(), want, rtol=0, atol=1e-6)


def test_other_levels_against_closed_form():
    ratios, scales, sides = ((2, ), (), (2, 3)), (0.05, 0.2, 0.6, 0.9), [(3, 5), (2, 3), (1, 1)]
    generator = build(ratios=ratios, scales=scales)
    want = []
    for level, (height, width) in enumerate(sides):
        s, t = scales[level], scales[level + 1]
        sizes = [(s, s), (math.sqrt(s * t), math.sqrt(s * t))]
        sizes += [wh for r in ratios[level] for wh in ((s * r**0.5, s / r**0.5), (s / r**0.5, s * r**0.5))]
        want += [((x + 0.5) / width, (y + 0.5) / height, min(w, 1), min(h, 1))
                 for y in range(height) for x in range(width) for w, h in sizes]
    got = generator.grid_priors(sides, device='cpu')
    assert generator.num_levels == 3
    assert generator.num_base_priors == [4, 2, 6]
    assert max(w for *_, w, _ in want) == 1, 'the case must contain a clipped anchor'
    torch.testing.assert_close(as_centre_and_size(torch.cat(got)), torch.tensor(want, dtype=torch.float64),
                               rtol=0, atol=1e-6)


def test_interface_of_mmdet():
    generator = build(ratios=((2, 3), (2, )))
    sides = [(3, 4), (1, 1)]
    priors = generator.grid_priors(sides, dtype=torch.float64, device='cpu')
    assert [p.dtype for p in priors] == [torch.float64] * 2
    idxs = torch.tensor([0, 71, 17])
    torch.testing.assert_close(
        generator.sparse_priors(idxs, sides[0], 0, dtype=torch.float64), priors[0][idxs], rtol=0, atol=0)
    flags = generator.valid_flags(sides, (48, 64), device='cpu')
    assert [len(f) for f in flags] == [len(p) for p in priors] and all(f.all() for f in flags)
    np.testing.assert_allclose(generator.scales, [0.1, 0.575, 1.05])
    assert 'scales=(0.1' in repr(generator)


@pytest.mark.parametrize('scales', [(0.1, 0.5), (0.1, 0.5, 0.0), (0.1, 0.2, 0.3, 0.4)])
def test_wrong_scales(scales):
    with pytest.raises(ValueError, match='2 levels .* need 3 positive scales'):
        build(ratios=((2, ), (2, )), scales=scales)
