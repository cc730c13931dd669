_base_ = './default_runtime.py'

default_scope = 'mmdet'
default_hooks = dict(checkpoint=dict(save_best='coco/bbox_mAP'), visualization=dict(type='DetVisualizationHook'))
visualizer = dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
