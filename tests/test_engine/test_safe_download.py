"""Downloads are kept, and checked against the hash in their name each time."""
import hashlib
import io
from pathlib import Path

import pytest
import torch

from mmaffnet.engine import safe_load
from mmaffnet.engine.errors import UserError
from mmaffnet.engine.safe_load import download, hash_in_name, load_from_http


@pytest.mark.parametrize(('name', 'digits'), [
    ('resnet18-5c106cde.pth', '5c106cde'), ('mask_rcnn_r50_20200130-047c8118.pth', '047c8118'),
    ('vit-base-20210928.pth', None), ('a-1234567.pth', None), ('epoch_12.pth', None),
    ('net-0123456789abcdef.safetensors', '0123456789abcdef')])
def test_the_hash_in_a_name(name, digits):
    assert hash_in_name(name) == digits


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """What an address gives: remote(bytes) -> file name with their hash; counts downloads in its list."""
    sent = []

    def fetch(url, target, hash_prefix=None, progress=True):
        data = sent[-1]
        if hash_prefix and not hashlib.sha256(data).hexdigest().startswith(hash_prefix):
            raise RuntimeError(f'invalid hash value (expected "{hash_prefix}")')
        Path(target).write_bytes(data)
        downloads.append(url)

    downloads = []
    monkeypatch.setattr(torch.hub, 'download_url_to_file', fetch)
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    return sent, downloads


def test_a_download_is_kept_and_checked_each_time(remote, capsys):
    sent, downloads = remote
    torch.save(dict(w=torch.ones(1)), buffer := io.BytesIO())
    sent.append(buffer.getvalue())
    url = f'https://x.org/a/net-{hashlib.sha256(sent[0]).hexdigest()[:8]}.pth?download=1'
    for _ in range(2):
        assert load_from_http(url)['w'] == 1
    assert downloads == [url]
    download(url).write_bytes(b'damaged on the disk')
    assert load_from_http(url)['w'] == 1
    assert downloads == [url, url] and 'downloading it again' in capsys.readouterr().out


def test_a_download_with_another_hash_is_an_error(remote):
    sent, _ = remote
    sent.append(b'another file')
    with pytest.raises(UserError, match='not the file that its name promises.*not kept'):
        load_from_http('https://x.org/net-01234567.pth')


def test_other_ranks_wait_for_the_first_also_where_it_fails(remote, monkeypatch):
    sent, downloads = remote
    sent.append(b'x')
    waits = []
    monkeypatch.setattr(safe_load, 'barrier', lambda: waits.append(len(downloads)))
    for rank in (0, 1):
        monkeypatch.setattr(safe_load, 'get_dist_info', lambda rank=rank: (rank, 2))
        download('https://x.org/net.pth')
    assert waits == [1, 1] and len(downloads) == 1  # rank 0 had it before the barrier; rank 1 found it after
    monkeypatch.setattr(safe_load, 'get_dist_info', lambda: (0, 2))
    with pytest.raises(UserError):
        download('https://x.org/net-01234567.pth')
    assert len(waits) == 3


def test_an_address_without_a_file_is_named():
    with pytest.raises(UserError, match='https://x.org/ names no file'):
        download('https://x.org/')
