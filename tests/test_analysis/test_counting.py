"""Counts against counts made by hand, against the reference numbers, and of both counters."""

import math

import pytest
import torch
from torch import nn

from mmaffnet import create_model
from mmaffnet.analysis.counting import count, count_parameters, default_counter, describe_counter
from mmaffnet.engine.errors import UserError
from mmaffnet.models.token_mixers import AFF

COUNTERS = ('fvcore', 'mmengine')


@pytest.fixture(params=COUNTERS)
def counter(request):
    pytest.importorskip({'fvcore': 'fvcore.nn', 'mmengine': 'mmengine.analysis'}[request.param])
    return request.param


class Tiny(nn.Module):
    """A strided convolution, norms, the mixer, a pooling and a classifier."""

    def __init__(self, **mixer):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.norm = nn.GroupNorm(1, 16)
        self.mixer = AFF(16, groups=4, **mixer)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = self.mixer(self.norm(self.bn(self.conv(x))))
        return self.fc(self.pool(torch.relu(x)).flatten(1))


# of a 16 x 12 map: 9 x 3 x 16 products at each place, ...
PLACES, FREQUENCIES = 16 * 12, 16 * 7
BY_HAND = dict(
    conv=9 * 3 * 16 * PLACES, batch_norm=2 * 16 * PLACES, group_norm=5 * 16 * PLACES,
    baddbmm=2 * 4 * (16 * 16 // 4) * FREQUENCIES, adaptive_avg_pool2d=16 * PLACES, linear=16 * 5)
FFT_BY_HAND = 2 * 16 * 2.5 * PLACES * math.log2(PLACES)


@pytest.mark.parametrize('form', ['fft', 'dft', 'auto'])
def test_a_small_model_counted_by_hand(counter, form):
    model = Tiny(transform=form).train()
    found = count(model, (32, 24), counter)
    assert found.by_operator == BY_HAND
    assert found.multiply_adds == sum(BY_HAND.values())
    assert found.fft == pytest.approx(FFT_BY_HAND, abs=2)
    # two matrices and two biases, each with a real and an imaginary part
    assert found.parameters == 27 * 16 + 2 * 16 + 2 * 16 + 2 * (16 * 16 // 4 + 16) * 2 + 16 * 5 + 5
    # the model is left as it was
    assert model.training and model.mixer.transform == form and model.bn.num_batches_tracked == 0


@pytest.mark.parametrize(('transform', 'operations'), [
    (lambda x: torch.fft.rfft2(x), 2.5 * 3 * 96 * math.log2(96)),
    (lambda x: torch.fft.irfft2(torch.fft.rfft2(x), s=(8, 12)), 5 * 3 * 96 * math.log2(96)),
    (lambda x: torch.fft.fft2(x), 5 * 3 * 96 * math.log2(96)),
    (lambda x: torch.fft.rfft(x), 2.5 * 3 * 96 * math.log2(12)),
    (lambda x: torch.fft.rfft(x, dim=2), 2.5 * 3 * 96 * math.log2(8)),
    (lambda x: torch.fft.ifftn(x, dim=(2, 3)), 5 * 3 * 96 * math.log2(96)),
    (lambda x: torch.fft.fft(x, dim=2), 5 * 3 * 96 * math.log2(8)),
])
def test_transforms(counter, transform, operations):
    class Transform(nn.Module):
        def forward(self, x):
            return transform(x).abs()

    found = count(Transform(), (8, 12), counter)
    assert found.fft == pytest.approx(operations, abs=2) and found.multiply_adds == 0


def test_attention_counts_as_the_products_written_out(counter):
    class Attention(nn.Module):
        def __init__(self, fused):
            super().__init__()
            self.fused = fused

        def forward(self, x):
            q = x.flatten(2).transpose(1, 2)[:, None]      # (1, 1, 96, 3)
            if self.fused:
                return nn.functional.scaled_dot_product_attention(q, q, q)
            return (q @ q.transpose(-2, -1)).softmax(-1) @ q

    fused, written = (count(Attention(f), (8, 12), counter).multiply_adds for f in (True, False))
    assert fused == written == 2 * 96 * 96 * 3


# Reference: what fvcore returns on the authors' released code (tests/data/reference/README.md).
@pytest.mark.parametrize(('name', 'parameters', 'reference', 'printed'), [
    ('affnet_et', 1_436_264, 374.8, 0.375), ('affnet_t', 2_654_232, 818.0, 0.818),
    ('affnet_base', 5_568_696, 1493.5, 1.494)])
def test_affnet_has_the_reference_numbers(counter, name, parameters, reference, printed):
    found = count(create_model(name), 256, counter)
    assert found.parameters == parameters
    assert found.multiply_adds / 1e6 == pytest.approx(reference, abs=0.1)   # the reference cuts its last digit off
    assert round(found.multiply_adds / 1e9, 3) == printed


def test_the_mixers_of_base(counter):
    found = count(create_model('affnet_base'), 256, counter)
    blocks = [(128, 32)] * 2 + [(256, 16)] * 4 + [(320, 8)] * 3
    assert found.by_operator['baddbmm'] == sum(c * c * n * (n // 2 + 1) for c, n in blocks) == 67_862_528
    assert found.fft == sum(2 * 2.5 * c * n * n * math.log2(n * n) for c, n in blocks)


def test_an_auxiliary_head_is_not_counted():
    model = Tiny()
    alone = count_parameters(model)
    model.auxiliary_head = nn.Linear(7, 7)
    assert count_parameters(model) == alone == count(model, 32, 'mmengine').parameters


def test_the_counter_says_what_it_is(monkeypatch):
    with pytest.raises(ValueError, match='fvcore'):
        count(Tiny(), 32, 'thop')
    assert describe_counter(default_counter()).split()[0] in COUNTERS
    monkeypatch.setitem(__import__('sys').modules, 'fvcore.nn', None)   # as if it were not installed
    assert default_counter() == 'mmengine'
    assert 'fvcore itself is not installed' in describe_counter('mmengine')
    with pytest.raises(UserError, match='pip install fvcore'):
        count(Tiny(), 32, 'fvcore')
