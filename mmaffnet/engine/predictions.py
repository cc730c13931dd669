"""One picture's predictions as plain data, and drawn by the host's visualizer."""
import mmengine.fileio as fileio
import numpy as np

from mmaffnet.pictures import decode, read_bytes

TOP = 5  # classes of a classifier that are written down


def as_json(host, sample, classes):
    """Turn a host's prediction into what JSON can hold.

    Args:
        host (str): 'mmdet', 'mmseg' or 'mmpretrain'.
        sample (BaseDataElement): The prediction on one picture.
        classes (Sequence[str]): Names of the labels; empty where they are not known.

    Returns:
        dict: ``height``, ``width``, and for

        - detection ``detections``: label, class, score, ``bbox`` [x1, y1, x2, y2] in pixels of the picture, and
          ``mask`` (COCO's run lengths) where the model predicts masks; highest score first;
        - segmentation ``segments``: label, class and number of pixels, largest first;
        - classification ``classes``: label, class, score of the five likeliest.
    """
    height, width = (int(side) for side in sample.ori_shape[:2])
    result = dict(height=height, width=width)
    if host == 'mmdet':
        result['detections'] = _detections(sample.pred_instances.cpu(), classes)
    elif host == 'mmseg':
        labels, counts = np.unique(sample.pred_sem_seg.data.cpu().numpy(), return_counts=True)
        order = counts.argsort()[::-1]
        result['segments'] = [dict(_named(labels[i], classes), pixels=int(counts[i])) for i in order]
    else:
        scores = sample.pred_score.cpu()
        result['classes'] = [dict(_named(i, classes), score=float(scores[i]))
                             for i in scores.argsort(descending=True)[:TOP].tolist()]
    return result


def draw(visualizer, host, image, sample, out, score_thr, names=True):
    """Draw a prediction on its picture and write it.

    Args:
        visualizer (Visualizer): The host's.
        host (str): 'mmdet', 'mmseg' or 'mmpretrain'.
        image (Path): The picture.
        sample (BaseDataElement): The prediction.
        out (Path): File to write.
        score_thr (float): Boxes below are not drawn.
        names (bool): Of segments: write the classes into them.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    pixels = read_rgb(image)
    if host == 'mmpretrain':
        visualizer.visualize_cls(pixels, sample, out_file=str(out))
        return
    options = dict(pred_score_thr=score_thr) if host == 'mmdet' else {}
    if host == 'mmseg' and not names:
        options = dict(with_labels=False)
    visualizer.add_datasample(image.name, pixels, sample, draw_gt=False, out_file=str(out), **options)


def read_rgb(image):
    """Read a picture.

    Args:
        image (Path): The file.

    Returns:
        numpy.ndarray: RGB, (H, W, 3), 8 bits.

    Raises:
        BadPicture: Where it cannot be read.
    """
    return np.ascontiguousarray(decode(read_bytes(str(image), fileio.get), image)[..., ::-1])  # BGR to RGB


def _detections(instances, classes):
    found = []
    for index in instances.scores.argsort(descending=True).tolist():
        item = dict(_named(instances.labels[index], classes), score=float(instances.scores[index]),
                    bbox=[float(side) for side in instances.bboxes[index]])
        if 'masks' in instances:
            from pycocotools import mask
            encoded = mask.encode(np.asfortranarray(instances.masks[index].numpy().astype(np.uint8)))
            item['mask'] = dict(size=encoded['size'], counts=encoded['counts'].decode())
        found.append(item)
    return found


def _named(label, classes):
    label = int(label)
    return dict(label=label, **{'class': classes[label]} if classes else {})
