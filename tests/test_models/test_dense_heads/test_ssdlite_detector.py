"""The whole detector: the reference's numbers, parameters, and the ground truth sent through prediction."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

pytest.importorskip('mmdet')
from mmdet.evaluation import CocoMetric  # noqa: E402
from mmdet.models.test_time_augs import DetTTAModel  # noqa: E402
from mmdet.registry import DATASETS, MODELS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmengine.dataset import pseudo_collate  # noqa: E402
from mmengine.model import revert_sync_batchnorm  # noqa: E402

from mmaffnet.checkpoint_ssdlite import convert_ssdlite_state  # noqa: E402

ACT = {'swish': dict(type='SiLU'), 'relu': dict(type='ReLU')}
NORM = {'layer_norm_2d': dict(type='GN', num_groups=1), 'layer_norm': dict(type='mmaffnet.ChannelNorm')}
YAML_WIDTHS = (512, 256, 256, 128, 128, 64)
LEAVES = dict(et=1_999_226, t=3_014_074, base=5_692_506)
YAML_PARAMETERS = dict(et=1_659_386, t=2_674_234, base=5_352_666)


def load(config_root, arch):
    init_default_scope('mmdet')
    return Config.fromfile(config_root / f'ssdlite/ssdlite_affnet-{arch}_8xb16-200e_coco.py')


def with_yaml_widths(model):
    channels = (*model.neck.in_channels, *YAML_WIDTHS[2:])
    model.neck.out_channels = model.bbox_head.in_channels = channels
    model.bbox_head.feat_channels = YAML_WIDTHS
    return model


@pytest.fixture(scope='module')
def released(reference, reference_weights):
    data = reference('ssd_et.pt')
    return data['cases'], reference_weights.state_dict(data['spec'])


@pytest.mark.parametrize('index', range(4))
def test_reference_detector(config_root, released, reference_weights, index):
    cases, state = released
    case, options = cases[index], cases[index]['options']
    model = with_yaml_widths(load(config_root, 'et').model)
    model.backbone.update(
        variant='release', act_cfg=ACT[options['encoder_activation']],
        token_norm_cfg=NORM[options['attn_norm_layer']],
        token_mixer=dict(type='AFF', act_cfg=ACT[options['filter_activation']]))
    model.neck.act_cfg = model.bbox_head.act_cfg = ACT[options['head_activation']]
    model.bbox_head.bbox_coder.clip_border = False  # the reference's boxes are not clipped
    model = revert_sync_batchnorm(MODELS.build(model)).eval()
    model.load_state_dict(convert_ssdlite_state(state))

    picture = reference_weights.image(case['input']['shape'], case['input']['seed'])
    # The data preprocessor's part: RGB from BGR in [0, 255].
    batch = model.data_preprocessor(dict(
        inputs=[picture[0].flip(0) * 255],
        data_samples=[DetDataSample(metainfo=dict(img_shape=(320, 320), scale_factor=(320 / 640, 320 / 480)))]))
    with torch.no_grad():
        scores, deltas = model.bbox_head(model.extract_feat(batch['inputs']))
        result, = model.predict(batch['inputs'], batch['data_samples'], rescale=True)

    def in_reference_order(maps, last):
        return torch.cat([m.permute(0, 2, 3, 1).reshape(1, -1, last) for m in maps], dim=1)

    got = dict(scores=in_reference_order(scores, 81).roll(1, dims=-1), boxes=in_reference_order(deltas, 4))
    for key, value in got.items():
        steps = case['steps'][key] or (1, 1, 1)
        torch.testing.assert_close(
            value[tuple(slice(None, None, step) for step in steps)], case['outputs'][key],
            rtol=case['rtol'], atol=case['atol'][key])
    want, result = case['detections'], result.pred_instances
    torch.testing.assert_close(result.labels + 1, want['labels'])
    torch.testing.assert_close(result.scores, want['scores'], rtol=0, atol=1e-4)
    torch.testing.assert_close(result.bboxes / torch.tensor([640, 480] * 2), want['boxes'], rtol=0, atol=1e-4)


def test_conversion_names_what_it_does_not_know(released):
    _, state = released
    with pytest.raises(KeyError, match='other.weight is not a key of the released SSD'):
        convert_ssdlite_state({**state, 'other.weight': torch.zeros(1)})
    with pytest.raises(ValueError, match=r'510 outputs.*4 \+ 1 \+ 79'):
        convert_ssdlite_state(state, num_classes=79)


@pytest.mark.parametrize('arch', LEAVES)
def test_parameters(config_root, arch):
    cfg = load(config_root, arch)
    assert sum(p.numel() for p in MODELS.build(cfg.model).parameters()) == LEAVES[arch]
    assert sum(p.numel() for p in MODELS.build(with_yaml_widths(cfg.model)).parameters()) == YAML_PARAMETERS[arch]


@pytest.mark.parametrize('height, width', [(97, 65), (32, 32)])
def test_odd_inputs_train_and_predict(config_root, height, width):
    cfg = load(config_root, 'et')
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    sample = DetDataSample(metainfo=dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1, 1)))
    sample.gt_instances = _instances([[2.0, 3.0, 30.0, 20.0]], [4])
    batch = model.data_preprocessor(
        dict(inputs=[torch.randint(0, 256, (3, height, width), dtype=torch.uint8)] * 2, data_samples=[sample] * 2))
    loss, _ = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    assert torch.isfinite(loss) and all(p.grad is not None for p in model.parameters())
    assert len(model.eval()(**batch, mode='predict')) == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_mixed_precision_on_a_gpu_agrees_with_float32_on_the_cpu(config_root):
    cfg = load(config_root, 'et')
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
    model.init_weights()
    sample = DetDataSample(metainfo=dict(img_shape=(320, 320), ori_shape=(320, 320), scale_factor=(1, 1)))
    sample.gt_instances = _instances([[20.0, 30.0, 130.0, 220.0]], [4])
    data = dict(inputs=[torch.randint(0, 256, (3, 320, 320), dtype=torch.uint8)] * 2, data_samples=[sample] * 2)
    want, _ = model.parse_losses(model(**model.data_preprocessor(data), mode='loss'))
    model.cuda()
    with torch.autocast('cuda', dtype=torch.float16):
        loss, _ = model.parse_losses(model(**model.data_preprocessor(data), mode='loss'))
    loss.backward()
    assert loss.item() == pytest.approx(want.item(), rel=0.02)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    with torch.autocast('cuda', dtype=torch.float16), torch.no_grad():
        result = model(**model.data_preprocessor(data), mode='predict')[0].pred_instances
    assert result.bboxes.dtype == torch.float32 and result.bboxes.is_cuda


def test_test_time_augmentation(config_root, data_root):
    cfg = load(config_root, 'et')
    dataset_cfg = cfg.test_dataloader.dataset
    dataset_cfg.update(data_root=str(data_root / 'coco'), pipeline=cfg.tta_pipeline)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    tta = MODELS.build(dict(cfg.tta_model, module=model)).eval()
    batch = pseudo_collate([DATASETS.build(dataset_cfg)[3]])
    plain, flipped = (samples[0] for samples in batch['data_samples'])
    assert (plain.flip, flipped.flip) == (False, True)
    assert torch.equal(batch['inputs'][0][0], batch['inputs'][1][0].flip(-1))
    result, = tta.test_step(batch)
    height, width = plain.ori_shape
    boxes = result.pred_instances.bboxes
    assert 0 < len(boxes) <= 200
    assert (boxes >= 0).all() and (boxes <= torch.tensor([width, height] * 2) + 1e-3).all()

    # The mirrored photograph gives the mirrored boxes, since both views are in either.
    mirrored, = tta.test_step(dict(
        inputs=batch['inputs'][::-1], data_samples=[[s] for s in _relabelled(flipped, plain)]))
    want = boxes[:, [2, 1, 0, 3]] * torch.tensor([-1.0, 1, -1, 1]) + torch.tensor([width, 0.0, width, 0])
    torch.testing.assert_close(mirrored.pred_instances.scores, result.pred_instances.scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mirrored.pred_instances.bboxes, want, rtol=1e-3, atol=0.1)


def _relabelled(first, second):
    """The views of a photograph, said to be those of its mirror image."""
    for sample, flip in ((first, False), (second, True)):
        sample.set_metainfo(dict(flip=flip, flip_direction='horizontal' if flip else None))
    return first, second


def _instances(boxes, labels):
    from mmengine.structures import InstanceData
    return InstanceData(bboxes=torch.tensor(boxes), labels=torch.tensor(labels))


# The ground truth as predictions


def _as_outputs(head, sample):
    """Outputs of the head that say exactly what is annotated, each box on an anchor of its own."""
    sides = [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
    anchors = torch.cat(head.prior_generator.grid_priors(sides, device='cpu'))
    height, width = sample.img_shape
    boxes = sample.gt_instances.bboxes / torch.tensor([width, height] * 2)
    scores = torch.zeros(len(anchors), head.cls_out_channels)
    scores[:, -1] = 30
    deltas = torch.zeros(len(anchors), 4)
    used = torch.arange(len(boxes)) * 37 % len(anchors)
    scores[used, sample.gt_instances.labels] = 60
    deltas[used] = head.bbox_coder.encode(anchors[used], boxes)
    chunks = [h * w * a for (h, w), a in zip(sides, head.num_base_priors, strict=True)]
    return [[chunk.view(1, h, w, -1).permute(0, 3, 1, 2)
             for chunk, (h, w) in zip(values.split(chunks), sides, strict=True)] for values in (scores, deltas)]


@pytest.mark.parametrize('mistake', [None, 'not flipped back', 'label shifted'])
def test_ground_truth_as_predictions_has_ap_1(config_root, data_root, mistake):
    cfg = load(config_root, 'et')
    coco = data_root / 'coco'
    dataset_cfg = cfg.val_dataloader.dataset
    loading, annotations = cfg.train_pipeline[:2]
    dataset_cfg.update(data_root=str(coco), pipeline=[
        loading, annotations, dict(type='RandomFlip', prob=1.0), cfg.resize,
        dict(type='PackDetInputs', meta_keys=cfg.meta_keys)])
    dataset = DATASETS.build(dataset_cfg)
    assert len(dataset) == 64
    cfg.model.test_cfg.nms = None  # annotated boxes of one class overlap by more than NMS allows
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
    metric = CocoMetric(ann_file=str(coco / dataset_cfg.ann_file), metric='bbox')
    metric.dataset_meta = dataset.metainfo
    tta = DetTTAModel(module=model, tta_cfg=cfg.model.test_cfg)

    for index in range(len(dataset)):
        batch = model.data_preprocessor(pseudo_collate([dataset[index]]))
        sample, = batch['data_samples']
        outputs = _as_outputs(model.bbox_head, sample)
        result, = model.bbox_head.predict_by_feat(*outputs, batch_img_metas=[sample.metainfo], rescale=True)
        if mistake == 'label shifted':
            result.labels = (result.labels + 1) % 80
        if mistake == 'not flipped back':
            sample.set_metainfo(dict(flip=False))
        sample.pred_instances = result
        merged, = tta.merge_preds([[sample]])  # flips the boxes back by the recorded direction
        metric.process(None, [merged.to_dict()])
    scores = metric.evaluate(len(dataset))
    if mistake is None:
        assert scores['coco/bbox_mAP'] == scores['coco/bbox_mAP_75'] == scores['coco/bbox_mAP_s'] == 1.0
    else:
        assert scores['coco/bbox_mAP'] < 0.5
