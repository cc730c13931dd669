"""EfficientDet as a whole: the paper's compound scaling, and the same network as the package effdet's."""
import pytest
import torch

# Parameters with mmdet's EfficientNet and 90 classes, counted by effdet 0.4.1 for its models efficientdet_d0 to d3
# (no bias before norms) and tf_efficientdet_d0 to d3 (Google's, with it).
COUNTED = {
    'd0': (3877763, 3880067),
    'd1': (6622026, 6625898),
    'd2': (8091215, 8097039),
    'd3': (12022376, 12032296),
}


def count(ours):
    return sum(p.numel() for part in (ours.backbone, ours.neck, ours.bbox_head) for p in part.parameters())


@pytest.mark.parametrize('size', COUNTED)
@pytest.mark.parametrize('conv_bias', [False, True])
def test_parameters(build_efficientdet, size, conv_bias):
    ours = build_efficientdet(size, conv_bias=conv_bias, num_classes=90, with_backbone=True)
    assert count(ours) == COUNTED[size][conv_bias]
    width = ours.neck.out_channels
    for_80 = build_efficientdet(size, conv_bias=conv_bias, with_backbone=True)
    assert count(ours) - count(for_80) == 10 * 9 * (width + 1)  # ten classes, nine anchors, weights and bias


@pytest.mark.parametrize('size', ['d0', 'd1', 'd2'])
@pytest.mark.parametrize('family', ['', 'tf_'])
def test_parameters_agree_with_effdet(build_efficientdet, family, size):
    effdet = pytest.importorskip('effdet')
    theirs = effdet.create_model(f'{family}efficientdet_{size}', pretrained_backbone=False)
    for num_classes in (90, 80):  # 90 is effdet's default
        theirs.reset_head(num_classes)
        ours = build_efficientdet(
            size, conv_bias=family == 'tf_', num_classes=num_classes, with_backbone=True)
        assert count(ours) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize('name, side', [('tf_efficientdet_d0', 512), ('tf_efficientdet_d1', 640)])
def test_whole_network_agrees_with_effdet(effdet_pair, name, side):
    """From the picture on, with mmdet's EfficientNet, whose padding is TensorFlow's like that of the tf_ models."""
    theirs, ours = effdet_pair(name, with_backbone=True)
    picture = torch.randn(1, 3, side, side)
    with torch.no_grad():
        want = theirs(picture)
        got = ours.bbox_head(ours.neck(ours.backbone(picture)))
    for level in range(5):
        scores, boxes = (part[level] for part in want)
        boxes = boxes.unflatten(1, (9, 4))[:, :, [1, 0, 3, 2]].flatten(1, 2)
        for a, b in ((got[0][level], scores), (got[1][level], boxes)):
            assert 0.1 < b.std() < 10
            torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-5)
