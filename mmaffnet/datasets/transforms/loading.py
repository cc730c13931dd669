"""Load pictures: sound ones right, whatever their kind, and of damaged ones the file and the reason."""
import mmcv.transforms
import mmengine.fileio as fileio
import numpy as np
from PIL import Image

from mmaffnet import pictures
from mmaffnet.engine.errors import UserError
from mmaffnet.picture_log import PictureLog
from mmaffnet.registry import TRANSFORMS

# So many failures one after the other are no bad luck: of a set where half can be read, one process in 2^100 stops.
MAX_IN_A_ROW = 100
UNKNOWN_SIZE = (32, 32)  # of what stands in for a picture of which nothing tells the size


@TRANSFORMS.register_module()
class LoadImageFromFile(mmcv.transforms.LoadImageFromFile):
    """mmcv's transform, which lacks:

    - a word about truncated pictures (see :func:`mmaffnet.pictures.decode`, also for what becomes of odd ones:
      16 bits, CMYK, alpha, …), and the file's name in what it raises;
    - a look at the size that the annotation tells: mmcv turns pictures as their Exif says, also where the boxes were
      drawn on the unturned pixels. Where ``results`` holds ``height`` and ``width``, the turned or the unturned
      pixels are taken, whichever have that size; where neither has, the picture is a bad one. (Turned by 180 degrees
      or mirrored, both have, and the turned are taken.) So does the size of a label map that is a PNG, but there
      another size is left to the pipeline;
    - ways to go on without a picture.

    Required key: ``img_path``; used where there: ``height``, ``width``, ``seg_map_path``. Added keys: ``img``,
    ``img_shape``, ``ori_shape``.

    Args:
        on_bad (str): What a bad picture gives: ``'raise'`` an error; ``'skip'`` None, for which mmengine's data sets
            draw another sample while training; ``'black'`` a black picture in its place, of the annotation's size,
            for evaluation (:class:`mmaffnet.engine.evaluator.CheckedEvaluator` takes its predictions away).
            Defaults to 'raise'.
        log (str | None): File of a :class:`mmaffnet.picture_log.PictureLog`, needed unless ``on_bad`` is
            'raise'.
        label_maps (bool): Whether the label map ``seg_map_path`` will be read: one that is missing, empty or cut
            short counts as the picture being bad; in evaluation it is an error. Defaults to False.
        **kwargs: Those of mmcv's transform.

    Raises:
        ValueError: If ``on_bad`` is none of the three, or ``log`` is missing.
    """

    def __init__(self, *args, on_bad='raise', log=None, label_maps=False, **kwargs):
        super().__init__(*args, **kwargs)
        if on_bad not in ('raise', 'skip', 'black'):
            raise ValueError(f"LoadImageFromFile: on_bad is 'raise', 'skip' or 'black', got {on_bad!r}.")
        if on_bad != 'raise' and log is None:
            raise ValueError(f'LoadImageFromFile: on_bad={on_bad!r} needs log, the file that lists bad pictures.')
        self.on_bad = on_bad
        self.log = PictureLog(log) if log is not None else None
        self.label_maps = label_maps
        self._in_a_row = 0

    def transform(self, results):
        """Load a picture.

        Args:
            results (dict): With ``img_path``.

        Returns:
            dict | None: With the picture; None to leave it out.

        Raises:
            BadPicture: Where it cannot be used and ``on_bad`` is 'raise', or its label map cannot be evaluated.
            UserError: Where no picture could be used 100 times in a row.
        """
        path = results['img_path']
        try:
            map_size = self._check_label_map(results)
            pixels = self._pixels(path, _annotated_size(results), map_size)
        except pictures.BadPicture as error:
            if self.on_bad == 'raise':
                if self.ignore_empty:  # mmcv's own way to leave pictures out
                    return None
                raise
            self.log.add(path, error.reason)
            if self.on_bad == 'skip':
                return self._skip(error)
            pixels = np.zeros((*_substitute_size(results), 3), np.uint8)
            pixels = pixels[..., 0] if self.color_type.startswith('grayscale') else pixels
        self._in_a_row = 0
        results['img'] = pixels.astype(np.float32) if self.to_float32 else pixels
        results['img_shape'] = results['ori_shape'] = pixels.shape[:2]
        return results

    def _pixels(self, path, size, map_size):
        content = pictures.read_bytes(path, self._get)
        pixels = pictures.decode(content, path, self.color_type, self.imdecode_backend)
        wanted = size or map_size
        if wanted is None or pixels.shape[:2] == wanted:
            return pixels
        if pixels.shape[1::-1] == wanted and self.color_type in ('color', 'grayscale'):
            unturned = pictures.decode(content, path, f'{self.color_type}_ignore_orientation', self.imdecode_backend)
            if unturned.shape[:2] == wanted:
                return unturned
        if size is None:  # pipelines that resize both may take a map of another resolution
            return pixels
        raise pictures.BadPicture.of(
            path, f'it has {_words(pixels.shape)} pixels, but its annotation says {_words(size)}')

    def _get(self, path):
        if self.file_client_args is not None:
            return fileio.FileClient.infer_client(self.file_client_args, path).get(path)
        return fileio.get(path, backend_args=self.backend_args)

    def _check_label_map(self, results):
        path = results.get('seg_map_path') if self.label_maps else None
        problem, size = pictures.look_at_label_map(path) if path else (None, None)
        if problem and self.on_bad == 'black':
            raise UserError(f'label map {path} cannot be read ({problem}), and evaluation needs it: mend it, or take '
                            'the picture out of the set')
        if problem:
            raise pictures.BadPicture.of(results['img_path'], f'its label map {path} cannot be read ({problem})')
        return size

    def _skip(self, error):
        self._in_a_row += 1
        if self._in_a_row >= MAX_IN_A_ROW:
            raise UserError(f'no picture could be used {MAX_IN_A_ROW} times in a row; the last: {error} (all are '
                            f'listed in {self.log.path}): mend the files, or set data_root and the folders right')
        return None

    def __repr__(self):
        return f'{super().__repr__()[:-1]}, on_bad={self.on_bad!r}, label_maps={self.label_maps})'


def _annotated_size(results):
    """(height, width) as the data set tells them, or None."""
    height, width = results.get('height'), results.get('width')
    return (int(height), int(width)) if height and width else None


def _substitute_size(results):
    size = _annotated_size(results)
    if size is None and results.get('seg_map_path') and '://' not in results['seg_map_path']:
        with Image.open(results['seg_map_path']) as label_map:  # the header only
            size = label_map.size[::-1]
    return size or UNKNOWN_SIZE


def _words(shape):
    return f'{shape[1]}x{shape[0]} (width x height)'
