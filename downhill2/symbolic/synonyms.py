"""Words of other packages and what to write here: hints in errors about unknown names.

The tables have what to write on the left, and on the right the words for it of torch, optax, Keras, scikit-learn,
Lightning, PyMC, SciPy and others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from ..checks import shown
from .declared import nearest

KEYWORDS = {
    "learning_rate=": "lr eta eta0 step_size stepsize base_lr init_lr initial_lr learning_rate_init learningrate",
    "learning_rate=, which takes a schedule of downhill2.schedules": "scheduler schedule lr_scheduler lr_schedule",
    "learning_rate_factor= in a group": "lr_mult lr_multiplier lr_scale",
    "beta1= and beta2=": "betas",
    "beta1=": "b1 beta_1",
    "beta2=": "b2 beta_2",
    "beta3=": "b3 beta_3",
    "epsilon=": "eps",
    "rho=": "alpha decay_rate smoothing_constant",
    "momentum=": "mu mom momentum_factor",
    "nesterov=": "use_nesterov nesterovs_momentum",
    "weight_decay=": "alpha wd l2 l2_reg l2_regularization l2_penalty weight_decay_rate weightdecay lambda_ reg_lambda",
    "decay='decoupled'": "decoupled decouple decoupled_weight_decay decoupled_decay decoupled_wd",
    "algo='amsgrad'": "amsgrad",
    "centered=": "centred",
    "loss=, and its negative to maximize": "maximize",
    "max_gradient_norm=": "clipnorm clip_norm norm_constraint",
    "max_gradient_elem=": "clipvalue clip_value grad_clip_value clip",
    "max_global_norm=": "global_clipnorm total_grad_norm_constraint gradient_clip_val max_grad_norm max_norm "
    "clip_grad_norm clip_by_global_norm grad_clip",
    "gradient_noise=": "noise noise_eta",
    "ema=": "use_ema ema_decay ema_momentum polyak_average",
    "swa=": "average swa_start averaging",
    "accumulate=": "gradient_accumulation_steps accumulate_grad_batches accumulation_steps every_k_schedule",
    "groups=": "param_groups parameter_groups params_groups",
    "transforms=": "transform gradient_transformers",
    "project=": "constraint constraints bounds",
    "algo=": "optimizer optim optimiser solver method opt algorithm obj_optimizer",
    "params=": "parameters variables weights model_parameters trainable_variables",
    "monitors=": "metrics monitor",
    "inputs=": "input_vars placeholders givens",
    "backend=": "mode device accelerator linker jit_compile",
    "max_epochs=": "epochs n_epochs num_epochs nb_epoch nb_epochs max_iter n_iter epoch",
    "max_updates=": "max_steps n_steps num_steps steps iterations n_iterations num_iterations maxiter "
    "n_updates num_train_steps",
    "max_seconds=": "max_time timeout time_limit",
    "batch_size=": "batch batchsize minibatch_size mini_batch_size bs n_batch",
    "train_batches=": "steps_per_epoch limit_train_batches",
    "valid_batches=": "validation_steps limit_val_batches",
    "train=": "train_data train_set train_dataset train_dataloaders train_loader training_data",
    "valid=": "validation_data val_data valid_data valid_set validation_set val_dataloaders val val_loader eval_set "
    "validation_split validation_fraction",
    "validate_every=": "validation_freq validation_frequency check_val_every_n_epoch val_check_interval eval_every",
    "valid_monitors=": "validation_metrics val_metrics",
    "patience=": "n_iter_no_change early_stopping early_stopping_patience early_stopping_rounds",
    "min_improvement=": "tol min_delta ftol rtol tolerance stopping_tolerance",
    "target=": "stopping_threshold fatol",
    "diverged=": "divergence_threshold",
    "restore_best=": "restore_best_weights load_best_model_at_end",
    "reduce_on_plateau=": "reduce_lr_on_plateau",
    "on_nonfinite=": "detect_anomaly terminate_on_nan skip_nonfinite",
    "rng=": "seed random_state random_seed",
    "shuffle='rows', which is the default, or shuffle=False": "shuffled shuffle_data",
    "checkpoint=": "checkpoint_dir ckpt_dir checkpoint_path default_root_dir save_dir output_dir enable_checkpointing",
    "resume='auto'": "ckpt_path resume_from_checkpoint warm_start initial_epoch",
    "callbacks=": "callback",
    "progress=True to see the run, or call downhill2.climate.enable_default_logging() for a log": "verbose progressbar "
    "progress_bar enable_progress_bar disp verbosity log_interval log_every_n_steps",
    "nothing: every step is compiled": "foreach fused capturable differentiable jit run_eagerly",
}

ALGORITHMS = {
    "algo='sgd'": "gd gradientdescent vanillasgd batchgradientdescent",
    "algo='sgd', momentum=0.9": "momentum sgdm sgdmomentum msgd heavyball sgdwithmomentum",
    "algo='nag', momentum=0.9": "nesterov nesterovmomentum nesterovsmomentum sgdnesterov",
    "algo='sgd', weight_decay=0.01, decay='decoupled'": "sgdw",
    "algo='noisysgd'": "sgld langevin",
    "algo='adam'": "sparseadam lazyadam fusedadam adam8bit pagedadam",
    "algo='adamw'": "adamw8bit pagedadamw adamwscale fusedadamw",
    "algo='schedulefree'": "sgdschedulefree schedulefreesgd",
    "algo='schedulefreeadamw'": "adamwschedulefree",
    "algo='radam', lookahead=6": "ranger ranger21",
    "lookahead=5 beside any algorithm": "lookahead",
    "sam=0.05 beside any algorithm": "sam asam",
    "ema=0.999 beside any algorithm": "ema movingaverage",
    "swa=1000 beside any algorithm": "swa averagedsgd",
    "mechanic=1e-6 beside any algorithm": "mechanic mechanize",
}

LACKING = {
    "'adamw'": "muon adamp adai",
    "'adafactor'": "shampoo distributedshampoo soap kfac psgd kron galore came",
    "'esgd'": "adahessian sophia sophiag",
    "'amsgrad'": "adabound amsbound",
    "'lion'": "tiger",
    "'ademamix'": "aggmo",
    "'rprop' with batch_size=0": "lbfgs lbfgsb bfgs cg ncg newton newtoncg conjugategradient "
    "trustncg trustexact slsqp tnc neldermead powell levenbergmarquardt lm",
}
"""The nearest algorithm to each one that is missing. Those of the last row use all data at once, as Rprop should."""

METHODS = {
    "minimize(train, valid), or iterate(train, valid) for a loop of your own": "fit train run optimize optimise learn "
    "solve fit_generator",
    "minimize or iterate, which make the updates, or a pytensor.function of your own with updates=opt.get_updates()":
    "step update train_step train_on_batch partial_fit zero_grad apply_gradients apply_updates backward compile",
    "evaluate(data)": "score test validate",
    "pytensor.function(inputs, prediction): an optimizer knows the loss alone": "predict forward",
    "params": "parameters trainable_variables weights",
    "groups": "param_groups",
    "hyper": "hyperparameters get_config defaults hparams",
    "learning_rate": "lr",
}  # fmt: skip


def _inverted(table: Mapping[str, str]) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for written, words in table.items():
        for word in words.split():
            out.setdefault(word, []).append(written)
    return out


STOPPING = ("stop_training", "should_stop")
"""Attributes that Keras and Lightning set to end a run."""

MEANINGS, KNOWN_AS, NEAREST, CALLED = map(_inverted, (KEYWORDS, ALGORITHMS, LACKING, METHODS))


def keyword(owner: str, name: str, hyper: Collection[str], elsewhere: Mapping[str, str]) -> str:
    """Return the message for a keyword that is no hyperparameter.

    Parameters
    ----------
    owner, name : str
        The algorithm and the keyword.
    hyper : collection of str
        The names that the algorithm has.
    elsewhere : mapping of str to str
        All other keywords, and where those belong that are in the wrong place.
    """
    if elsewhere.get(name):
        return f"{name} {elsewhere[name]}"
    known = [*hyper, "preset", *elsewhere]
    meant = [text for text in MEANINGS.get(name, ()) if _written(text) <= {*known}]
    hint = f"; write {' or '.join(meant)}" if meant else nearest(name, known)
    named = _written(meant[0]) if meant else {*re.findall(r"'(\w+)'", hint)}
    is_option = bool(named) and not named & {*hyper, "preset"}
    return f"{'there is no option' if is_option else f'{owner} has no hyperparameter'} {name!r}{hint}"


def _written(text: str) -> set[str]:
    """Return the keywords that a text names."""
    return {*re.findall(r"\b(\w+)=", text)}


def unknown_algorithm(name: str, known: Iterable[str], lists: str) -> str:
    """Return the message for an unknown algorithm; `lists` is the call that lists all."""
    hint = algorithm(name, known)
    return f"unknown algorithm {shown(name)}{hint}{' ' if hint.endswith('?') else '; '}{lists} lists all"


def algorithm(name: str, known: Iterable[str]) -> str:
    """Return the hint for an unknown algorithm: begins with a semicolon, or is empty."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if plain in KNOWN_AS:
        return f"; write {KNOWN_AS[plain][0]}"
    if plain in NEAREST:
        return f"; there is none here, and {NEAREST[plain][0]} is the nearest"
    return nearest(name.lower(), known)


def attribute(name: str) -> str:
    """Return what to write in place of setting an attribute that optimizers have not; empty if nothing is known."""
    if name in STOPPING:
        return "opt.stop('why') in a callback"
    return MEANINGS[name][0] if name in MEANINGS else ""


def method(name: str) -> str:
    """Return the hint for an attribute that optimizers do not have: begins with a semicolon, or is empty."""
    return f"; write {CALLED[name][0]}" if name in CALLED else ""
