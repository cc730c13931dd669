"""Time the AFF mixer in its forms against the direct form, and the backbone in layouts, fused and not, on this machine.

    python tools/analysis_tools/benchmark_mixer.py                 # both tables, one thread
    python tools/analysis_tools/benchmark_mixer.py --threads 2 --parts net
    python tools/analysis_tools/benchmark_mixer.py --device cuda

All alternatives of a row run interleaved; a figure is the median over the rounds of the ratio within a round.
"""

import argparse
import copy

import torch
from mmcv.cnn import fuse_conv_bn
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from mmaffnet import AFFNet
from mmaffnet.analysis.timing import interleaved, milliseconds, speedup
from mmaffnet.models.layers import AFFBlock
from mmaffnet.models.token_mixers import AFF

# Maps of AFFNet base at 256×256: layer_3, layer_4, layer_5.
SIZES = ((128, 32, 32), (256, 16, 16), (320, 8, 8))
IMAGE = 256
FORMS = ('fft', 'dft', 'auto')


class DirectAFF(AFF):
    """The filter as the literature writes it: four einsums a layer over the real and imaginary parts."""

    def _linear(self, real: Tensor, imag: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        def product(x: Tensor, w: Tensor) -> Tensor:
            return torch.einsum('bkihw,kio->bkohw', x, w)

        bias = bias[..., None, None]
        return (product(real, weight[0]) - product(imag, weight[1]) + bias[0],
                product(imag, weight[0]) + product(real, weight[1]) + bias[1])

    def forward(self, x: Tensor) -> Tensor:
        """Filter a map (B, C, H, W)."""
        b, c, h, w = x.shape
        spectrum = torch.fft.rfft2(x, norm='ortho')
        z = spectrum.reshape(b, self.groups, c // self.groups, h, -1)
        real, imag = self._linear(z.real, z.imag, self.w1, self.b1)
        real, imag = self._linear(torch.relu(real), torch.relu(imag), self.w2, self.b2)
        mask = torch.complex(real, imag).reshape(spectrum.shape)
        return torch.fft.irfft2(mask * spectrum, s=(h, w), norm='ortho')


def mixer_table(args: argparse.Namespace) -> Table:
    """Forms of the mixer against the direct form at the three map sizes."""
    table = Table('map (C, H, W)', 'batch', 'pass', 'layout', 'direct ms', *FORMS,
                  title='AFF mixer: times faster than the direct form')
    for c, h, w in SIZES:
        mixers = {'direct': DirectAFF(c), **{form: AFF(c, transform=form) for form in FORMS}}
        for mixer in mixers.values():
            mixer.load_state_dict(mixers['direct'].state_dict())
            mixer.to(args.device)
        for batch, backward in ((1, False), (16, False), (16, True)):
            for layout in (torch.contiguous_format, torch.channels_last):
                x = torch.randn(batch, c, h, w, device=args.device).contiguous(memory_format=layout)
                x.requires_grad_(backward)
                with torch.inference_mode(not backward):
                    times = interleaved({name: _pass(mixer, x, backward) for name, mixer in mixers.items()},
                                        rounds=args.rounds)
                table.add_row(
                    f'{c}, {h}, {w}', str(batch), 'forward + backward' if backward else 'forward',
                    'channels last' if layout is torch.channels_last else 'contiguous',
                    f'{milliseconds(times, "direct"):.2f}', *(f'{speedup(times, f, "direct"):.2f}' for f in FORMS))
    return table


def _pass(module: nn.Module, x: Tensor, backward: bool):
    if not backward:
        return lambda: module(x)
    grad = torch.ones_like(x)
    return lambda: module(x).backward(grad)


def net_table(args: argparse.Namespace) -> Table:
    """The base backbone in both layouts, fused and not, with its mixers and with identities."""
    nets = {'AFF': AFFNet('base'), 'identity': AFFNet('base')}
    for block in (m for m in nets['identity'].modules() if isinstance(m, AFFBlock)):
        block.token_mixer = nn.Identity()
    table = Table('mixer', 'layout', 'conv + BN', 'ms', 'times faster', title=(
        f'AFFNet base, {args.batch} × 3 × {IMAGE} × {IMAGE}, {args.threads} thread(s), against AFF contiguous unfused'))
    calls = {}
    for mixer, net in nets.items():
        net.eval().to(args.device)
        for layout in (torch.contiguous_format, torch.channels_last):
            for fused in (False, True):
                model = copy.deepcopy(net)
                model = (fuse_conv_bn(model) if fused else model).to(memory_format=layout)
                x = torch.rand(args.batch, 3, IMAGE, IMAGE, device=args.device).contiguous(memory_format=layout)
                name = (mixer, 'channels last' if layout is torch.channels_last else 'contiguous',
                        'fused' if fused else 'apart')
                calls[name] = lambda model=model, x=x: model(x)
    with torch.inference_mode():
        times = interleaved(calls, rounds=args.rounds)
    base = next(iter(calls))
    for name in calls:
        table.add_row(*name, f'{milliseconds(times, name):.1f}', f'{speedup(times, name, base):.2f}')
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--parts', nargs='+', choices=('mixer', 'net'), default=['mixer', 'net'])
    parser.add_argument('--threads', type=int, default=1, help='torch threads (default: 1)')
    parser.add_argument('--batch', type=int, default=1, help='batch of the net table (default: 1)')
    parser.add_argument('--rounds', type=int, default=15, help='timed rounds (default: 15)')
    parser.add_argument('--device', default='cpu', help="'cpu' or 'cuda' (default: cpu)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    console = Console(width=120)
    for part in args.parts:
        console.print(mixer_table(args) if part == 'mixer' else net_table(args))


if __name__ == '__main__':
    main()
