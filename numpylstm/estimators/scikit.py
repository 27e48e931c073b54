"""What scikit-learn expects of an estimator. It is imported here alone, and only once it has asked."""

from __future__ import annotations

import sys


class NotFittedError(ValueError, AttributeError):
    """Raised when an estimator is asked for what only `fit` gives it."""

    def __reduce__(self):
        return not_fitted, self.args


def not_fitted(message: str) -> NotFittedError:
    """Return the error; in a program that uses scikit-learn, one that its `except NotFittedError` catches too."""
    theirs = sys.modules.get("sklearn.exceptions")
    if theirs is None:
        return NotFittedError(message)
    return type("NotFittedError", (NotFittedError, theirs.NotFittedError), {"__module__": __name__})(message)


def tags(kind: str | None, *, floats: bool, targets: bool):
    """Return scikit-learn's `Tags` of an estimator over sequences of ids, or (`floats`) also of vectors.

    kind: "classifier", "regressor" or None, a writer of sequences, whose targets are rows of ids. targets: whether fit
    needs them. Ids are what scikit-learn calls categorical and positive; no estimator promises a good score on the
    blobs and lines that scikit-learn tries it on, which are not sequences.
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
