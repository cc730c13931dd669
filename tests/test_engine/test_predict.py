from pathlib import Path

import pytest

from mmaffnet.engine.errors import UserError
from mmaffnet.engine.predict import find_images, output_names


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b'')


def test_folders_are_searched_to_the_end(tmp_path):
    touch(tmp_path, 'b.JPG', 'a.png', 'sub/deep/c.tiff', 'notes.txt')
    assert find_images([str(tmp_path)]) == [tmp_path / name for name in ('a.png', 'b.JPG', 'sub/deep/c.tiff')]
    assert find_images([str(tmp_path / 'notes.txt')]) == [tmp_path / 'notes.txt']  # named on purpose


def test_missing_and_empty_places_are_named(tmp_path):
    with pytest.raises(UserError, match=r'nowhere not found \(looked for /'):
        find_images([str(tmp_path / 'nowhere')])
    touch(tmp_path, 'notes.txt')
    with pytest.raises(UserError, match='holds no picture'):
        find_images([str(tmp_path)])


def test_no_two_pictures_are_written_to_one_file(tmp_path):
    touch(tmp_path, 'x/a.jpg', 'x/a.png', 'x/sub/a.jpg', 'y/a.jpg', 'y/b.jpg')
    places = [str(tmp_path / 'x'), str(tmp_path / 'y')]
    assert output_names(find_images(places), places) == ['a_jpg', 'a_png', 'sub/a', 'a_jpg_1', 'b']
    assert output_names([Path('p/b.jpg')], ['p/b.jpg']) == ['b']
