"""The registries of mmaffnet: children of mmengine's, scope ``mmaffnet``, filled from their locations on first use."""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import PARAM_SCHEDULERS as MMENGINE_PARAM_SCHEDULERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import TASK_UTILS as MMENGINE_TASK_UTILS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='mmaffnet',
                  locations=['mmaffnet.models', 'mmaffnet.models.detection', 'mmaffnet.models.segmentation'])
TASK_UTILS = Registry('task util', parent=MMENGINE_TASK_UTILS, scope='mmaffnet',
                      locations=['mmaffnet.models.detection'])
TRANSFORMS = Registry('transform', parent=MMENGINE_TRANSFORMS, scope='mmaffnet', locations=['mmaffnet.datasets'])
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope='mmaffnet',
                    locations=['mmaffnet.datasets', 'mmaffnet.datasets.detection'])
DATA_SAMPLERS = Registry('data sampler', parent=MMENGINE_DATA_SAMPLERS, scope='mmaffnet',
                         locations=['mmaffnet.engine'])
METRICS = Registry('metric', parent=MMENGINE_METRICS, scope='mmaffnet', locations=['mmaffnet.engine'])
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='mmaffnet', locations=['mmaffnet.engine'])
OPTIM_WRAPPERS = Registry('optim wrapper', parent=MMENGINE_OPTIM_WRAPPERS, scope='mmaffnet',
                          locations=['mmaffnet.engine'])
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope='mmaffnet', locations=['mmaffnet.engine'])
PARAM_SCHEDULERS = Registry('parameter scheduler', parent=MMENGINE_PARAM_SCHEDULERS, scope='mmaffnet',
                            locations=['mmaffnet.engine'])
RUNNERS = Registry('runner', parent=MMENGINE_RUNNERS, scope='mmaffnet', locations=['mmaffnet.engine'])

# Without a parent: the name of a mixer ("Identity") means nothing outside an AFF block.
TOKEN_MIXERS = Registry('token mixer', scope='mmaffnet', locations=['mmaffnet.models.token_mixers'])
