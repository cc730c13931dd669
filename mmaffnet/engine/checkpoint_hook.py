"""Save checkpoints so that at no moment less than one usable checkpoint and one best file exists."""
import hashlib
import io
import os.path as osp
from collections import deque

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.fileio import get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import CheckpointLoader

from mmaffnet.registry import HOOKS

from .atomic import BACKEND, clear_stale, write_atomically
from .errors import UserError, say
from .plain import from_plain, to_plain
from .stop_request import stop_request

POINTER = 'last_checkpoint'
INTERRUPTED = 'interrupted_iter_{}.pth'
# Entries of the message hub, which travels with every checkpoint.
OUTDATED = 'outdated_ckpts'  # files that go once the checkpoint that lists them is complete


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's hook, which deletes the old checkpoint and the old best one before the new one exists.

    The order here: new file complete, pointer ``last_checkpoint``, then the outdated files; after a validation new
    best file complete, last checkpoint saved again with all that the validation changed, then the outdated best file.
    Each checkpoint lists the files that were about to go, so that a run that was killed in between removes them when
    it resumes. Takes the options of mmengine's hook; local files are written by
    :class:`mmaffnet.engine.atomic.AtomicLocalBackend` unless ``backend_args`` says otherwise.
    """

    saved_iter = None  # finished iterations of the last regular checkpoint of this process

    def before_train(self, runner):
        """Find the files of the run, and remove what a killed run left behind.

        Args:
            runner (Runner): The run.
        """
        if self.backend_args is None and self.file_client_args is None and '://' not in str(self.out_dir or ''):
            self.backend_args = dict(backend=BACKEND)
        super().before_train(runner)
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(self.keep_ckpt_ids)  # mmengine's, of bounded length, forgets before we delete
        self._outdated = list(runner.message_hub.get_info(OUTDATED, []))
        self._find_moved(runner)
        if is_main_process():
            folders = {runner.work_dir, *([] if '://' in str(self.out_dir) else [self.out_dir])}
            for path in (path for folder in folders for path in clear_stale(folder)):
                say(f'removed {path}: a checkpoint that an earlier run did not finish writing')
        # A checkpoint of an interruption lists itself: it goes when the next regular one is complete.
        self._remove_outdated(runner, keep=osp.basename(str(runner._load_from)))

    def after_val_epoch(self, runner, metrics):
        """Save a new best checkpoint, and the last one again with what the validation changed.

        Args:
            runner (Runner): The run.
            metrics (dict): Results of the validation.
        """
        if not hasattr(self, 'file_backend'):  # validation alone: nothing was trained that could be saved
            return
        stop_request.interruptible = False  # the validation is done: what comes now is finished
        if metrics:
            better = self._save_best_checkpoint(runner, metrics)
        else:
            better = False
            runner.logger.warning('the validation gave no metrics, so there is no best checkpoint')
        step = runner.epoch if self.by_epoch else runner.iter
        saved = self.last_ckpt is not None
        if saved and (better or osp.basename(self.last_ckpt) == self.filename_tmpl.format(step)):
            self._save_checkpoint_with_step(runner, step, dict(epoch=runner.epoch, iter=runner.iter))
        elif not saved and not runner._resume:  # nothing to resume from yet that would name the old best file
            self._remove_outdated(runner)

    def _save_checkpoint_with_step(self, runner, step, meta):
        name = self.filename_tmpl.format(step)
        self._note_outdated(runner, step, name)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir, name, self.file_client_args, save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler, meta=meta, by_epoch=self.by_epoch,
            backend_args=self.backend_args, **self.args)
        write_pointer(runner, self.last_ckpt)
        self.saved_iter = meta['iter']
        self._remove_outdated(runner)

    def _note_outdated(self, runner, step, name):
        """Count the coming checkpoint among those to keep; the surplus is listed in it."""
        if self.max_keep_ckpts > 0:
            if not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step:
                self.keep_ckpt_ids.append(step)
            while len(self.keep_ckpt_ids) > self.max_keep_ckpts:
                self._outdated.append(self.filename_tmpl.format(self.keep_ckpt_ids.popleft()))
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        self._outdated = [old for old in self._outdated if old != name]
        runner.message_hub.update_info(OUTDATED, list(self._outdated))

    def save_interrupted(self, runner, meta):
        """Save a checkpoint outside the regular ones, which goes when the next regular one is complete.

        Args:
            runner (Runner): The run.
            meta (dict): ``epoch`` (finished ones) and ``iter`` (finished ones).

        Returns:
            str: The file; the pointer names it.
        """
        name = INTERRUPTED.format(meta['iter'])
        path = self.file_backend.join_path(self.out_dir, name)
        self._outdated = [*(old for old in self._outdated if old != name), name]
        runner.message_hub.update_info(OUTDATED, list(self._outdated))
        runner.save_checkpoint(self.out_dir, name, self.file_client_args, meta=meta, by_epoch=False,
                               backend_args=self.backend_args)
        write_pointer(runner, path)
        self._remove_outdated(runner, keep=name)
        return path

    def _remove_outdated(self, runner, keep=None):
        """Delete what the last complete checkpoint lists as outdated, on rank 0; ``keep`` stays, and stays listed."""
        used = {osp.basename(str(path)) for path in (self.last_ckpt, *self._best_paths()) if path}
        for name in self._outdated if is_main_process() else ():
            path = self.file_backend.join_path(self.out_dir, name)
            if name == keep or name in used:
                continue
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):  # deepspeed's are folders
                self.file_backend.rmtree(path)
        self._outdated = [name for name in self._outdated if name == keep]
        runner.message_hub.update_info(OUTDATED, list(self._outdated))

    def _save_best_checkpoint(self, runner, metrics):
        """bool: Whether the validation was the best so far in any of ``save_best``; then its file is complete."""
        if not self.save_best:
            return False
        if 'auto' in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
        step = runner.epoch if self.by_epoch else runner.iter
        better = False
        for key, rule in zip(self.key_indicators, self.rules, strict=True):
            suffix = '' if len(self.key_indicators) == 1 else f'_{key}'
            if key not in metrics:
                raise UserError(f'save_best={key!r} of the checkpoint hook is not among the metrics of the validation '
                                f'({", ".join(metrics)}): name one of them')
            score = metrics[key]
            best = runner.message_hub.get_info(f'best_score{suffix}', self.init_value_map[rule])
            if score is None or not self.is_better_than[key](score, best):
                continue
            better = True
            former = self._best_path(key)
            name = f'best_{key}_{self.filename_tmpl.format(step)}'.replace('/', '_')
            self._set_best_path(key, self.file_backend.join_path(self.out_dir, name))
            runner.message_hub.update_info(f'best_score{suffix}', score)
            runner.message_hub.update_info(f'best_ckpt{suffix}', self._best_path(key))
            runner.save_checkpoint(
                self.out_dir, filename=name, file_client_args=self.file_client_args, save_optimizer=False,
                save_param_scheduler=False, meta=dict(epoch=runner.epoch, iter=runner.iter), by_epoch=False,
                backend_args=self.backend_args)
            if former and osp.basename(former) != name:
                self._outdated.append(osp.basename(former))
            runner.logger.info(f'The best checkpoint with {score:0.4f} {key} at {step} '
                               f'{"epoch" if self.by_epoch else "iter"} is saved to {name}.')
        return better

    def _best_path(self, key):
        return self.best_ckpt_path if len(self.key_indicators) == 1 else self.best_ckpt_path_dict.get(key)

    def _set_best_path(self, key, path):
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = path
        else:
            self.best_ckpt_path_dict[key] = path

    def _best_paths(self):
        return [self._best_path(key) for key in self.key_indicators] if self.save_best else []

    def _find_moved(self, runner):
        """After resuming: the last checkpoint and the best ones by their names, the work directory may have moved."""
        for key in self.key_indicators if self.save_best else ():
            former = self._best_path(key)
            if former:
                self._set_best_path(key, self.file_backend.join_path(self.out_dir, osp.basename(former)))
        last = runner.message_hub.get_info('last_ckpt')
        step = runner.epoch if self.by_epoch else runner.iter
        if last and osp.basename(last) == self.filename_tmpl.format(step):
            path = self.file_backend.join_path(self.out_dir, osp.basename(last))
            self.last_ckpt = path if self.file_backend.exists(path) else None

    @master_only
    def _publish_model(self, runner, ckpt_path):
        """Write the keys to publish; mmengine's, written in place, is named by a hash that is not the file's.

        Args:
            runner (Runner): The run.
            ckpt_path (str | None): A checkpoint, None where there is no best one.
        """
        if ckpt_path is None:
            return
        checkpoint = to_plain(from_plain(CheckpointLoader.load_checkpoint(ckpt_path, map_location='cpu')))
        published = {key: value for key, value in checkpoint.items() if key in self.published_keys}
        buffer = io.BytesIO()
        torch.save(published, buffer)
        path = f'{osp.splitext(ckpt_path)[0]}-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth'
        get_file_backend(path, backend_args=self.backend_args).put(buffer.getvalue(), path)
        runner.logger.info(f'{ckpt_path} is published as {path}, with {", ".join(published)}.')


def write_pointer(runner, path):
    """Let ``--resume`` start from a checkpoint, on rank 0.

    Args:
        runner (Runner): The run, whose work directory holds the pointer.
        path (str): A complete checkpoint.
    """
    if is_main_process():
        write_atomically(osp.join(runner.work_dir, POINTER), path)
