"""Names of settings in other libraries, and what they are called in an experiment file."""

from __future__ import annotations

from collections.abc import Iterator

from mm_kptm.config.kinds import Settings, shapes_of, typed_fields

_FRACTION = "a fraction of the steps"
_TOTAL = "examples of a step over all processes and accumulation"
_MEASURE = "a split and a measure, such as dev/accuracy"
_PRECISION = "fp32, bf16 or fp16"
_RECIPE = "a name from `mm-kptm list systems`"
_STEPS = "in steps"

#: Keys of experiments by the names of other libraries; a note follows where the value differs too. Sources:
#: TrainingArguments and the example scripts of transformers, Trainer and callbacks of Lightning, the options of
#: fairseq's ``fairseq-train``, those of open_clip's training script.
_NAMES: dict[str, tuple[str, str]] = {
    # transformers
    "num_train_epochs": ("train.epochs", ""),
    "max_steps": ("train.steps", ""),
    "learning_rate": ("train.lr", ""),
    "per_device_train_batch_size": ("train.batch_size", _TOTAL),
    "per_device_eval_batch_size": ("train.batch_size", _TOTAL),
    "train_batch_size": ("train.batch_size", _TOTAL),
    "eval_batch_size": ("train.batch_size", _TOTAL),
    "warmup_ratio": ("train.warmup", _FRACTION),
    "warmup_steps": ("train.warmup", _FRACTION),
    "lr_scheduler_type": ("train.schedule", ""),
    "adam_beta1": ("train.betas", "a list of two"),
    "adam_beta2": ("train.betas", "a list of two"),
    "adam_epsilon": ("train.eps", ""),
    "optim": ("train.optimizer", ""),
    "logging_steps": ("train.log_every", ""),
    "eval_steps": ("train.eval_every", ""),
    "evaluation_strategy": ("train.eval_every", _STEPS),
    "eval_strategy": ("train.eval_every", _STEPS),
    "save_strategy": ("train.save_every", _STEPS),
    "logging_strategy": ("train.log_every", _STEPS),
    "load_best_model_at_end": ("train.monitor", _MEASURE),
    "save_steps": ("train.save_every", ""),
    "save_total_limit": ("train.keep_last", ""),
    "metric_for_best_model": ("train.monitor", _MEASURE),
    "early_stopping_patience": ("train.patience", ""),
    "dataloader_num_workers": ("train.num_workers", ""),
    "ddp_find_unused_parameters": ("train.unused_parameters", ""),
    "torch_compile": ("train.compile", ""),
    "bf16": ("train.precision", _PRECISION),
    "fp16": ("train.precision", _PRECISION),
    "report_to": ("train.trackers", "a list, such as [wandb]"),
    "gradient_checkpointing": ("train.activation_checkpointing", ""),
    "fsdp": ("train.parallel", ""),
    "output_dir": ("out", "the parent of the run folders"),
    "run_name": ("name", ""),
    "model_name_or_path": ("encoder.recipe", _RECIPE),
    "task_name": ("task", ""),
    "dataset_name": ("data.name", ""),
    "train_file": ("data.train", ""),
    "validation_file": ("data.dev", ""),
    "test_file": ("data.test", ""),
    "max_seq_length": ("data.max_length", ""),
    # Lightning
    "max_epochs": ("train.epochs", ""),
    "accumulate_grad_batches": ("train.gradient_accumulation_steps", ""),
    "gradient_clip_val": ("train.max_grad_norm", ""),
    "val_check_interval": ("train.eval_every", _STEPS),
    "check_val_every_n_epoch": ("train.eval_every", _STEPS),
    "log_every_n_steps": ("train.log_every", ""),
    "every_n_train_steps": ("train.save_every", ""),
    "save_top_k": ("train.keep_last", ""),
    "default_root_dir": ("out", "the parent of the run folders"),
    "strategy": ("train.parallel", ""),
    "seed_everything": ("train.seed", ""),
    "float32_matmul_precision": ("train.tf32", "true or false"),
    # fairseq
    "max_update": ("train.steps", ""),
    "max_epoch": ("train.epochs", ""),
    "update_freq": ("train.gradient_accumulation_steps", ""),
    "clip_norm": ("train.max_grad_norm", ""),
    "warmup_updates": ("train.warmup", _FRACTION),
    "lr_scheduler": ("train.schedule", ""),
    "adam_betas": ("train.betas", ""),
    "adam_eps": ("train.eps", ""),
    "max_sentences": ("train.batch_size", _TOTAL),
    "save_interval_updates": ("train.save_every", ""),
    "validate_interval_updates": ("train.eval_every", ""),
    "keep_interval_updates": ("train.keep_last", ""),
    "log_interval": ("train.log_every", ""),
    "best_checkpoint_metric": ("train.monitor", _MEASURE),
    "save_dir": ("out", "the parent of the run folders"),
    "checkpoint_activations": ("train.activation_checkpointing", ""),
    "arch": ("encoder.recipe", _RECIPE),
    "finetune_from_model": ("encoder.weights", ""),
    # ELECTRA, BEiT
    "layerwise_lr_decay": ("train.layer_decay", ""),
    "layer_wise_lr_decay": ("train.layer_decay", ""),
    # open_clip
    "accum_freq": ("train.gradient_accumulation_steps", ""),
    "wd": ("train.weight_decay", ""),
    "beta1": ("train.betas", "a list of two"),
    "beta2": ("train.betas", "a list of two"),
    "grad_clip_norm": ("train.max_grad_norm", ""),
    "workers": ("train.num_workers", ""),
    "save_frequency": ("train.save_every", _STEPS),
    "wandb": ("train.trackers", "a list, such as [wandb]"),
    "val_frequency": ("train.eval_every", _STEPS),
    "torchcompile": ("train.compile", ""),
    "grad_checkpointing": ("train.activation_checkpointing", ""),
    "logs": ("out", "the parent of the run folders"),
    "model": ("encoder.recipe", _RECIPE),
    "pretrained": ("encoder.weights", ""),
    "train_data": ("data.train", ""),
    "val_data": ("data.dev", ""),
}


def name_here(shape: type[Settings], keys: tuple[str, ...]) -> str:
    """``; x is called train.y here`` for an unknown key that other libraries have, or that stands elsewhere.

    Args:
        shape: dataclass of the whole file.
        keys: path of the unknown key.

    Returns:
        The end of a sentence; empty where nothing is known of the key.
    """
    word = keys[-1].replace("-", "_").lower()
    paths = set(_paths(shape, ""))
    here, note = _NAMES.get(word, ("", ""))
    if ".".join(keys) in paths:  # of another choice of the same block
        return ""
    if here in paths:
        return f"; {keys[-1]} is called {here} here" + (f" ({note})" if note else "")
    elsewhere = sorted(path for path in paths if path.rpartition(".")[2] == word)
    return f"; did you mean {elsewhere[0]}?" if len(elsewhere) == 1 else ""


def _paths(shape: type[Settings], prefix: str) -> Iterator[str]:
    """Dotted key of every field, those of all choices of a union included."""
    for field, kind in typed_fields(shape):
        yield prefix + field.name
        for inner in shapes_of(kind):
            yield from _paths(inner, f"{prefix}{field.name}.")
