"""Decode a picture, or say in one sentence why not."""
import io
import os

import mmcv
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmaffnet.engine.errors import UserError

# A format's first bytes, and the last ones of a whole file.
ENDS = ((b'\xff\xd8\xff', b'\xff\xd9'), (b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'))
# Pillow turns these into 8 bits per channel without a choice of range; 16-bit and float pixels it would clip.
EIGHT_BITS = ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'YCbCr')


class BadPicture(UserError):
    """A picture that cannot be used; the sentence names file and reason.

    Attributes:
        reason (str): The reason alone.
    """

    reason = ''

    @classmethod
    def of(cls, path, reason):
        """Make the error.

        Args:
            path (str): The picture.
            reason (str): Ends the sentence 'picture … cannot be used: …'.

        Returns:
            BadPicture: To be raised.
        """
        error = cls(f'picture {path} cannot be used: {reason}')
        error.reason = reason
        return error


def read_bytes(path, get):
    """Read a file, or say why it cannot be read.

    Args:
        path (str): The file.
        get (Callable): Takes the path, returns bytes.

    Returns:
        bytes: The content.

    Raises:
        BadPicture: Where it is missing or cannot be read.
    """
    try:
        return get(path)
    except FileNotFoundError as error:
        raise BadPicture.of(path, 'there is no such file') from error
    except OSError as error:  # a folder, no permission, a broken disk or connection
        raise BadPicture.of(path, error.strerror or one_line(error)) from error


def decode(content, path, flag='color', backend='cv2'):
    """Decode a picture whole, by mmcv; formats that its backend lacks by Pillow.

    OpenCV 4 fills up what a truncated JPEG lacks with grey and says nothing. A JPEG or PNG without its end mark
    therefore goes through Pillow first, which refuses missing pixels; zeros behind the end (a copy that was cut off)
    do not hide that. Sound pictures pay for a look at the last bytes.

    With ``flag='color'`` every picture becomes BGR with 8 bits: grey is repeated, CMYK (also Adobe's inverted one)
    is converted, 16 bits are divided by 256 (in a TIFF rounded), palettes are looked up, an alpha channel is dropped
    (no background is mixed in), and the orientation that Exif tells is applied.

    Args:
        content (bytes): The file.
        path (str): Its name, for the message.
        flag (str): See :func:`mmcv.imfrombytes`.
        backend (str): See :func:`mmcv.imfrombytes`.

    Returns:
        numpy.ndarray: (H, W, 3), or as ``flag`` says.

    Raises:
        BadPicture: Where it is damaged or no picture.
    """
    if not content:
        raise BadPicture.of(path, 'the file is empty (0 bytes)')
    if not _has_end(content):
        _by_pillow(content.rstrip(b'\0'), path, flag)
    try:
        pixels = mmcv.imfrombytes(content, flag=flag, backend=backend)
    except Exception:  # readers raise all kinds (OSError, cv2.error, SyntaxError), all about this content
        pixels = None
    return _by_pillow(content, path, flag) if pixels is None else pixels


def look_at_label_map(path):
    """Look at the ends of a label map without decoding it.

    Args:
        path (str): The file; addresses of other storage are not looked at.

    Returns:
        tuple[str | None, tuple[int, int] | None]: What is wrong, and (height, width), of PNGs only.
    """
    if '://' in path:
        return None, None
    try:
        with open(path, 'rb') as file:
            start = file.read(24)
            file.seek(max(file.seek(0, os.SEEK_END) - 16, 0))
            tail = file.read()
    except FileNotFoundError:
        return 'there is no such file', None
    except OSError as error:
        return error.strerror or one_line(error), None
    if not start:
        return 'the file is empty (0 bytes)', None
    if not _has_end(start + tail):
        return 'it is cut short', None
    is_png = start.startswith(ENDS[1][0]) and len(start) == 24  # width and height stand behind the header chunk's name
    return None, (int.from_bytes(start[20:], 'big'), int.from_bytes(start[16:20], 'big')) if is_png else None


def one_line(error):
    """str: An exception's text in one line, or its type's name where it has none."""
    return ' '.join(str(error).split()) or type(error).__name__


def _has_end(content):
    for start, end in ENDS:
        if content.startswith(start):
            return content.rstrip(b'\0').endswith(end)
    return True  # of other formats OpenCV itself refuses short files


def _by_pillow(content, path, flag):
    """Decode by Pillow, which refuses missing pixels."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if image.mode not in EIGHT_BITS and not image.mode.startswith('I;16'):
                raise BadPicture.of(path, f'its pixels are of kind {image.mode}, not 8 or 16 bits')
            if not flag.endswith('ignore_orientation'):
                image = ImageOps.exif_transpose(image)
            if image.mode.startswith('I;16'):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            pixels = np.asarray(image.convert('L' if flag.startswith('grayscale') else 'RGB'))
    except BadPicture:
        raise
    except UnidentifiedImageError as error:
        raise BadPicture.of(path, f'it is no picture of a known format (it starts with {content[:12]!r})') from error
    except Exception as error:  # OSError, SyntaxError, EOFError, struct.error …, all about this content
        raise BadPicture.of(path, one_line(error)) from error
    return np.ascontiguousarray(pixels[..., ::-1]) if pixels.ndim == 3 else pixels
