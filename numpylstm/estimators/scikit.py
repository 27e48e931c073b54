"""What scikit-learn expects of an estimator. It is imported only here, and only when it is in use."""

from __future__ import annotations

import copy
import inspect
import sys


class NotFittedError(ValueError, AttributeError):
    """Raised when an estimator is used in a way that needs `fit` first."""

    def __reduce__(self):
        return not_fitted, self.args


def not_fitted(message: str) -> NotFittedError:
    """Return the error; if scikit-learn is in use, one that its own `except NotFittedError` also catches."""
    theirs = sys.modules.get("sklearn.exceptions")
    if theirs is None:
        return NotFittedError(message)
    return type("NotFittedError", (NotFittedError, theirs.NotFittedError), {"__module__": __name__})(message)


def tags(kind: str | None, *, floats: bool, targets: bool):
    """Return scikit-learn's `Tags` of an estimator over sequences of ids, or (`floats`) also of vectors.

    kind: "classifier", "regressor" or None for one that writes sequences, whose targets are rows of ids. targets:
    whether fit needs them. Ids are what scikit-learn calls categorical and positive. No estimator promises a good score
    on scikit-learn's test data, blobs and lines, which are not sequences.
    """
    from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

    return Tags(
        estimator_type=kind,
        target_tags=TargetTags(
            required=targets, multi_output=kind != "classifier", single_output=kind is not None, one_d_labels=False
        ),
        classifier_tags=ClassifierTags(poor_score=True) if kind == "classifier" else None,
        regressor_tags=RegressorTags(poor_score=True) if kind == "regressor" else None,
        input_tags=InputTags(two_d_array=True, three_d_array=floats, categorical=True, positive_only=True),
    )


def requests(estimator):
    """Return scikit-learn's `MetadataRequest`: what `set_request` kept, or for every method what it takes besides X and
    y, none of it asked for."""
    kept = vars(estimator).get("_metadata_request")
    if kept is not None:
        return copy.deepcopy(kept)
    from sklearn.utils.metadata_routing import MetadataRequest

    made = MetadataRequest(owner=type(estimator).__name__)
    for method in ("fit", "partial_fit", "score"):
        for name, parameter in inspect.signature(getattr(estimator, method)).parameters.items():
            if name not in ("X", "y") and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                getattr(made, method).add_request(param=name, alias=None)
    return made


def set_request(estimator, method: str, aliases: dict[str, object]) -> None:
    """Keep which arguments of a method scikit-learn passes on, as its own `set_fit_request` and the like do.

    Raises RuntimeError where its metadata routing is off, TypeError for arguments that the method lacks.
    """
    from sklearn import get_config
    from sklearn.utils.metadata_routing import UNCHANGED

    if not get_config()["enable_metadata_routing"]:
        raise RuntimeError("metadata routing must be on: sklearn.set_config(enable_metadata_routing=True)")
    made = requests(estimator)
    known = getattr(made, method).requests
    for name, alias in aliases.items():
        if name not in known:
            raise TypeError(f"{method} takes {', '.join(known) or 'nothing'} besides X and y, got {name}")
        if alias != UNCHANGED:
            getattr(made, method).add_request(param=name, alias=alias)
    estimator._metadata_request = made
