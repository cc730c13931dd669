"""One self-contained HTML page with tables and pictures, and detections drawn beside the ground truth."""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

PAGE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; }
th, td { padding: .3rem .9rem; border-bottom: 1px solid #ddd; text-align: right; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; }
figure img { max-width: 100%; }
figcaption { font-size: .85rem; color: #555; }
pre { background: #f4f4f4; padding: .7rem; white-space: pre-wrap; overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% for section in sections %}
<h2>{{ section.heading }}</h2>
{% if section.text %}
<p>{{ section.text }}</p>
{% endif %}
{% if section.rows %}
<table>
<tr>{% for cell in section.header %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for row in section.rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
{% endif %}
{% if section.pictures %}
<div class="pictures">
{% for caption, source in section.pictures.items() %}
<figure><img alt="{{ caption }}" src="{{ embed(source) }}"><figcaption>{{ caption }}</figcaption></figure>
{% endfor %}
</div>
{% endif %}
{% if section.code %}
<pre>{{ section.code }}</pre>
{% endif %}
{% endfor %}
</body>
</html>
"""
)
MEDIA_TYPES = {'.png': 'image/png', '.jpg': 'image/jpeg', '.jpeg': 'image/jpeg', '.svg': 'image/svg+xml'}


@dataclass
class Section:
    """A part of the page: any of text, table, pictures and code, in this order, under a heading.

    Args:
        heading (str): Its heading.
        text (str): A paragraph.
        header (Sequence[str]): Column names of the table.
        rows (Sequence[Sequence]): Rows of the table; each cell is shown as ``str`` gives it.
        pictures (Mapping[str, str | Path]): Caption and file of each picture (PNG, JPEG or SVG).
        code (str): Shown as it is, in a fixed-width font.
    """

    heading: str
    text: str = ''
    header: Sequence[str] = ()
    rows: Sequence[Sequence] = ()
    pictures: Mapping[str, str | Path] = field(default_factory=dict)
    code: str = ''


def write_page(path: str | os.PathLike, title: str, sections: Sequence[Section]) -> Path:
    """Write sections as one HTML page that holds its pictures within itself, so that it can be moved or sent.

    Args:
        path (str | os.PathLike): The page's file name.
        title (str): Its title.
        sections (Sequence[Section]): Its parts.

    Returns:
        Path: The file that was written.

    Raises:
        FileNotFoundError: A picture does not exist.
        ValueError: A picture is neither PNG nor JPEG nor SVG.
    """
    path = Path(path)
    page = PAGE.render(title=title, sections=sections, embed=_as_data_url)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding='utf-8')
    return path


def _as_data_url(picture: str | Path) -> str:
    picture = Path(picture)
    if picture.suffix.lower() not in MEDIA_TYPES:
        raise ValueError(f'{picture} cannot stand in a page: pictures end in {", ".join(MEDIA_TYPES)}')
    content = base64.b64encode(picture.read_bytes()).decode('ascii')
    return f'data:{MEDIA_TYPES[picture.suffix.lower()]};base64,{content}'


def draw_beside_truth(
    samples: Sequence, out_dir: str | os.PathLike, dataset_meta: dict, score_thr: float = 0.3, enlarge: int = 2
) -> list[Path]:
    """Draw ground truth (left) and detections (right) of each picture with mmdet's visualiser.

    Args:
        samples (Sequence[DetDataSample]): Pictures with ``img_path``, ``gt_instances`` and ``pred_instances``, boxes in
            pixels of the file.
        out_dir (str | os.PathLike): Where the drawings go, as JPEG under the pictures' own names.
        dataset_meta (dict): ``classes`` and ``palette`` of the data set.
        score_thr (float): Detections below this score, in [0, 1], are left out.
        enlarge (int): Times by which small pictures are enlarged, so that labels can be read.

    Returns:
        list[Path]: The files that were written.
    """
    import mmcv
    from mmdet.visualization import DetLocalVisualizer

    # Named by its folder: a second visualiser of one name is refused by mmengine.
    visualizer = DetLocalVisualizer(name=f'beside_truth_{out_dir}', line_width=2, alpha=0.9)
    visualizer.dataset_meta = dataset_meta
    files = []
    for sample in samples:
        picture = mmcv.imread(sample.img_path, channel_order='rgb')
        picture = mmcv.imrescale(picture, enlarge, interpolation='nearest')
        drawn = sample.clone()
        for name in ('gt_instances', 'pred_instances'):
            instances = drawn.get(name).clone()
            instances.bboxes = getattr(instances.bboxes, 'tensor', instances.bboxes) * enlarge
            drawn.set_field(instances, name)
        files.append(Path(out_dir) / f'{Path(sample.img_path).stem}.jpg')
        visualizer.add_datasample('', picture, drawn, out_file=str(files[-1]), pred_score_thr=score_thr)
    return files
