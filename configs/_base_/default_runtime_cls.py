_base_ = './default_runtime.py'

default_scope = 'mmpretrain'
default_hooks = dict(checkpoint=dict(save_best='accuracy/top1'), visualization=dict(type='VisualizationHook'))
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
