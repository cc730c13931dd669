_base_ = './default_runtime.py'

default_scope = 'mmseg'
default_hooks = dict(checkpoint=dict(save_best='mIoU'), visualization=dict(type='SegVisualizationHook'))
tta_model = dict(type='SegTTAModel')
visualizer = dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
