"""Errors of a run's task groups."""

from __future__ import annotations

from stream.errors import SourceError, TonewatchError


def untraced(error: SourceError) -> SourceError:
    """Return `error` without its traceback, whose frames would keep the records of its streams alive."""
    return error.with_traceback(None)


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the errors of a group and of the groups in it."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def root_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error to show: the first one of this package, if there is one."""
    errors = leaves(group)
    return next((error for error in errors if isinstance(error, TonewatchError)), errors[0])
